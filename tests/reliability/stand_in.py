"""A small vLLM that books a fixed piece of speculation for each answer, and that can be told to misbehave.

Each answer has 26 tokens from 10 steps, 30 draft tokens of which 15 are accepted. `answer` and `metrics` may be
replaced by functions that do something else.
"""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS, STEPS, DRAFTED, ACCEPTED, POSITIONS = 26, 10, 30, 15, (8, 4, 3)
USAGE = {"prompt_tokens": 5, "completion_tokens": TOKENS, "total_tokens": TOKENS + 5}
STATISTICS = {
    "num_spec_steps": STEPS,
    "num_accepted_draft_tokens": ACCEPTED,
    "num_draft_tokens": DRAFTED,
    "num_spec_tokens": 3,
}


class StandIn:
    """The server's state, and what it does; `answer` gets the handler of a chat request and its body."""

    def __init__(
        self, answer: "Answer | None" = None, metrics: "Metrics | None" = None, warm_ups: bool = False
    ) -> None:
        self.answer, self.text, self.warm_ups = answer or plain, metrics or exposition, warm_ups
        self.answered = self.asked = 0
        self.generated = self.requests = 0
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.gets: dict[str, bytes] = {
            "/v1/models": b'{"object":"list","data":[{"id":"m","object":"model","owned_by":"vllm"}]}',
            "/version": b'{"version":"0.20.0"}',
        }

    def book(self, times: int = 1) -> None:
        """Counts an answer."""
        with self.lock:
            self.answered += times


Answer = Callable[["Handler", dict[str, Any], int], None]
Metrics = Callable[[StandIn], str | bytes | tuple[int, str]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            told = self.stand_in.text(self.stand_in)
            status, text = told if isinstance(told, tuple) else (200, told)
            self.reply(status, text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text, "text/plain")
        else:
            found = self.stand_in.gets.get(path)
            self.reply(404 if found is None else 200, found or b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.reply(404, b"{}")
            return
        state = self.stand_in
        prompt = body["messages"][-1]["content"] if body.get("messages") else ""
        warm = isinstance(prompt, str) and prompt.startswith("Warm-up") and not state.warm_ups
        with state.lock:
            number = state.asked
            state.asked += not warm
            state.bodies.append(body)
        (plain if warm else state.answer)(self, body, number)

    def reply(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        """A whole response."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def start_stream(self, kind: str = "text/event-stream") -> None:
        """The head of a stream that ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, choices: list[Any], **more: Any) -> None:
        """One chunk of a stream."""
        top = {"id": f"chatcmpl-{id(self)}-{time.monotonic_ns()}", "object": "chat.completion.chunk", "model": "m"}
        self.raw(b"data: " + json.dumps({**top, "choices": choices, **more}).encode() + b"\n\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they stand."""
        self.wfile.write(data)
        self.wfile.flush()

    def reset(self) -> None:
        """Breaks the connection off."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def choice(finish: str | None = None, **delta: Any) -> list[Any]:
    """The choices of a chunk."""
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


def plain(
    handler: Handler, body: dict[str, Any], number: int, *, statistics: Any = STATISTICS, text: str = "ab "
) -> None:
    """A good answer."""
    handler.start_stream()
    handler.event(choice(role="assistant", content=""))
    for _ in range(10):
        handler.event(choice(content=text))
        time.sleep(0.002)
    handler.stand_in.book()
    handler.event(choice("stop"))
    handler.event([], usage=USAGE, **({"metrics": {"speculative_decoding": statistics}} if statistics else {}))
    handler.raw(b"data: [DONE]\n\n")


def exposition(state: StandIn) -> str:
    """The metrics text."""
    one, n = '{engine="0",model_name="m"}', state.answered
    values = {
        "spec_decode_num_drafts_total": STEPS * n,
        "spec_decode_num_draft_tokens_total": DRAFTED * n,
        "spec_decode_num_accepted_tokens_total": ACCEPTED * n,
        "generation_tokens_total": TOKENS * n + state.generated,
        "prompt_tokens_total": 5 * n,
        "num_requests_running": 0,
        "num_requests_waiting": 0,
        "time_to_first_token_seconds_count": n,
        "inter_token_latency_seconds_count": STEPS * n,
    }
    lines = [f"vllm:{name}{one} {value}" for name, value in values.items()]
    name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    lines += [f'{name}{{engine="0",model_name="m",position="{i}"}} {each * n}' for i, each in enumerate(POSITIONS)]
    success = n + state.requests
    lines.append(f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="m"}} {success}')
    return "\n".join(lines) + "\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


@contextlib.contextmanager
def serving(state: StandIn, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a stand-in for as long as the block lasts."""
    handler = type("BoundHandler", (Handler,), {"stand_in": state})
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls is not None else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
