"""Server-sent events, as far as a completion stream needs them: bytes in, data payloads out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

DONE = b"[DONE]"
"""The payload that ends a completion stream."""

MAX_EVENT = 1 << 24
"""Bytes of one event; no honest one comes near."""

_LONGEST_DONE = len(b"data: [DONE]\n\n")
_BOM = b"\xef\xbb\xbf"
_BLANK_LINE = re.compile(rb"\n[\r\n]|\r\r")


class EventStream(msgspec.Struct):
    """What a completion stream held, up to `[DONE]`.

    Attributes:
        times: when the last byte of each had arrived.
        done_at: when `[DONE]` had arrived; None if it never did.
        overlong: whether reading stopped at an event of more than `MAX_EVENT` bytes.
    """

    frames: list[bytes] = []
    times: list[float] = []
    done_at: float | None = None
    overlong: bool = False


def read_events(pieces: Sequence[bytes], times: Sequence[float], *, ended: bool = True) -> EventStream:
    """Frames the pieces of a body that arrived at these times, however it was cut into pieces.

    Args:
        ended: whether nothing follows. What is left is an event then: some servers leave out the last blank line.
    """
    whole = _one_event_a_piece(pieces, times)
    if whole is not None:
        return whole
    stream = EventStream()
    frames, frame_times = stream.frames, stream.times
    kept: list[bytes] = []
    length = 0
    for piece, at in zip(pieces, times, strict=True):
        # Nearly every piece is one event of one line.
        if (
            not kept
            and piece.startswith(b"data: ")
            and piece.endswith(b"\n\n")
            and piece.count(b"\n") == 2
            and b"\r" not in piece
            and len(piece) > _LONGEST_DONE
        ):
            frames.append(piece[6:-2])
            frame_times.append(at)
            continue
        if kept and piece:
            kept.append(piece)
            length += len(piece)
            # Only a blank line ends an event; looking for it here keeps long events from being joined again and again.
            if _BLANK_LINE.search(kept[-2][-2:] + piece) is None:
                if length > MAX_EVENT:
                    stream.overlong = True
                    return stream
                continue
            piece = b"".join(kept)
        payloads, rest = split_events(piece)
        kept, length = ([rest], len(rest)) if rest else ([], 0)
        for payload in payloads:
            if payload == DONE:
                stream.done_at = at
                return stream
            stream.frames.append(payload)
            stream.times.append(at)
    for payload in last_events(b"".join(kept)) if ended else ():
        if payload == DONE:
            stream.done_at = times[-1]
            break
        stream.frames.append(payload)
        stream.times.append(times[-1])
    return stream


def _one_event_a_piece(pieces: Sequence[bytes], times: Sequence[float]) -> EventStream | None:
    """What nearly every server sends, read without a look at each piece: events of one line, a piece each.

    Returns:
        None where a piece is anything else.
    """
    body = b"".join(pieces)
    number = len(pieces)
    if (
        not number
        or b"\r" in body
        or len(body) > MAX_EVENT
        or body.count(b"\n") != 2 * number
        or [piece[-2:] for piece in pieces].count(b"\n\n") != number
        or [piece[:6] for piece in pieces].count(b"data: ") != number
    ):
        return None
    frames = [piece[6:-2] for piece in pieces]
    if b"" in frames:
        return None
    if DONE not in frames:
        return EventStream(frames=frames, times=list(times))
    place = frames.index(DONE)
    return EventStream(frames=frames[:place], times=list(times[:place]), done_at=times[place])


def read_done(pieces: Sequence[bytes], times: Sequence[float]) -> float | None:
    """When `[DONE]` had arrived, if it stands at the end of what has come so far of a body."""
    return read_events(pieces, times, ended=False).done_at if DONE in b"".join(pieces[-8:]) else None


def split_events(data: bytes) -> tuple[list[bytes], bytes]:
    """The data payloads of every complete event in `data`, and the bytes that are left.

    Put the rest in front of what arrives next; the payloads do not depend on where the stream was cut. Lines end in LF,
    CRLF or CR; the `data` lines of one event are joined by LF; comments, other fields and events without data are
    skipped. A CR at the very end is kept back, since a LF may follow. (HTML standard, 9.2.6.)
    """
    # Nearly every read is whole events of one line each, ending in LF LF.
    if b"\r" not in data:
        end = data.rfind(b"\n\n")
        if end < 0:
            return [], data
        payloads = []
        for event in data[:end].split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                if len(event) > 6:
                    payloads.append(event[6:])
            elif payload := _payload(event):
                payloads.append(payload)
        return payloads, data[end + 2 :]
    kept = b""
    if data.endswith(b"\r"):
        data, kept = data[:-1], b"\r"
    payloads, rest = split_events(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    return payloads, rest + kept


def last_events(rest: bytes) -> list[bytes]:
    """The payloads of what was left when the stream ended, for servers that leave out the last blank line."""
    return split_events(rest + b"\n\n")[0]


def _payload(event: bytes) -> bytes:
    lines = []
    for line in event.removeprefix(_BOM).split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)
