"""What was read once and will be needed again: plain files, ranges of files, derived tables."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import DataError, WriteError
from nemo_skills_specdec.files import sha256_of_file, write_atomically
from nemo_skills_specdec.prompts.hub.http import ChangedError, Fetcher, FileVersion


class StoredFile(msgspec.Struct, frozen=True):
    """A file on this machine.

    Attributes:
        size: in bytes.
    """

    path: str
    size: int
    sha256: str


class _Description(msgspec.Struct):
    url: str
    size: int
    sha256: str


class Cache:
    """A folder of what was read, by address. An answer that is not what it should be is refused and not kept."""

    def __init__(self, root: Path) -> None:
        """Uses `root`, which is created when something is stored."""
        self.root = root

    def file(
        self,
        fetcher: Fetcher,
        url: str,
        *,
        name: str,
        sha256: str | None = None,
        check: Callable[[Path], object] = lambda path: None,
    ) -> StoredFile:
        """The whole file at an address, read unless it is here; a broken read resumes where it stopped.

        Args:
            url: names the content: the same address must always mean the same bytes.
            sha256: what the content must hash to, if known.
            check: raises `DataError` if the content is not of the kind expected.

        Raises:
            DataError: the content is not what it should be.
        """
        path = self._place("files", url)
        part = path.with_suffix(".part")
        with _writing(path.parent), _locked(path.with_suffix(".lock")):
            stored = self._stored(path)
            if stored is not None and sha256 in (None, stored.sha256):
                return stored
            self._complete(fetcher, url, part, name)
            digest = sha256_of_file(part)
            try:
                if sha256 not in (None, digest):
                    raise DataError(f"{url} has sha256 {digest}, {sha256} is expected; it was replaced at its source")
                check(part)
            except DataError as error:
                part.unlink()
                raise DataError(f"{error}; nothing of it was kept") from error
            description = _Description(url, part.stat().st_size, digest)
            os.replace(part, path)
            write_atomically(path.with_suffix(".json"), msgspec.json.encode(description))
        return StoredFile(str(path), description.size, digest)

    def range(self, fetcher: Fetcher, url: str, start: int, stop: int, size: int | None, *, keep: bool = True) -> bytes:
        """The bytes [start, stop) of the file at an address.

        All ranges of a file must be of one version: its size, entity tag and date are noted beside them.

        Args:
            stop: end, exclusive.
            size: of the whole file, if known.

        Raises:
            ChangedError: the file was replaced since other ranges of it were read; all of them are removed.
        """
        path = self._place("ranges", url) / f"{start}-{stop}.bin"
        with suppress(OSError):
            if path.stat().st_size == stop - start:
                return path.read_bytes()
        data = b"".join(self.stream(fetcher, url, start, stop, size=size, name=url.rpartition("/")[2]))
        if keep:
            write_atomically(path, data)
        return data

    def stream(
        self, fetcher: Fetcher, url: str, start: int, stop: int | None, *, size: int | None, name: str
    ) -> Generator[bytes, None, None]:
        """Yields the bytes from `start` on of a file of which other parts may have been read; nothing of it is kept.

        Raises:
            ChangedError: the file was replaced since other parts of it were read; ranges of it are removed.
        """
        noted = self._place("ranges", url) / "version.json"
        known = msgspec.json.decode(noted.read_bytes(), type=FileVersion) if noted.exists() else FileVersion(size)
        versions = [known]
        try:
            for block in fetcher.stream(url, start, stop, known=known, name=name, versions=versions):
                if versions[-1] != known:
                    known = versions[-1]
                    write_atomically(noted, msgspec.json.encode(known))
                yield block
        except ChangedError as error:
            raise ChangedError(f"{error}; {self.evict(url)}") from error

    def evict(self, url: str) -> str:
        """Removes all that is kept of an address, and says in words what was removed."""
        path, ranges = self._place("files", url), self._place("ranges", url)
        named = path if path.exists() else ranges
        for file in (path, path.with_suffix(".json"), path.with_suffix(".part")):
            file.unlink(missing_ok=True)
        shutil.rmtree(ranges, ignore_errors=True)
        return f"its cache entry {named} was removed"

    def document(self, key: str) -> Path:
        """Where a derived table lies. `key` must name everything that it was derived from."""
        return self._place("derived", key).with_suffix(".jsonl")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keeps other processes out while a derived table is added to."""
        path = self.document(key).with_suffix(".lock")
        with _writing(path.parent), _locked(path):
            yield

    def stored_file(self, url: str) -> StoredFile | None:
        """The whole file at an address, if it is here."""
        return self._stored(self._place("files", url))

    def _place(self, kind: str, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.root / kind / digest[:2] / digest[:40]

    @staticmethod
    def _stored(path: Path) -> StoredFile | None:
        try:
            description = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=_Description)
            if path.stat().st_size != description.size:
                return None
        except (OSError, msgspec.MsgspecError):
            return None
        return StoredFile(str(path), description.size, description.sha256)

    @staticmethod
    def _complete(fetcher: Fetcher, url: str, part: Path, name: str) -> None:
        """Reads on from what an earlier attempt left, if the file is still the same."""
        noted = part.with_suffix(".version")
        known = FileVersion()
        # Bytes whose version is not known, or was noted by half when the process died, are not resumed.
        with suppress(OSError, msgspec.MsgspecError):
            known = msgspec.json.decode(noted.read_bytes(), type=FileVersion)
        start = part.stat().st_size if part.exists() and (known.etag or known.last_modified) else 0
        try:
            _append(fetcher, url, part, noted, start, known, name)
        except ChangedError:
            part.unlink(missing_ok=True)
            noted.unlink(missing_ok=True)
            if not start:
                raise
            _append(fetcher, url, part, noted, 0, FileVersion(), name)
        noted.unlink(missing_ok=True)


def _append(fetcher: Fetcher, url: str, part: Path, noted: Path, start: int, known: FileVersion, name: str) -> None:
    versions: list[FileVersion] = []
    with part.open("ab" if start else "wb") as file:
        for chunk in fetcher.stream(url, start, known=known if start else None, name=name, versions=versions):
            if len(versions) == 1:
                noted.write_bytes(msgspec.json.encode(versions.pop()))
            file.write(chunk)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Makes a folder to write in, and turns a failure to write there into one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise WriteError(
            f"cannot write {folder}: {error.strerror}; free space, or choose another folder with --cache-dir"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
