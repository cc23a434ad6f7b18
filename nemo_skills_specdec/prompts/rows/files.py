"""Files of prompts as records: JSON lines, JSON arrays, CSV, Parquet and plain text, compressed or not."""

from __future__ import annotations

import codecs
import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import msgspec

from nemo_skills_specdec.errors import JSON_ERRORS, DataError
from nemo_skills_specdec.prompts.needs_pyarrow import check_pyarrow

Record = dict[str, Any]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet")
_PACKED = (".gz", ".zst")
_BATCH = 64
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def is_prompt_file(name: str) -> bool:
    """Whether a name is that of a file of prompts, by its suffix."""
    return _suffix(name) in SUFFIXES


def prompt_file_stem(name: str) -> str:
    """The file's name without its folder and the suffixes that tell its format."""
    base = Path(name).name
    for suffixes in (_PACKED, SUFFIXES):
        for suffix in suffixes:
            if base.lower().endswith(suffix) and len(base) > len(suffix):
                base = base[: -len(suffix)]
                break
    return base


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The records of a file, one at a time, each with its place in the file (`line 3`, `record 3` or `row 3`, from 1).

    The format follows from the suffix, whatever its case, below `.gz` or `.zst`: `.csv`, `.tsv`, `.txt` (a prompt a
    line), `.parquet`; everything else is JSON, lines of objects or one array of them. Text is UTF-8, or UTF-16 or
    UTF-32 with a byte order mark.

    Raises:
        DataError: the file cannot be read or is not what its suffix says; names the line where there is one.
    """
    try:
        with path.open("rb") as raw:
            yield from _records(raw, path)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or "it ends too early"
        raise DataError(f"cannot read {path}: {reason}; give the path of a file of prompts") from error


def _records(raw: IO[bytes], path: Path) -> Iterator[tuple[str, Record]]:
    suffix = _suffix(path.name)
    if suffix == ".parquet":
        yield from _parquet_records(raw, path)
        return
    file = _unpacked(raw, path)
    if suffix in (".csv", ".tsv"):
        yield from _table_records(file, path, "\t" if suffix == ".tsv" else ",")
    elif suffix == ".txt":
        for number, line in _lines(file, path):
            if line.strip():
                yield f"line {number}", {"prompt": line.strip("\r\n")}
    else:
        yield from _json_records(file, path, may_span_lines=suffix == ".json")


def _suffix(name: str) -> str:
    base = name.lower()
    for packed in _PACKED:
        base = base.removesuffix(packed)
    return Path(base).suffix


def _unpacked(raw: IO[bytes], path: Path) -> io.BufferedReader:
    """The content without compression, which its first bytes tell, not the name."""
    import gzip

    head = raw.peek(4)[:4]  # type: ignore[attr-defined]
    if head[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if head == b"\x28\xb5\x2f\xfd":
        check_pyarrow()
        import pyarrow as pa

        return io.BufferedReader(io.BytesIO(pa.CompressedInputStream(raw, "zstd").read()))
    return raw  # type: ignore[return-value]


def _encoding(file: io.BufferedReader) -> str:
    head = file.peek(4)[:4]
    return next((name for mark, name in _ENCODINGS if head.startswith(mark)), "utf-8")


def _lines(file: io.BufferedReader, path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines. Only a newline ends one: JSON strings may hold U+2028 and other separators."""
    encoding = _encoding(file)
    if encoding != "utf-8":
        yield from enumerate(io.TextIOWrapper(file, encoding, newline="\n"), start=1)
        return
    for number, line in enumerate(file, start=1):
        try:
            # A mark stands before every part of files that were put together.
            yield number, line.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} line {number} is not UTF-8 (byte {error.start}); convert the file, e.g. with iconv"
            ) from error


def _json_records(file: io.BufferedReader, path: Path, *, may_span_lines: bool) -> Iterator[tuple[str, Record]]:
    lines = ((number, line) for number, line in _lines(file, path) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        value = _json("".join(line for _, line in chain((first,), lines)), str(path))
        for number, item in enumerate(value, start=1):
            yield f"record {number}", _object(item, f"{path} record {number}")
        return
    if may_span_lines and not _is_json(first[1]):
        yield "record 1", _object(_json("".join(line for _, line in chain((first,), lines)), str(path)), str(path))
        return
    for number, line in chain((first,), lines):
        where = f"{path} line {number}"
        yield f"line {number}", _object(_json(line, where), where)


def _json(text: str, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except JSON_ERRORS as error:
        try:
            # It also knows NaN, which pandas and others write.
            return json.loads(text)
        except (ValueError, RecursionError):
            raise DataError(f"{where} is not JSON ({error}); one object a line, or one array, is expected") from error


def _is_json(text: str) -> bool:
    try:
        _json(text, "")
    except DataError:
        return False
    return True


def _object(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise DataError(f'{where} is not a JSON object; write e.g. {{"prompt": "..."}}')
    return value


def _table_records(file: io.BufferedReader, path: Path, delimiter: str) -> Iterator[tuple[str, Record]]:
    # The default, 128 KiB a cell, is less than long prompts have. There is one limit for the process.
    csv.field_size_limit(2**31 - 1)
    encoding = _encoding(file)
    text = io.TextIOWrapper(file, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
    reader = csv.DictReader(text, delimiter=delimiter)
    for record in reader:
        if None in record:
            raise DataError(
                f"{path} line {reader.line_num} has more cells than the header; quote cells with {delimiter!r}"
            )
        yield f"line {reader.line_num}", {key: cell or None for key, cell in record.items()}


def _parquet_records(raw: IO[bytes], path: Path) -> Iterator[tuple[str, Record]]:
    check_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(raw) as file:
            yield from _numbered(record for batch in file.iter_batches(_BATCH) for record in batch.to_pylist())
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"cannot read {path} ({error}); give a Parquet file") from error


def _numbered(records: Iterable[Record]) -> Iterator[tuple[str, Record]]:
    for number, record in enumerate(records, start=1):
        yield f"row {number}", record
