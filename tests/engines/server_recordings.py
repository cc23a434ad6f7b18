"""Reading the recordings in tests/data/captures, and a tiny HTTP server to ask."""

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.exposition import Samples, parse_metrics
from nemo_skills_specdec.engines.reading import acceptance_of_reading, read_window
from nemo_skills_specdec.engines.registry import wanted_series
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.records import Acceptance

CAPTURES = Path(__file__).parent.parent / "data" / "captures"


def text_of(path: str) -> str:
    plain = CAPTURES / path
    if plain.exists():
        return plain.read_text(encoding="utf-8")
    return gzip.decompress((CAPTURES / f"{path}.gz").read_bytes()).decode("utf-8")


def json_of(path: str) -> Any:
    return json.loads(text_of(path))


def json_lines_of(path: str) -> list[Any]:
    return [json.loads(line) for line in text_of(path).split("\n") if line]


def stream_union(text: str) -> dict[str, Any]:
    """The union of the top-level keys of a stream's chunks, later non-null values winning."""
    union: dict[str, Any] = {}
    for line in text.split("\n"):
        if line.startswith("data: {"):
            union.update({key: value for key, value in json.loads(line[6:]).items() if value is not None})
    return union


def samples(text: str) -> Samples:
    return parse_metrics(text, wanted=wanted_series()) if text else Samples(series={})


def snapshot(text: str, url: str = "http://test/metrics") -> Snapshot:
    return Snapshot(url=url, taken_at=0.0, status=200, text=text)


def window(before: str, after: str, info: ServerInfo | None = None) -> CounterReading:
    """The reading of two recorded texts; an empty name is a server that had not counted anything yet."""
    return read_window([snapshot(text_of(before) if before else "")], [snapshot(text_of(after))], info)


def acceptance(reading: CounterReading) -> Acceptance:
    return acceptance_of_reading(reading)


def codes(reading: CounterReading) -> list[str]:
    return [finding.code for finding in reading.findings]


class TinyServer:
    """Routes and what was asked: path -> (status, body, headers)."""

    def __init__(self, url: str, routes: dict[str, Any]) -> None:
        self.url = url
        self.routes = routes
        self.asked: list[tuple[str, dict[str, str]]] = []

    def headers_of(self, path: str) -> dict[str, str]:
        return next(headers for asked, headers in self.asked if asked == path)


@contextlib.contextmanager
def tiny_server(routes: dict[str, Any], delay: float = 0.0) -> Iterator[TinyServer]:
    """Serves bodies (str, or anything as JSON) or (status, body, headers); everything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            tiny.asked.append((self.path, dict(self.headers.items())))
            self.answer(tiny.routes.get(self.path, (404, '{"detail":"Not Found"}', {})))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def answer(self, route: Any) -> None:
            status, body, headers = route if isinstance(route, tuple) else (200, route, {})
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tiny = TinyServer(f"http://127.0.0.1:{server.server_address[1]}", routes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield tiny
    finally:
        server.shutdown()
        server.server_close()
