"""Answers and metrics of servers that do something wrong; each takes the place of `stand_in.plain` or `exposition`."""

import contextlib
import functools
import json
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

from reliability.stand_in import (
    STATISTICS,
    USAGE,
    Answer,
    Handler,
    StandIn,
    choice,
    exposition,
    plain,
)

DONE = b"data: [DONE]\n\n"


def with_statistics(value: Any = None, **changed: Any) -> Answer:
    """Good answers whose own statistics are these, or differ in this."""
    return functools.partial(plain, statistics=value if value is not None else {**STATISTICS, **changed})


def streamed(*events: Any, head: str = "text/event-stream", booked: bool = True) -> Answer:
    """An answer of these events: lists are choices, dictionaries whole chunks, bytes themselves."""

    def answer(handler: Handler, body: dict[str, Any], number: int) -> None:
        handler.start_stream(head)
        for event in events:
            if isinstance(event, bytes):
                handler.raw(event)
            elif isinstance(event, dict):
                handler.raw(b"data: " + json.dumps(event).encode() + b"\n\n")
            else:
                handler.event(event)
            time.sleep(0.002)
        if booked:
            handler.stand_in.book()

    return answer


WORDS = [choice(content="ab ") for _ in range(10)]
LAST = {"id": "x", "choices": [], "usage": USAGE, "metrics": {"speculative_decoding": STATISTICS}}


def last(number: int = 0, **changed: Any) -> dict[str, Any]:
    """The chunk with usage and statistics, changed."""
    return {**LAST, **changed}


def body(status: int, content: bytes, kind: str = "application/json", **headers: str) -> Answer:
    """A whole response."""

    def answer(handler: Handler, _: dict[str, Any], number: int) -> None:
        handler.reply(status, content, kind, **headers)

    return answer


def whole(**changed: Any) -> bytes:
    """A good answer that is not streamed."""
    message = {"role": "assistant", "content": "ab ab"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    told = {"id": "r", "model": "m", "choices": choices, "usage": USAGE}
    return json.dumps({**told, "metrics": {"speculative_decoding": STATISTICS}, **changed}).encode()


def booked(answer: Answer) -> Answer:
    """An answer that the server counts."""

    def both(handler: Handler, asked: dict[str, Any], number: int) -> None:
        handler.stand_in.book()
        answer(handler, asked, number)

    return both


def some(bad: Answer, *, which: Callable[[int], bool] = lambda number: number == 2, good: Answer = plain) -> Answer:
    """Bad answers to some requests, good ones to the others."""

    def answer(handler: Handler, asked: dict[str, Any], number: int) -> None:
        (bad if which(number) else good)(handler, asked, number)

    return answer


def reset(handler: Handler, asked: dict[str, Any], number: int) -> None:
    handler.reset()


def silent(handler: Handler, asked: dict[str, Any], number: int) -> None:
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_WR)
    handler.close_connection = True


def never(handler: Handler, asked: dict[str, Any], number: int) -> None:
    handler.start_stream()
    handler.event(choice(content="ab"))
    time.sleep(1.5)


def reset_in_stream(handler: Handler, asked: dict[str, Any], number: int) -> None:
    handler.start_stream()
    handler.event(choice(content="ab"))
    handler.reset()


def lumps(handler: Handler, asked: dict[str, Any], number: int) -> None:
    """What a proxy with a buffer makes of a stream."""
    handler.start_stream()
    time.sleep(0.1)
    events = [json.dumps({"id": "x", "choices": one}).encode() for one in [*WORDS, choice("stop")]]
    data = [b"data: " + event + b"\n\n" for event in [*events, json.dumps(LAST).encode()]]
    handler.raw(b"".join(data[:9]))
    time.sleep(0.001)
    handler.stand_in.book()
    handler.raw(b"".join(data[9:]) + DONE)


def gzipped(handler: Handler, asked: dict[str, Any], number: int) -> None:
    content = whole()
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    handler.stand_in.book()
    handler.reply(200, packer.compress(content) + packer.flush(), Content_Encoding="gzip")


def bomb(handler: Handler, asked: dict[str, Any], number: int) -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    content = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    handler.reply(200, content, Content_Encoding="gzip")


def endless_line(handler: Handler, asked: dict[str, Any], number: int) -> None:
    handler.start_stream()
    handler.raw(b"data: ")
    with contextlib.suppress(OSError):
        for _ in range(40):
            handler.raw(b"x" * (1 << 20))


def endless_stream(handler: Handler, asked: dict[str, Any], number: int) -> None:
    handler.start_stream()
    event = b"data: " + json.dumps({"id": "x", "choices": choice(content="y" * 60_000)}).encode() + b"\n\n"
    with contextlib.suppress(OSError):
        for _ in range(400):
            handler.raw(event)


def resent(handler: Handler, asked: dict[str, Any], number: int) -> None:
    """Closes the kept connection after every answer that it gave over it."""
    handler.stand_in.book()
    handler.reply(200, whole())
    handler.close_connection = True


# Metrics


def changed(*pairs: tuple[str, str]) -> Callable[[StandIn], str]:
    """The metrics with texts replaced."""

    def text(state: StandIn) -> str:
        told = exposition(state)
        for old, new in pairs:
            told = told.replace(old, new)
        return told

    return text


def without(*parts: str) -> Callable[[StandIn], str]:
    """The metrics without the lines that hold one of these texts."""
    return lambda state: "".join(
        line for line in exposition(state).splitlines(keepends=True) if not any(part in line for part in parts)
    )


def plus(text: Callable[[StandIn], str]) -> Callable[[StandIn], str]:
    """The metrics and something more."""
    return lambda state: exposition(state) + text(state)


def times(factor: float, *names: str) -> Callable[[StandIn], str]:
    """The metrics with some values multiplied."""

    def text(state: StandIn) -> str:
        lines = []
        for line in exposition(state).splitlines():
            name, _, value = line.rpartition(" ")
            lines.append(f"{name} {float(value) * factor}" if any(one in name for one in names) else line)
        return "\n".join(lines) + "\n"

    return text


def fixed(content: str | bytes, status: int = 200) -> Callable[[StandIn], Any]:
    """Always the same."""
    return lambda state: (status, content if isinstance(content, str) else content.decode("latin-1"))


def late_series(state: StandIn) -> str:
    """The series of speculation appear with the first answers of the window only, though warm-up was counted."""
    return exposition(state) if state.asked else without("spec_decode")(state)


def falling(state: StandIn) -> str:
    """Another replica answers each time."""
    state.generated += 1
    return exposition(state) if state.asked else times(50, "spec_decode", "tokens_total", "success")(state)


def second_model(state: StandIn) -> str:
    """A second model on the same server, busy beside."""
    lines = exposition(state).replace('model_name="m"', 'model_name="other"').splitlines()
    return "\n".join(lines) + "\n"


def foreign(tokens: int = 1000, requests: int = 5) -> Callable[[StandIn], str]:
    """Somebody else uses the server while we do."""

    def text(state: StandIn) -> str:
        state.generated, state.requests = tokens * bool(state.asked), requests * bool(state.asked)
        return exposition(state)

    return text
