"""`ns-specdec doctor` against small servers that answer like the real ones."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from typer.testing import CliRunner, Result

from nemo_skills_specdec.cli import app
from nemo_skills_specdec.cli._choices import ServerType
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.errors import ServerError

CAPTURES = Path(__file__).parent.parent / "data" / "captures"


def recorded(name: str) -> bytes:
    packed = CAPTURES / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else (CAPTURES / name).read_bytes()


SGLANG = {
    "/v1/models": recorded("sglang-gpu/sgl_ngram/models.json"),
    "/server_info": recorded("sglang-gpu/sgl_ngram/server_info.json"),
    "/metrics": recorded("sglang-gpu/sgl_ngram/T0_c1_metrics_after.txt"),
}
VLLM_OFF = {
    "/v1/models": recorded("vllm/off/models.json"),
    "/version": recorded("vllm/off/version.json"),
    "/metrics": recorded("vllm/off/metrics_after.txt"),
}


@contextmanager
def serve(routes: dict[str, bytes], key: str | None = None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = key is None or self.headers.get("Authorization") == f"Bearer {key}"
            body = routes.get(self.path) if allowed else b"{}"
            self.send_response(401 if not allowed else 404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments], env={"SPECDEC_API_KEY": "", **environment})


def test_a_server_with_a_source_exits_with_0_and_names_flags() -> None:
    with serve(SGLANG) as url:
        result = run(url)
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    for text in ("sglang 0.5.17", "tiny", "NGRAM", "--disable-overlap-schedule", "--export-metrics-to-file"):
        assert text in result.stdout


def test_json_is_one_object() -> None:
    with serve(SGLANG) as url:
        result = run(f"{url}/v1", "--json")
    body = json.loads(result.stdout)
    assert (body["engine"], body["draft_length"], body["base_url"]) == ("sglang", 3, url)
    assert {item["source"]: item["available"] for item in body["offers"]} == {
        "response": True,
        "request_file": False,
        "counters": False,
        "bounds": True,
        "gauge_estimate": True,
    }


def test_a_server_without_any_source_exits_with_1() -> None:
    with serve(VLLM_OFF) as url:
        result = run(url)
    assert result.exit_code == 1
    assert "--speculative-config" in result.stdout


def test_an_unreachable_server_is_one_clear_line() -> None:
    result = run("http://127.0.0.1:9")
    assert isinstance(result.exception, ServerError)
    assert "nothing listens at http://127.0.0.1:9" in str(result.exception)


def test_the_key_comes_from_the_environment_and_is_never_shown() -> None:
    with serve(SGLANG, key="sk-secret") as url:
        refused = run(url, SPECDEC_API_KEY="sk-wrong")
        allowed = run(url, SPECDEC_API_KEY="sk-secret")
    assert isinstance(refused.exception, ServerError)
    assert "SPECDEC_API_KEY" in str(refused.exception)
    assert "sk-wrong" not in str(refused.exception)
    assert allowed.exit_code == 0
    assert "sk-secret" not in allowed.stdout


def test_metrics_may_be_elsewhere() -> None:
    front = {key: value for key, value in SGLANG.items() if key != "/metrics"}
    with serve(SGLANG) as worker, serve(front) as url:
        body = json.loads(run(url, "--metrics-url", worker, "--json").stdout)
    assert {item["source"]: item["available"] for item in body["offers"]}["bounds"] is True


def test_a_server_that_may_have_a_source_exits_with_0() -> None:
    answers = {**VLLM_OFF, "/metrics": recorded("vllm/ngram_nologstats/metrics_after.txt")}
    with serve(answers) as url:
        result = run(url, "--no-probe")
    assert result.exit_code == 0
    assert "only a request can show it" in " ".join(result.stdout.split())


def test_every_engine_can_be_named_on_the_command_line() -> None:
    assert set(get_args(ServerType)) == set(ENGINES)


def test_a_router_says_what_it_hides() -> None:
    with serve({"/v1/models": b'{"data": [{"id": "m"}]}'}) as url:
        result = run(url)
    assert "hides its engine, version, speculation, metrics" in " ".join(result.stdout.split())
