"""Parquet files on the hub, of which only the needed columns and row groups are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile, local_copy
from nemo_skills_specdec.prompts.needs_pyarrow import check_pyarrow

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_WINDOW = 16 << 20
"""Bytes to read at once: enough to spare requests, few enough to spare memory."""


class ParquetFile:
    """One Parquet file."""

    def __init__(self, file: pq.ParquetFile, name: str, on_damage: Callable[[], str]) -> None:
        """The file `file`, which messages call `name`; `on_damage` removes it from the cache and says what it did."""
        self._file, self._name, self._on_damage = file, name, on_damage
        metadata = file.metadata
        self.num_rows = int(metadata.num_rows)
        self.columns: list[str] = list(file.schema_arrow.names)
        self._first_rows = [0]
        for group in range(metadata.num_row_groups):
            self._first_rows.append(self._first_rows[-1] + metadata.row_group(group).num_rows)

    def tables(self, columns: Sequence[str], groups: Collection[int] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """Yields (number of the first row, table) for each row group, with the given columns only.

        Raises:
            DataError: a column is missing, or the file is damaged.
        """
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise DataError(f"{self._name} has no column {missing[0]!r}; it has: {', '.join(self.columns)}")
        wanted = [group for group in range(len(self._first_rows) - 1) if groups is None or group in groups]
        for window in self._windows(wanted, columns):
            with damage_told(self._name, self._on_damage):
                table = self._file.read_row_groups(window, columns=list(columns), use_threads=False)
            offset = 0
            for group in window:
                count = self._first_rows[group + 1] - self._first_rows[group]
                yield self._first_rows[group], table.slice(offset, count)
                offset += count

    def rows(self, numbers: Iterable[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """The rows of the given numbers, counted from 0; those beyond the end are absent."""
        numbers = sorted(number for number in set(numbers) if 0 <= number < self.num_rows)
        groups = {max(g for g, first in enumerate(self._first_rows) if first <= number) for number in numbers}
        found: dict[int, dict[str, Any]] = {}
        for first, table in self.tables(columns, groups) if numbers else ():
            inside = [n for n in numbers if first <= n < first + table.num_rows]
            found.update(zip(inside, table.take([n - first for n in inside]).to_pylist(), strict=True))
        return found

    def find(self, key: str, values: Collection[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The first row for each value of a key column; values not found are absent."""
        places: dict[str, int] = {}
        for first, table in self.tables([key]):
            for offset, value in enumerate(table.column(key).to_pylist()):
                if value in values:
                    places.setdefault(value, first + offset)
        rows = self.rows(places.values(), columns)
        return {value: rows[number] for value, number in places.items()}

    def _windows(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[list[int]]:
        window: list[int] = []
        size = 0
        for group in groups:
            row_group = self._file.metadata.row_group(group)
            chunks = (row_group.column(index) for index in range(row_group.num_columns))
            needed = sum(c.total_compressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
            if window and size + needed > _WINDOW:
                yield window
                window, size = [], 0
            window.append(group)
            size += needed
        if window:
            yield window


def hub_parquet(
    fetcher: Fetcher, cache: Cache, repository: Repository, file: RepositoryFile, *, keep: bool = True
) -> ParquetFile:
    """A Parquet file of a repository: from the hub's cache if it is there, else read in parts, which go to `cache`.

    Raises:
        DataError: it is not a Parquet file.
        UsageError: pyarrow is not installed.
    """
    check_pyarrow()
    import pyarrow.parquet as pq

    url = repository.url(file.path)
    local = local_copy(repository, file)

    def evict() -> str:
        return cache.evict(url) if local is None else _removed(local)

    with damage_told(url, evict):
        if local is not None:
            return ParquetFile(pq.ParquetFile(local), url, evict)
        from nemo_skills_specdec.prompts.hub.hub_files import CheckedFileSystem

        # Instances that were kept would be found again by the text of their arguments.
        files = CheckedFileSystem(fetcher, cache, repository, file, keep=keep, skip_instance_cache=True)
        path = f"datasets/{repository.repo_id}@{repository.sha}/{file.path}"
        # No read-ahead, and ranges asked for together: together they read the needed columns and hardly more.
        opened = files.open(path, cache_type="none")
        return ParquetFile(pq.ParquetFile(opened, pre_buffer=True), url, evict)


@contextmanager
def damage_told(name: str, on_damage: Callable[[], str]) -> Iterator[None]:
    """Turns what pyarrow says of a damaged file into one line, and removes the file from the cache."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name} is not a Parquet file that can be read ({reason}); {on_damage()}") from error


def _removed(path: Path) -> str:
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return f"its cache entry {path} was removed"
