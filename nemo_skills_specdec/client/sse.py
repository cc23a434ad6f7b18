"""Server-sent events, as far as a completion stream needs them: bytes in, data payloads out."""

from __future__ import annotations

DONE = b"[DONE]"
"""The payload that ends a completion stream."""

_BOM = b"\xef\xbb\xbf"


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
