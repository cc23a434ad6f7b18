"""JSON files as a stream of records: JSON lines or one array, however long, a few at a time in memory."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import DataError, UsageError

_BLOCK = 1 << 20
_BETWEEN = " \t\r\n,"


def records_of_file(path: Path, *, name: str | None = None) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON-lines file, or of a file that holds one JSON array of objects.

    Args:
        path: the file; a name that ends in `.gz` is decompressed.
        name: what messages call it, if not its path.

    Raises:
        DataError: the content is neither.
        UsageError: the file cannot be read.
    """
    try:
        with gzip.open(path, "rb") if (name or path.name).endswith(".gz") else path.open("rb") as file:
            yield from records(iter(lambda: file.read(_BLOCK), b""), name or str(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {name or path} ({reason}); give a file of JSON lines or a JSON array") from error


def records(blocks: Iterable[bytes], name: str) -> Iterator[dict[str, Any]]:
    """Yields the objects in a stream of bytes. Keys keep their order.

    Raises:
        DataError: broken JSON, or something that is not an object.
    """
    decoder = json.JSONDecoder()
    text = codecs.getincrementaldecoder("utf-8")()
    buffer = ""
    wanted = 0
    count = 0
    array: bool | None = None
    closed = False
    try:
        for block in _with_end(blocks):
            buffer += text.decode(block, final=block == b"")
            if len(buffer) < wanted and block:
                continue
            position = 0
            while True:
                position = _skip(buffer, position, _BETWEEN)
                if array is None and position < len(buffer):
                    array = buffer[position] == "["
                    position = _skip(buffer, position + array, _BETWEEN)
                closed = closed or bool(array and buffer[position : position + 1] == "]")
                if closed or position >= len(buffer):
                    break
                try:
                    value, position = decoder.raw_decode(buffer, position)
                except json.JSONDecodeError as error:
                    if block:
                        break
                    raise DataError(f"{name}: record {count} is not JSON ({error.msg})") from error
                if not isinstance(value, dict):
                    raise DataError(f"{name}: record {count} is not a JSON object")
                count += 1
                yield value
            buffer = buffer[position:]
            # A record longer than a block is tried again only when twice as much of it is there.
            wanted = 2 * len(buffer)
        if array and not closed:
            raise DataError(f"{name} ends after record {count - 1} in the middle of its array")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8") from error


def _with_end(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        if block:
            yield block
    yield b""


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position
