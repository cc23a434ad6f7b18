"""Files that are whole or not there: atomic writes, hashes, and where this tool keeps its cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

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
