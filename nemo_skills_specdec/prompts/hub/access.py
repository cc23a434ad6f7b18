"""How records are reached, whatever file they are in, with a list of the files that were used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.cache import Cache, StoredFile
from nemo_skills_specdec.prompts.hub.data_files import split_files
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.parquet import ParquetFile, hub_parquet
from nemo_skills_specdec.prompts.hub.repository import (
    Repository,
    RepositoryFile,
    hub_address,
    open_repository,
    whole_file,
)
from nemo_skills_specdec.prompts.rows import read_records


class Origin(msgspec.Struct, frozen=True, order=True):
    """One file that records were taken from.

    Attributes:
        source: repository id, address, or name of a local file.
        revision: commit; None for a plain file.
        file: path in the repository; None for a plain file.
        sha256: of the file: computed where it was read whole, as the hub lists it where only parts were read.
    """

    source: str
    revision: str | None = None
    file: str | None = None
    sha256: str | None = None


class Access:
    """Reads records and remembers which files they came from."""

    def __init__(self, fetcher: Fetcher, cache: Cache) -> None:
        """Reads with `fetcher`, keeps in `cache` and, whole files of the hub, in the hub's own cache."""
        self.fetcher = fetcher
        self.cache = cache
        self.used: set[Origin] = set()

    @property
    def origins(self) -> list[Origin]:
        """The files used, in an order of their own."""
        return sorted(self.used, key=lambda origin: (origin.source, origin.revision or "", origin.file or ""))

    def repository(self, repo_id: str, revision: str) -> Repository:
        """A repository at a revision."""
        return open_repository(self.fetcher, self.cache, repo_id, revision)

    def table(self, repo_id: str, revision: str, config: str | None = None, split: str | None = "test") -> Table:
        """One split of a data set on the hub: all its files. See `split_files` for what None stands for."""
        repository = self.repository(repo_id, revision)
        return Table(self, repository, split_files(self.fetcher, repository, config, split).files)

    def file(self, repository: Repository, file: RepositoryFile) -> StoredFile:
        """A whole file of a repository."""
        stored = whole_file(self.fetcher, repository, file)
        self.used.add(Origin(repository.repo_id, repository.sha, file.path, stored.sha256))
        return stored

    def records(self, url: str, name: str) -> Iterator[dict[str, Any]]:
        """The records of a JSON file at an address."""
        on_hub = hub_address(url)
        if on_hub is not None:
            repo_id, revision, path = on_hub
            repository = self.repository(repo_id, revision)
            yield from _records(Path(self.file(repository, repository.file(path)).path))
            return
        stored = self.cache.file(self.fetcher, url, name=name, check=_check_records)
        self.used.add(Origin(url, sha256=stored.sha256))
        try:
            yield from _records(Path(stored.path))
        except DataError as error:
            raise DataError(f"{error}; {self.cache.evict(url)}") from error


class Table:
    """One split of a data set: a table in Parquet or JSON files, of which only the needed part is read."""

    def __init__(self, access: Access, repository: Repository, files: Sequence[RepositoryFile]) -> None:
        """The rows of `files`, one after the other."""
        self._access = access
        self._repository = repository
        self._files = files
        self.name = f"{repository.repo_id} at {repository.sha[:12]}"
        self.key = " ".join([repository.repo_id, repository.sha, *(file.path for file in files)])

    def rows(self, numbers: Iterable[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Rows by their number, counted from 0 through all files.

        Raises:
            DataError: there are not that many.
        """
        wanted = set(numbers)
        found: dict[int, dict[str, Any]] = {}
        if self._is_parquet:
            first = 0
            for part in self._parts():
                inside = part.rows((number - first for number in wanted), columns)
                found.update((first + number, row) for number, row in inside.items())
                first += part.num_rows
        else:
            found = {number: row for number, row in enumerate(self._json_rows()) if number in wanted}
        if len(found) < len(wanted):
            raise DataError(f"{self.name} has no row {min(wanted - set(found))}; was the source changed?")
        return found

    def find(self, key: str, values: Collection[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The first row for each value of a key column; values not found are absent."""
        wanted = set(values)
        found: dict[str, dict[str, Any]] = {}
        if self._is_parquet:
            for part in self._parts():
                missing = wanted - set(found)
                found.update(part.find(key, missing, columns) if missing else {})
            return found
        for row in self._json_rows():
            if row.get(key) in wanted:
                found.setdefault(row[key], row)
        return found

    def column_rows(self, columns: Sequence[str], *, keep: bool = True) -> Iterator[dict[str, Any]]:
        """Every row: of Parquet files with the given columns only, of JSON files as it is.

        Args:
            keep: whether what is read in parts stays in the cache.
        """
        if not self._is_parquet:
            yield from self._json_rows()
            return
        for part in self._parts(keep=keep):
            for _, table in part.tables(columns):
                yield from table.to_pylist()

    def columns(self) -> list[str]:
        """Names of the columns; of JSON files, those of the first record."""
        if self._is_parquet:
            return next(self._parts()).columns
        return list(next(self._json_rows(), {}))

    def num_rows(self) -> int:
        """How many rows there are."""
        if self._is_parquet:
            return sum(part.num_rows for part in self._parts())
        return sum(1 for _ in self._json_rows())

    @property
    def _is_parquet(self) -> bool:
        return self._files[0].path.lower().endswith(".parquet")

    def _parts(self, *, keep: bool = True) -> Iterator[ParquetFile]:
        access = self._access
        for file in self._files:
            access.used.add(Origin(self._repository.repo_id, self._repository.sha, file.path, file.sha256))
            yield hub_parquet(access.fetcher, access.cache, self._repository, file, keep=keep)

    def _json_rows(self) -> Iterator[dict[str, Any]]:
        for file in self._files:
            stored = self._access.file(self._repository, file)
            yield from _records(Path(stored.path))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    return (record for _, record in read_records(path))


def _check_records(path: Path) -> None:
    for _ in _records(path):
        pass
