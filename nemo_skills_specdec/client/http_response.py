"""One HTTP/1.1 response as it arrives (RFC 9112): what belongs to its body, when it came, and where it ends.

The framing is followed exactly, chunk by chunk: where a response ends decides when the next request may be sent, and
the last bytes of a chunk may look like the end of everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

import msgspec

READ_BYTES = 1 << 16
"""Bytes of one read at most."""
MAX_HEAD = 1 << 16
"""Bytes of a head, of a line that gives a chunk's size, or of a line of the trailer."""

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) +(\d{3})(?: |$)")
_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")

_Part = Literal["head", "size", "chunk", "chunk end", "trailer", "length", "rest", "end"]


class FramingError(Exception):
    """What arrived is not HTTP, or longer than allowed; the connection cannot be used any more."""


class _Head(msgspec.Struct, frozen=True):
    """What a head says, and how the body that follows ends."""

    status: int
    headers: Mapping[str, str]
    closes: bool
    part: _Part
    length: int


@lru_cache(maxsize=256)
def _read_head(head: bytes) -> _Head:
    """Parses a head (RFC 9112, 6.3). Servers send the same one again and again, but for its date."""
    first, *lines = head.decode("latin-1").split("\n")
    line = _STATUS_LINE.match(first.strip())
    if line is None:
        raise FramingError("what the server sent is not HTTP (no status)")
    headers = {}
    for header in lines:
        name, _, value = header.partition(":")
        headers[name.strip().lower()] = value.strip()
    status, options = int(line[2]), headers.get("connection", "").lower()
    closes = "close" in options or (line[1] == "0" and "keep-alive" not in options)
    length = headers.get("content-length")
    if status in (204, 304):
        return _Head(status, headers, closes, "end", 0)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _Head(status, headers, closes, "size", 0)
    if length is None:
        return _Head(status, headers, True, "rest", 0)
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise FramingError("what the server sent is not HTTP (a content-length that is not a number)")
    return _Head(status, headers, closes, "length" if int(length) else "end", int(length))


class HttpResponse:
    """Reads one response from the bytes of a connection.

    Attributes:
        status: of the final head; interim ones (1xx) are skipped. None before it has come.
        headers: names in lower case; of repeated ones the last.
        pieces: the body as it came, without the framing: never empty, no piece from two reads.
        times: when each piece arrived.
        closes: whether the connection ends with this response.
        size: bytes of it so far, as of the last `feed` or `count`.
    """

    __slots__ = (
        "_counted",
        "_limit",
        "_missing",
        "_part",
        "_rest",
        "closes",
        "headers",
        "pieces",
        "size",
        "status",
        "times",
    )

    def __init__(self, limit: int) -> None:
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.pieces: list[bytes] = []
        self.times: list[float] = []
        self.closes = False
        self.size = self._counted = self._missing = 0
        self._limit = limit
        self._part: _Part = "head"
        self._rest = b""

    @property
    def at_chunk(self) -> bool:
        """Whether a chunk begins with the next byte. Who reads a whole one may add it to `pieces` and `times`."""
        return self._part == "size" and not self._rest

    def feed(self, data: bytes, at: float) -> bool:
        """Takes what was read at a time; whether the response is complete.

        Raises:
            FramingError: what came is not HTTP, or is too much.
        """
        self.count()
        self.size += len(data)
        self._walk(data, at)
        self._counted = len(self.pieces)
        return self._part == "end"

    def count(self) -> None:
        """Counts the pieces that were added by others.

        Raises:
            FramingError: the response is too long.
        """
        if self._counted < len(self.pieces):
            self.size += sum(map(len, self.pieces[self._counted :]))
            self._counted = len(self.pieces)
        if self.size > self._limit:
            raise FramingError(f"the answer is longer than {self._limit} bytes")

    def end(self) -> bool:
        """Takes note that the server closed the connection; whether the response is complete by it."""
        if self._part == "rest":
            self._part = "end"
        return self._part == "end"

    def _walk(self, data: bytes, at: float) -> None:
        data, self._rest = self._rest + data, b""
        position = 0
        while position < len(data):
            if self._part == "end":
                self.closes = True  # what follows an answer answers nothing; trust this connection no more
                return
            if self._part == "size":
                position = self._whole_chunks(data, position, at)
            after = _STEPS[self._part](self, data, position, at)
            if after is None:
                self._rest = data[position:]
                if len(self._rest) > MAX_HEAD:
                    raise FramingError("what the server sent is not HTTP (a line without end)")
                return
            position = after

    def _whole_chunks(self, data: bytes, position: int, at: float) -> int:
        """Takes the chunks that lie whole in the data, of which there are many where a client falls behind.

        Returns:
            Where the first one begins that does not, or that takes a closer look.
        """
        pieces, keep, begins = self.pieces, self.pieces.append, _CHUNK.match
        before = len(pieces)
        while (found := begins(data, position)) is not None:
            start = found.end()
            end = start + int(found[1], 16)
            if end == start or data[end : end + 2] != b"\r\n":
                break
            keep(data[start:end])
            position = end + 2
        self.times += [at] * (len(pieces) - before)
        return position

    def _head(self, data: bytes, position: int, _at: float) -> int | None:
        begin = data[position : position + 7]
        if not b"HTTP/1."[: len(begin)] == begin:
            raise FramingError("what the server sent is not HTTP")
        found = _HEAD_END.search(data, position)
        if found is None:
            return None
        head = _read_head(data[position : found.start()])
        if not 100 <= head.status < 200 or head.status == 101:
            self.status, self.headers, self.closes = head.status, head.headers, head.closes
            self._part, self._missing = head.part, head.length
        return found.end()

    def _size(self, data: bytes, position: int, _at: float) -> int | None:
        cut = data.find(b"\r\n", position)
        if cut < 0:
            return None
        size = data[position:cut].split(b";", 1)[0].strip()
        if _SIZE.fullmatch(size) is None:
            raise FramingError("what the server sent is not HTTP (no size of a chunk)")
        self._missing = int(size, 16)
        self._part = "chunk" if self._missing else "trailer"
        return cut + 2

    def _body(self, data: bytes, position: int, at: float) -> int:
        piece = data[position : position + self._missing]
        self.pieces.append(piece)
        self.times.append(at)
        self._missing -= len(piece)
        if not self._missing:
            self._part = "chunk end" if self._part == "chunk" else "end"
        return position + len(piece)

    def _chunk_end(self, data: bytes, position: int, _at: float) -> int | None:
        found = data[position : position + 2]
        if not b"\r\n"[: len(found)] == found:
            raise FramingError("what the server sent is not HTTP (a chunk longer than its size)")
        if len(found) < 2:
            return None
        self._part = "size"
        return position + 2

    def _trailer(self, data: bytes, position: int, _at: float) -> int | None:
        cut = data.find(b"\r\n", position)
        if cut < 0:
            return None
        if cut == position:
            self._part = "end"
        return cut + 2

    def _until_closed(self, data: bytes, position: int, at: float) -> int:
        self.pieces.append(data[position:])
        self.times.append(at)
        return len(data)


_STEPS: dict[_Part, Callable[[HttpResponse, bytes, int, float], int | None]] = {
    "head": HttpResponse._head,
    "size": HttpResponse._size,
    "chunk": HttpResponse._body,
    "chunk end": HttpResponse._chunk_end,
    "trailer": HttpResponse._trailer,
    "length": HttpResponse._body,
    "rest": HttpResponse._until_closed,
}
