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
    lines given from then on are not kept here; `failure` says why.

    Attributes:
        failure: why lines are no longer written; None while they are.
    """

    SYNC_SECONDS = 0.25

    def __init__(self, path: Path) -> None:
        """Opens the file and adds to what is there.

        Raises:
            WriteError: it cannot be opened.
        """
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        self.failure: str | None = None
        self._path = path
        self._end = self._file.tell()
        self._waiting: list[bytes] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="line-log", daemon=True)
        self._thread.start()

    def append(self, line: bytes) -> tuple[int, int] | None:
        """Takes a line, without its end; says from where to where it will lie, or None if it is not kept."""
        with self._lock:
            if self.failure is not None:
                return None
            start, self._end = self._end, self._end + len(line) + 1
            self._waiting.append(line)
            return start, self._end - 1

    def close(self) -> None:
        """Writes what is waiting, and closes the file."""
        self._closing.set()
        self._thread.join()
        self._file.close()

    def _write_on(self) -> None:
        while not self._closing.wait(self.SYNC_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting or self.failure is not None:
            return
        try:
            self._file.write(b"".join(line + b"\n" for line in waiting))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self.failure = f"cannot write {self._path}: {error.strerror}"


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
