"""Which values of a text column are empty, told from a Parquet file's page indices without reading the values.

A column of images in text form is hundreds of megabytes, and all that is asked of it is which rows have none. Where
the column is dictionary-encoded, the pages hold small numbers that point into the dictionary, and only as much of the
dictionary is needed as lies before its empty entry. The format is that of
https://parquet.apache.org/docs/file-format/ ; whatever is laid out in another way is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nemo_skills_specdec.prompts.hub.parquet import RemoteParquet

_DICTIONARY_ENCODINGS = frozenset({2, 8})
_INDEX_BYTES_PER_VALUE = 16
_FIRST_PEEK = 1 << 12
_SLACK = 1 << 14

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)


class _Unreadable(Exception):
    """The bytes are not laid out as this module reads them."""


def empty_values(file: RemoteParquet, group: int, column: str) -> list[bool] | None:
    """Whether each value of a row group is the empty text; a null is not.

    Returns:
        One entry for each row, or None if the layout does not allow to tell without reading the values.
    """
    start, stop, chunk = file.chunk(group, column)
    if chunk.physical_type != "BYTE_ARRAY" or chunk.compression not in ("SNAPPY", "UNCOMPRESSED"):
        return None
    if not chunk.has_dictionary_page or chunk.dictionary_page_offset is None:
        return None
    pages_start = int(chunk.data_page_offset)
    if pages_start <= start or stop - pages_start > _INDEX_BYTES_PER_VALUE * chunk.num_values + _SLACK:
        return None
    nullable = _max_definition_level(file, column)
    if nullable is None:
        return None
    packed = chunk.compression == "SNAPPY"
    try:
        indices = _indices(file.read(pages_start, stop, keep=False), chunk.num_values, nullable, packed)
        empty = _empty_entry(lambda a, b: file.read(a, b, keep=False), start, pages_start, packed)
    except (_Unreadable, IndexError):
        return None
    return [index is not None and index == empty for index in indices]


def _max_definition_level(file: RemoteParquet, column: str) -> int | None:
    schema = file.metadata.schema
    for index in range(len(schema)):
        described = schema.column(index)
        if described.path == column:
            simple = described.max_repetition_level == 0 and described.max_definition_level <= 1
            return int(described.max_definition_level) if simple else None
    return None


def _indices(pages: bytes, count: int, nullable: int, packed: bool) -> list[int | None]:
    """The dictionary index of every value; None for a null."""
    result: list[int | None] = []
    position = 0
    while len(result) < count:
        header, position = _struct(pages, position)
        size = header[3]
        body = pages[position : position + size]
        position += size
        if header.get(1) == 0 and 5 in header:
            result.extend(_page_v1(header, body, nullable, packed))
        elif header.get(1) == 3 and 8 in header:
            result.extend(_page_v2(header, body, packed))
        else:
            raise _Unreadable
    if len(result) != count:
        raise _Unreadable
    return result


def _page_v1(header: dict[int, Any], body: bytes, nullable: int, packed: bool) -> list[int | None]:
    values, encoding = header[5][1], header[5][2]
    data = _unpacked(body, header[2]) if packed else body
    levels = [1] * values
    if nullable:
        length = int.from_bytes(data[:4], "little")
        levels = _hybrid(data[4 : 4 + length], 1, values)
        data = data[4 + length :]
    return _spread(levels, data, encoding)


def _page_v2(header: dict[int, Any], body: bytes, packed: bool) -> list[int | None]:
    described = header[8]
    values, encoding, levels_size = described[1], described[4], described[5]
    if described[6]:
        raise _Unreadable
    levels = _hybrid(body[:levels_size], 1, values) if levels_size else [1] * values
    data = body[levels_size:]
    if packed and described.get(7, True):
        data = _unpacked(data, header[2] - levels_size)
    return _spread(levels, data, encoding)


def _spread(levels: list[int], data: bytes, encoding: int) -> list[int | None]:
    """Indices at the places that are not null."""
    if encoding not in _DICTIONARY_ENCODINGS:
        raise _Unreadable
    present = sum(levels)
    indices = iter(_hybrid(data[1:], data[0], present) if present else [])
    return [next(indices) if level else None for level in levels]


def _hybrid(data: bytes, width: int, count: int) -> list[int]:
    """Numbers of `width` bits in the mixture of runs and packed groups that Parquet calls RLE."""
    if width == 0:
        return [0] * count
    result: list[int] = []
    position = 0
    while len(result) < count:
        header, position = _varint(data, position)
        if header & 1:
            size = (header >> 1) * width
            if position + size > len(data):
                raise _Unreadable
            bits = int.from_bytes(data[position : position + size], "little")
            position += size
            mask = (1 << width) - 1
            result.extend((bits >> (width * index)) & mask for index in range((header >> 1) * 8))
        else:
            size = (width + 7) // 8
            result.extend([int.from_bytes(data[position : position + size], "little")] * (header >> 1))
            position += size
    return result[:count]


def _empty_entry(read: Callable[[int, int], bytes], start: int, stop: int, packed: bool) -> int | None:
    """The index of the empty text in the dictionary; None if there is none. Reads no more than needed."""
    length = _FIRST_PEEK
    data = b""
    while True:
        end = min(stop, start + length)
        data += read(start + len(data), end)
        complete = end == stop
        header, body = _struct(data, 0)
        if header.get(1) != 2:
            raise _Unreadable
        payload = data[body : body + header[3]]
        values = _snappy_prefix(payload) if packed else payload
        index, position = 0, 0
        while position + 4 <= len(values):
            size = int.from_bytes(values[position : position + 4], "little")
            if size == 0:
                return index
            index, position = index + 1, position + 4 + size
        if complete:
            if index != header[7][1]:
                raise _Unreadable
            return None
        length *= 4


def _snappy_prefix(data: bytes) -> bytes:
    """As much as the beginning of a block in snappy's format tells."""
    _, position = _varint(data, 0)
    out = bytearray()
    while position < len(data):
        tag = data[position]
        position += 1
        kind, short = tag & 3, tag >> 2
        if kind == 0:
            if short >= 60:
                extra = short - 59
                if position + extra > len(data):
                    break
                short = int.from_bytes(data[position : position + extra], "little")
                position += extra
            out += data[position : position + short + 1]
            position += short + 1
            continue
        size = 1 if kind == 1 else 2 if kind == 2 else 4
        if position + size > len(data):
            break
        offset = int.from_bytes(data[position : position + size], "little")
        position += size
        count = short + 1
        if kind == 1:
            count, offset = (short & 7) + 4, offset | (tag >> 5) << 8
        if not 0 < offset <= len(out):
            raise _Unreadable
        for _ in range(count):
            out.append(out[-offset])
    return bytes(out)


def _unpacked(body: bytes, size: int) -> bytes:
    import pyarrow as pa

    try:
        data: bytes = pa.decompress(body, decompressed_size=size, codec="snappy", asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise _Unreadable from error
    return data


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _zigzag(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _struct(data: bytes, position: int) -> tuple[dict[int, Any], int]:
    """A struct in Thrift's compact protocol, by field number."""
    fields: dict[int, Any] = {}
    field = 0
    while True:
        head = data[position]
        position += 1
        if head == _STOP:
            return fields, position
        if head >> 4:
            field += head >> 4
        else:
            field, position = _zigzag(data, position)
        kind = head & 15
        if kind in (_TRUE, _FALSE):
            fields[field] = kind == _TRUE
        else:
            fields[field], position = _value(data, position, kind)


def _value(data: bytes, position: int, kind: int) -> tuple[Any, int]:
    if kind in (_I16, _I32, _I64):
        return _zigzag(data, position)
    if kind == _STRUCT:
        return _struct(data, position)
    if kind == _BINARY:
        size, position = _varint(data, position)
        return data[position : position + size], position + size
    if kind == _BYTE:
        return data[position], position + 1
    if kind == _DOUBLE:
        return data[position : position + 8], position + 8
    raise _Unreadable
