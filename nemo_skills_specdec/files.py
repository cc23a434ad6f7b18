"""Files that are whole or not there: atomic writes, hashes, and where this tool keeps its cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from nemo_skills_specdec.errors import WriteError

_ABANDONED_SECONDS = 3600.0
"""A temporary file older than this belongs to a process that was killed."""
_BLOCK = 1 << 20


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which others see whole or not at all, whenever the process dies or the disk fills up.

    Its folder is made if need be. What killed processes left half written beside it is removed.

    Raises:
        WriteError: it cannot be written; nothing is left of it then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise WriteError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that others see whole or not at all.

    Raises:
        WriteError: it cannot be written; nothing is left of it then.
    """
    with atomic_file(path) as file:
        file.write(content)


class LineLog:
    """A file that grows line by line; each line is on disk within a second of being given.

    A thread of its own writes and syncs in batches, so giving a line costs next to nothing. Where the disk fails, the
    lines that it did not take stay in memory, and are read from there.

    Attributes:
        failure: why lines are no longer written; None while they are.
        end: where the next line will begin.
    """

    SYNC_SECONDS = 0.25

    def __init__(self, path: Path) -> None:
        """Opens the file and adds to what is there.

        Raises:
            WriteError: it cannot be opened.
        """
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        self.failure: str | None = None
        self._path = path
        self.end = self._written = self._file.seek(0, os.SEEK_END)
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="line-log", daemon=True)
        self._thread.start()

    def append(self, line: bytes) -> None:
        """Takes a line, without its end."""
        with self._lock:
            self.end += len(line) + 1
            self._waiting += line
            self._waiting += b"\n"

    def read(self, start: int, end: int) -> bytes:
        """What lies between two places, wherever it is kept."""
        with self._lock:
            on_disk = min(end, self._written)
            found = os.pread(self._file.fileno(), max(on_disk - start, 0), start)
            return found + self._waiting[max(start - self._written, 0) : max(end - self._written, 0)]

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """All lines from a place on, each with where it begins."""
        rest = b""
        at = start
        while at < self.end or rest:
            block = self.read(at, min(at + _BLOCK, self.end))
            at += len(block)
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                yield start, line
                start += len(line) + 1
            if not block:
                return

    def settle(self) -> None:
        """Writes what is waiting. Lines can still be read, but no more are taken."""
        self._closing.set()
        self._thread.join()

    def close(self) -> None:
        """Writes what is waiting, and closes the file."""
        self.settle()
        self._file.close()

    def _write_on(self) -> None:
        while not self._closing.wait(self.SYNC_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        if self.failure is not None:
            return
        with self._lock:
            waiting = bytes(self._waiting)
        if not waiting:
            return
        try:
            written = 0
            while written < len(waiting):
                written += self._file.write(waiting[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as error:
            self.failure = f"cannot write {self._path}: {error.strerror}"
            with contextlib.suppress(OSError):  # the file is to end with a whole line, and lines are to lie only once
                self._file.truncate(self._written)
            return
        with self._lock:
            self._written += len(waiting)
            del self._waiting[: len(waiting)]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Holds a lock file for as long as the block lasts; yields False if another process holds it.

    Raises:
        WriteError: the lock file cannot be made.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def safe_name(text: str, longest: int = 80) -> str:
    """A text of unknown origin as part of a file name: no separators, no leading dot, and short."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "-_." else "-" for c in text).lstrip(".")[:longest] or "-"


def pretty(value: object) -> bytes:
    """JSON for files that people open too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_root() -> Path:
    """`SPECDEC_CACHE`, else a folder of this tool in the user's cache folder."""
    chosen = os.environ.get("SPECDEC_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemo_skills_specdec"


def _remove_abandoned(path: Path) -> None:
    for old in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _ABANDONED_SECONDS:
                old.unlink()
