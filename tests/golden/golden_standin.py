"""A server that replays recorded answers and counters, the same for every client and in every order.

`Recording` is what one server would do: its control plane's answers, an answer for each conversation, and the text of
`/metrics` at both ends of a window. The counters move from `before` by what each answered conversation adds: either its
own recorded differences, or the whole difference at once with the last conversation of the window.
"""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CAPTURES = Path(__file__).parent.parent / "data" / "captures"


def text_of(path: Path) -> str:
    """A text file, gzipped or not."""
    packed = path.with_name(path.name + ".gz")
    return gzip.decompress(packed.read_bytes()).decode() if packed.exists() else path.read_text(encoding="utf-8")


def key_of(messages: list[dict[str, str]]) -> str:
    """What identifies a conversation up to the turn that is asked for."""
    return json.dumps([[message["role"], message["content"]] for message in messages])


class Recording:
    """What a server answers.

    Attributes:
        gets: path to body, of the control plane; everything else is 404.
        answers: by `key_of`; a JSON body, or the list of a stream's frames.
        added: by `key_of`, what the answer adds to each series of `before`; None if only `after` is known.
        file_lines: by response id, SGLang's line about the request.
        file: where those lines are appended as the answers go out; set by the test.
    """

    def __init__(
        self,
        gets: dict[str, Any],
        answers: dict[str, Any],
        before: str,
        after: str | None = None,
        added: dict[str, dict[str, float]] | None = None,
    ) -> None:
        self.gets, self.answers, self.before, self.after, self.added = gets, answers, before, after, added
        self.file_lines: dict[str, str] = {}
        self.file: Path | None = None

    def metrics(self, answered: list[str]) -> str:
        """The text of `/metrics` once these conversations have been answered."""
        if self.added is None:
            return self.after or self.before if set(answered) >= set(self.answers) else self.before
        sums: dict[str, float] = {}
        for key in answered:
            for series, value in self.added[key].items():
                sums[series] = sums.get(series, 0.0) + value
        lines = []
        for line in self.before.split("\n"):
            series, _, value = line.rpartition(" ")
            lines.append(f"{series} {float(value) + sums.pop(series)}" if series in sums else line)
        return "\n".join([*lines[:-1], *(f"{series} {value}" for series, value in sums.items()), lines[-1]])


def added_between(before: str, after: str) -> dict[str, float]:
    """What each series gained from one text to the next."""
    first, second = _values(before), _values(after)
    return {series: value - first.get(series, 0.0) for series, value in second.items() if value != first.get(series)}


def _values(text: str) -> dict[str, float]:
    pairs = (line.rpartition(" ") for line in text.split("\n") if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs if "_created" not in series}


def load(path: Path) -> Recording:
    """A recording as `regenerate.py` stores it."""
    told = json.loads(gzip.decompress(path.read_bytes()))
    return Recording(told["gets"], told["answers"], told["before"], added=told["added"])


# A client's warm-up is not in any recording. Its answer carries no statistics and is in no counter.
_OTHER = {
    "id": "other",
    "object": "chat.completion",
    "created": 0,
    "model": "other",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "1"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


@contextlib.contextmanager
def replaying(recording: Recording) -> Iterator[str]:
    """Serves a recording; gives the base URL."""
    answered: list[str] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if urlsplit(self.path).path == "/metrics":
                with lock:
                    self.answer(200, recording.metrics(answered), "text/plain; version=0.0.4")
            elif self.path in recording.gets:
                body = recording.gets[self.path]
                self.answer(200, body if isinstance(body, str) else json.dumps(body), "application/json")
            else:
                self.answer(404, '{"detail":"Not Found"}', "application/json")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = key_of(asked["messages"])
            found = recording.answers.get(key)
            if found is not None:
                # Counted before it is answered: nothing may be missing from a snapshot taken after the answer.
                with lock:
                    answered.append(key)
                    if recording.file is not None:
                        with recording.file.open("a") as file:
                            file.write(recording.file_lines[found["id"]] + "\n")
            if found is None and asked.get("stream"):
                self.stream([f"data: {json.dumps(_first_chunk())}\n\n", "data: [DONE]\n\n"])
            elif isinstance(found, list):
                self.stream(found)
            else:
                self.answer(200, json.dumps(found or _OTHER), "application/json")

        def stream(self, frames: list[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for frame in [*(frame.encode() for frame in frames), b""]:
                self.wfile.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
                self.wfile.flush()

        def answer(self, status: int, body: str, kind: str) -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _first_chunk() -> dict[str, Any]:
    chosen = [{"index": 0, "delta": {"role": "assistant", "content": "1"}, "finish_reason": "stop"}]
    return {**_OTHER, "object": "chat.completion.chunk", "choices": chosen}


def prompts_of(recording: Recording) -> list[str]:
    """The single user messages of a recording made of captures, in order."""
    return [json.loads(key)[0][1] for key in recording.answers]


def from_captures(case: str, *, info: dict[str, str], strip: bool = False) -> Recording:
    """A window of `tests/data/captures`: `folder/` with numbered responses, or `folder/phase_` with a list of them.

    Args:
        case: what the file names begin with.
        info: path of the control plane to the file that holds its answer, in the folder.
        strip: take SGLang's statistics out of the answers, as a server not asked for them would.
    """
    folder = (CAPTURES / f"{case}x").parent
    lines = CAPTURES / f"{case}responses.jsonl"
    if lines.with_name(lines.name + ".gz").exists():
        found = [json.loads(line) for line in text_of(lines).split("\n") if line]
        prompts = [item.get("prompt") or f"prompt {item['i']}" for item in found]
        bodies = [item["response"] for item in found]
    else:
        paths = sorted(folder.glob("response_*.json"))
        prompts = [path.stem for path in paths]
        bodies = [json.loads(path.read_text()) for path in paths]
    # Two answers to one prompt are told apart by a number.
    seen: dict[str, int] = {}
    answers = {}
    for prompt, body in zip(prompts, bodies, strict=True):
        seen[prompt] = seen.get(prompt, 0) + 1
        text = prompt if seen[prompt] == 1 else f"{prompt} ({seen[prompt]})"
        if strip:
            body.pop("sglext", None)
            body["choices"][0].pop("meta_info", None)
        answers[key_of([{"role": "user", "content": text}])] = body
    gets = {path: json.loads(text_of(folder / name)) for path, name in info.items()}
    before = text_of(CAPTURES / f"{case}metrics_before.txt")
    recording = Recording(gets, answers, before, text_of(CAPTURES / f"{case}metrics_after.txt"))
    if (folder / "request-metrics.log.gz").exists():
        lines_of_file = text_of(folder / "request-metrics.log").split("\n")
        recording.file_lines = {json.loads(line)["id"]: line for line in lines_of_file if line}
    return recording
