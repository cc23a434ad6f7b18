"""Parquet files on the hub, of which only the needed columns and row groups are read."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_FOOTER = 1 << 16
_GAP = 1 << 17
_WINDOW = 16 << 20


class RemoteParquet:
    """One Parquet file at an address that always means the same bytes."""

    def __init__(self, fetcher: Fetcher, cache: Cache, url: str, size: int | None = None) -> None:
        """Reads the footer.

        Args:
            fetcher: reads ranges.
            cache: keeps the ranges.
            url: of the file.
            size: in bytes; None asks the server.
        """
        import pyarrow.parquet as pq

        self.url = url
        self._fetcher = fetcher
        self._cache = cache
        self.size = size if size is not None else self._asked_size()
        start = max(0, self.size - _FOOTER)
        tail = cache.range(fetcher, url, start, self.size)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or length > self.size:
            raise DataError(f"{url} is not a Parquet file")
        if length > len(tail):
            start = self.size - length
            tail = cache.range(fetcher, url, start, self.size)
        self._footer = (start, tail)
        self.metadata: pq.FileMetaData = pq.read_metadata(_SparseFile(self.size, [self._footer], self._read))

    @property
    def num_rows(self) -> int:
        """Rows in the file."""
        return int(self.metadata.num_rows)

    @property
    def columns(self) -> list[str]:
        """Names of the top-level columns."""
        return list(self.metadata.schema.to_arrow_schema().names)

    def tables(
        self, columns: Sequence[str], groups: Collection[int] | None = None, *, keep: bool = True
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yields (number of the first row, table) for each row group, with the given columns only.

        Args:
            columns: top-level columns.
            groups: which row groups; None for all.
            keep: whether what is read goes to the cache.

        Raises:
            DataError: a column is missing.
        """
        import pyarrow.parquet as pq

        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise DataError(f"{self.url} has no column {missing[0]!r}; it has: {', '.join(self.columns)}")
        starts = self._first_rows()
        wanted = [group for group in range(self.metadata.num_row_groups) if groups is None or group in groups]
        for window in self._windows(wanted, columns):
            ranges = merged([r for group in window for r in self._ranges(group, columns)], _GAP)
            segments = [(start, self._get(start, stop, keep)) for start, stop in ranges]
            file = pq.ParquetFile(
                _SparseFile(self.size, [*segments, self._footer], self._read),
                metadata=self.metadata,
                pre_buffer=False,
            )
            for group in window:
                yield starts[group], file.read_row_group(group, columns=list(columns), use_threads=False)

    def rows(self, numbers: Iterable[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """The rows of the given numbers, counted from 0.

        Raises:
            DataError: there are not that many rows.
        """
        numbers = sorted(set(numbers))
        if numbers and not 0 <= numbers[-1] < self.num_rows:
            raise DataError(f"{self.url} has {self.num_rows} rows, number {numbers[-1]} is asked for")
        starts = self._first_rows()
        groups = {max(g for g, start in enumerate(starts) if start <= number) for number in numbers}
        found: dict[int, dict[str, Any]] = {}
        for first, table in self.tables(columns, groups):
            inside = [n for n in numbers if first <= n < first + table.num_rows]
            for number, row in zip(inside, table.take([n - first for n in inside]).to_pylist(), strict=True):
                found[number] = row
        return found

    def find(self, key: str, values: Collection[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The first row for each value of a key column. Values not found are absent from the result."""
        places: dict[str, int] = {}
        for first, table in self.tables([key]):
            for offset, value in enumerate(table.column(key).to_pylist()):
                if value in values and value not in places:
                    places[value] = first + offset
        rows = self.rows(places.values(), columns)
        return {value: rows[number] for value, number in places.items()}

    def chunk(self, group: int, column: str) -> tuple[int, int, Any]:
        """Start, stop and description of a flat column in a row group."""
        row_group = self.metadata.row_group(group)
        for index in range(row_group.num_columns):
            chunk = row_group.column(index)
            if chunk.path_in_schema == column:
                return (*_extent(chunk), chunk)
        raise DataError(f"{self.url} has no flat column {column!r}")

    def read(self, start: int, stop: int, *, keep: bool = True) -> bytes:
        """Bytes of the file."""
        return self._get(start, stop, keep)

    def _asked_size(self) -> int:
        size = self._fetcher.inspect(self.url).size
        if size is None:
            raise DataError(f"{self.url}: the server does not say how long the file is")
        return size

    def _get(self, start: int, stop: int, keep: bool) -> bytes:
        if keep:
            return self._cache.range(self._fetcher, self.url, start, stop)
        return self._fetcher.read(self.url, start, stop)

    def _read(self, start: int, stop: int) -> bytes:
        return self._get(start, stop, True)

    def _first_rows(self) -> list[int]:
        starts = [0]
        for group in range(self.metadata.num_row_groups):
            starts.append(starts[-1] + self.metadata.row_group(group).num_rows)
        return starts[:-1]

    def _ranges(self, group: int, columns: Sequence[str]) -> list[tuple[int, int]]:
        row_group = self.metadata.row_group(group)
        chunks = (row_group.column(index) for index in range(row_group.num_columns))
        return [_extent(chunk) for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]

    def _windows(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[list[int]]:
        """Row groups to read at once: enough to spare requests, few enough to spare memory."""
        window: list[int] = []
        size = 0
        for group in groups:
            needed = sum(stop - start for start, stop in self._ranges(group, columns))
            if window and size + needed > _WINDOW:
                yield window
                window, size = [], 0
            window.append(group)
            size += needed
        if window:
            yield window


class _SparseFile(io.RawIOBase):
    """A file of which some segments are in memory; the others are read when they are asked for."""

    def __init__(self, size: int, segments: Sequence[tuple[int, bytes]], read: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._segments = segments
        self._fetch = read
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._position + size)
        start, self._position = self._position, stop
        if stop <= start:
            return b""
        for first, data in self._segments:
            if first <= start and stop <= first + len(data):
                return data[start - first : stop - first]
        return self._fetch(start, stop)

    def size(self) -> int:
        return self._size


def merged(ranges: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """The ranges in order, those joined that lie at most `gap` bytes apart."""
    result: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if result and start <= result[-1][1] + gap:
            result[-1] = (result[-1][0], max(result[-1][1], stop))
        else:
            result.append((start, stop))
    return result


def concatenated(
    files: Sequence[RemoteParquet], numbers: Iterable[int], columns: Sequence[str]
) -> Mapping[int, dict[str, Any]]:
    """Rows by their number, counted through several files."""
    numbers = sorted(set(numbers))
    found: dict[int, dict[str, Any]] = {}
    first = 0
    for file in files:
        inside = [number - first for number in numbers if first <= number < first + file.num_rows]
        found.update((first + number, row) for number, row in file.rows(inside, columns).items())
        first += file.num_rows
    missing = [number for number in numbers if number not in found]
    if missing:
        raise DataError(f"{files[0].url} and its parts have {first} rows, number {missing[0]} is asked for")
    return found


def _extent(chunk: Any) -> tuple[int, int]:
    start = int(chunk.data_page_offset)
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        start = min(start, int(chunk.dictionary_page_offset))
    return start, start + int(chunk.total_compressed_size)
