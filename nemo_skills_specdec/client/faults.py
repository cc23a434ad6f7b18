"""Why a request failed, as one line without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.records import Outcome
from nemo_skills_specdec.redaction import redacted
from nemo_skills_specdec.shown import encodable

MAX_LENGTH = 300
"""Characters of a server's message that are kept."""


def one_line(text: str, secrets: Sequence[str] = ()) -> str:
    """The text on one line, without secrets, and cut to `MAX_LENGTH` characters."""
    text = redacted(encodable(text), secrets)
    text = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 3] + "..."


def broken_fault(outcome: Outcome, detail: str, *, seconds: float, size: int, chunks: int = 0) -> str:
    """Why no complete response came.

    Args:
        detail: what is known of the cause; empty where the server closed the connection.
        size: bytes that had arrived.
        chunks: of the answer, among them.
    """
    after = f" after {chunks} chunks" if chunks else ""
    if outcome == "timed_out":
        return f"no complete answer within {seconds:g} s{after}"
    if outcome == "interrupted":
        return "interrupted"
    if outcome == "lost":
        if not size and not detail:
            return "the server closed the connection without answering"
        return f"the connection was lost{after or ' before the answer'}: {detail or 'closed by the server'}"
    return detail


def status_fault(status: int, body: bytes, location: str | None) -> str:
    """Why an answer with this HTTP status is none."""
    if 300 <= status < 400:
        # Following it could carry the key to another host.
        return f"HTTP {status}: the server redirects to {location or 'nowhere'}; give that address as the URL"
    return f"HTTP {status}: {server_message(body)}"


def stream_fault(frames: Sequence[bytes], done: bool) -> str | None:
    """Why a stream is no complete answer, looking only at what is cheap to look at; None if it seems complete.

    An error object stands at the end of what came. An answer is complete with a finish reason, or with usage and
    `[DONE]` where a server gives no reason.
    """
    if not frames:
        return "the stream ended without an answer"
    if {frame[:1] for frame in frames} != {b"{"} or {frame[-1:] for frame in frames} != {b"}"}:
        number = next(n for n, frame in enumerate(frames) if frame[:1] != b"{" or frame[-1:] != b"}")
        return f"chunk {number} of the stream is not JSON"
    finished: str | None = None
    counted = False
    for frame in reversed(frames):
        try:
            chunk = decode_object(frame)
        except ValueError as error:
            return f"a chunk of the stream is not JSON ({error})"
        if (fault := error_object(chunk)) is not None:
            return fault
        counted = counted or isinstance(chunk.get("usage"), dict)
        if (finished := _finish_reason(chunk)) is not None:
            break
        if done and counted and chunk.get("choices"):
            return None
    if finished == "abort":
        return "the server aborted the request (finish_reason abort)"
    if finished is None:
        return f"the stream was cut off after {len(frames)} chunks (no finish_reason{'' if done else ' and no [DONE]'})"
    return None


def body_fault(body: bytes) -> str | None:
    """Why a body that came with status 200 is no answer; None if it seems to be one."""
    try:
        answer = decode_object(body)
    except ValueError as error:
        return f"the answer is not a JSON object ({error})"
    if (fault := error_object(answer)) is not None:
        return fault
    return None if answer.get("choices") else "the answer has no choices"


def decode_object(data: bytes) -> dict[str, Any]:
    """Decodes a JSON object; what strict JSON forbids but servers write (NaN, lone surrogates) is accepted.

    Raises:
        ValueError: it is no JSON, or no object.
    """
    try:
        value = msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("too deeply nested") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            value = json.loads(data)
        except RecursionError as error:
            raise ValueError("too deeply nested") from error
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}")
    return value


def error_object(value: Mapping[str, Any]) -> str | None:
    """The message of an error object that came in place of an answer; None if it is none."""
    if value.get("error") or value.get("object") == "error":
        return f"the server reported an error: {_message_in(value)}"
    return None


def server_message(body: bytes) -> str:
    """The message inside an error body: JSON in any of the usual shapes, otherwise its text without markup."""
    try:
        return _message_in(decode_object(body))
    except ValueError:
        text = re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", body.decode("utf-8", "replace"))
        return " ".join(text.split()) or "no message"


def _message_in(value: Any) -> str:
    if isinstance(value, dict):
        for key in ("message", "error", "detail", "msg"):
            if value.get(key):
                return _message_in(value[key])
        return json.dumps(value) if value else "no message"
    if isinstance(value, list) and value:
        return "; ".join(_message_in(item) for item in value)
    return str(value)


def _finish_reason(chunk: Mapping[str, Any]) -> str | None:
    choices = chunk.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                reason: str = choice["finish_reason"]
                return reason
    return None
