"""How records are reached, whatever file they are in, with a list of the files that were used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.cache import Cache, StoredFile
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.json_records import records_of_file
from nemo_skills_specdec.prompts.hub.parquet import RemoteParquet, concatenated
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile, data_files, open_repository


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
        """Reads with `fetcher`, keeps in `cache`."""
        self.fetcher = fetcher
        self.cache = cache
        self.used: set[Origin] = set()

    def repository(self, repo_id: str, revision: str) -> Repository:
        """A repository at a revision."""
        return open_repository(self.fetcher, self.cache, repo_id, revision)

    def table(self, repo_id: str, revision: str, config: str | None = None, split: str = "test") -> Table:
        """One split of a data set on the hub."""
        repository = self.repository(repo_id, revision)
        files = data_files(self.fetcher, self.cache, repository, config, split)
        return Table(self, repository, files)

    def records(self, url: str, name: str) -> Iterator[dict[str, Any]]:
        """The records of a JSON file at an address."""
        stored = self.cache.file(self.fetcher, url, name=name)
        self.note(url, stored)
        return records_of_file(Path(stored.path), name=url)

    def note(self, url: str, stored: StoredFile) -> None:
        """Remembers that a plain file was used."""
        self.used.add(Origin(url, sha256=stored.sha256))


class Table:
    """One split of a data set: a table in Parquet or JSON files, of which only the needed part is read."""

    def __init__(self, access: Access, repository: Repository, files: Sequence[RepositoryFile]) -> None:
        """The rows of `files`, one after the other."""
        self._access = access
        self._repository = repository
        self._files = files
        self.name = f"{repository.repo_id} at {repository.sha[:12]}"
        self.key = " ".join([repository.repo_id, repository.sha, *(file.path for file in files)])

    @property
    def is_parquet(self) -> bool:
        """Whether columns can be read alone."""
        return self._files[0].path.endswith(".parquet")

    def parquet_files(self) -> list[RemoteParquet]:
        """The Parquet files."""
        access = self._access
        opened = []
        for file in self._files:
            self._note(file, file.sha256)
            opened.append(RemoteParquet(access.fetcher, access.cache, self._repository.url(file.path), file.size))
        return opened

    def rows(self, numbers: Iterable[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Rows by their number, counted from 0.

        Raises:
            DataError: there are not that many.
        """
        wanted = set(numbers)
        if self.is_parquet:
            return dict(concatenated(self.parquet_files(), wanted, columns))
        found = {number: row for number, row in enumerate(self._json_rows()) if number in wanted}
        if len(found) < len(wanted):
            raise DataError(f"{self.name} has no row {min(wanted - set(found))}; was the source changed?")
        return found

    def find(self, key: str, values: Collection[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The first row for each value of a key column; values not found are absent."""
        wanted = set(values)
        found: dict[str, dict[str, Any]] = {}
        if self.is_parquet:
            for file in self.parquet_files():
                missing = wanted - set(found)
                found.update(file.find(key, missing, columns) if missing else {})
            return found
        for row in self._json_rows():
            if row.get(key) in wanted:
                found.setdefault(row[key], row)
        return found

    def column_rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Every row: of Parquet files with the given columns only, of JSON files as it is."""
        if not self.is_parquet:
            yield from self._json_rows()
            return
        for file in self.parquet_files():
            for _, table in file.tables(columns):
                yield from table.to_pylist()

    def columns(self) -> list[str]:
        """Names of the columns; of JSON files, those of the first record."""
        if self.is_parquet:
            return self.parquet_files()[0].columns
        return list(next(self._json_rows(), {}))

    def num_rows(self) -> int:
        """How many rows there are."""
        if self.is_parquet:
            return sum(file.num_rows for file in self.parquet_files())
        return sum(1 for _ in self._json_rows())

    def _json_rows(self) -> Iterator[dict[str, Any]]:
        access = self._access
        for file in self._files:
            url = self._repository.url(file.path)
            stored = access.cache.file(access.fetcher, url, sha256=file.sha256, name=self._repository.repo_id)
            self._note(file, stored.sha256)
            yield from records_of_file(Path(stored.path), name=url)

    def _note(self, file: RepositoryFile, sha256: str | None) -> None:
        self._access.used.add(Origin(self._repository.repo_id, self._repository.sha, file.path, sha256))
