"""What was read once and will be needed again: whole files, ranges of files, derived tables."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.files import sha256_of_file, write_atomically
from nemo_skills_specdec.prompts.hub.http import Fetcher, HttpError, RemoteFile


class StoredFile(msgspec.Struct, frozen=True):
    """A file in the cache.

    Attributes:
        path: where it lies.
        size: in bytes.
        sha256: of its content.
    """

    path: str
    size: int
    sha256: str


class _Description(msgspec.Struct):
    url: str
    size: int
    sha256: str


class Cache:
    """A folder of what was read, by address. Addresses name a revision, so that nothing goes stale."""

    def __init__(self, root: Path) -> None:
        """Uses `root`, which is created when something is stored."""
        self.root = root

    def file(self, fetcher: Fetcher, url: str, *, sha256: str | None = None, name: str | None = None) -> StoredFile:
        """The whole file at an address, read unless it is here; a broken read goes on where it stopped.

        Args:
            fetcher: reads it.
            url: names the content: the same address must always mean the same bytes.
            sha256: what the content must hash to, if known.
            name: shown with the progress.

        Raises:
            DataError: the content is not what `sha256` says.
        """
        path = self._place("files", url)
        stored = self._stored(path)
        if stored is not None and sha256 in (None, stored.sha256):
            return stored
        _make_folder(path.parent)
        part = path.with_suffix(".part")
        with _locked(path.with_suffix(".lock")):
            stored = self._stored(path)
            if stored is not None and sha256 in (None, stored.sha256):
                return stored
            self._complete(fetcher, url, part, name)
            digest = sha256_of_file(part)
            if sha256 not in (None, digest):
                part.unlink()
                raise DataError(
                    f"{url} has sha256 {digest}, {sha256} is expected; run again, and if it stays so, "
                    "the file was replaced at its source"
                )
            description = _Description(url, part.stat().st_size, digest)
            os.replace(part, path)
            write_atomically(path.with_suffix(".json"), msgspec.json.encode(description))
        return StoredFile(str(path), description.size, digest)

    def range(self, fetcher: Fetcher, url: str, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of the file at an address."""
        path = self._place("ranges", url) / f"{start}-{stop}.bin"
        if path.exists() and path.stat().st_size == stop - start:
            return path.read_bytes()
        data = fetcher.read(url, start, stop)
        write_atomically(path, data)
        return data

    def document(self, key: str) -> Path:
        """Where a derived table lies. `key` must name everything that it was derived from."""
        return self._place("derived", key).with_suffix(".jsonl")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keeps other processes out while a derived table is added to."""
        path = self.document(key).with_suffix(".lock")
        _make_folder(path.parent)
        with _locked(path):
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
    def _complete(fetcher: Fetcher, url: str, part: Path, name: str | None) -> None:
        """Reads on from what an earlier attempt left, if the file is still the same."""
        tag = part.with_suffix(".etag")
        # A version binds only bytes that are here; of a run killed as it noted the version there may be an empty file.
        here = part.stat().st_size if part.exists() else 0
        etag = (tag.read_text() or None) if here and tag.exists() else None
        start = here if etag is not None else 0

        def remember(remote: RemoteFile) -> None:
            tag.write_text(remote.etag or "")

        try:
            with part.open("ab" if start else "wb") as file:
                for chunk in fetcher.stream(url, start, etag=etag, name=name, on_answer=remember):
                    file.write(chunk)
        except HttpError as error:
            if error.code != "Changed" or not start:
                raise
            with part.open("wb") as file:
                for chunk in fetcher.stream(url, name=name, on_answer=remember):
                    file.write(chunk)
        tag.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {path}: {error.strerror}; choose another folder with --cache-dir") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
