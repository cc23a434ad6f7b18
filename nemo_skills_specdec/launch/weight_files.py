"""Names and hashes of a model's weights, so that a run says which checkpoint it measured."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from nemo_skills_specdec.files import sha256_of_file
from nemo_skills_specdec.launch.small_models import model_path

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
LARGEST_HASHED = 16 * 2**30
"""Bytes of a model above which its files are not read for their hashes: that would take minutes."""
_SHA256 = re.compile("[0-9a-f]{64}")


class WeightFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of weights.

    Attributes:
        sha256: None for files of models above `LARGEST_HASHED`, unless the Hub's cache names it.
    """

    name: str
    size: int
    sha256: str | None


def weight_files(model: str) -> list[WeightFile]:
    """The weights' files of a folder, a file, or a Hub name whose snapshot is in the cache; empty if there are none."""
    place = _place(model)
    if place is None:
        return []
    files = [place] if place.is_file() else sorted(_weights_in(place))
    sizes = {file: file.stat() for file in files}
    hashed = sum(stat.st_size for stat in sizes.values()) <= LARGEST_HASHED
    return [
        WeightFile(
            name=str(file.relative_to(place)) if file != place else file.name,
            size=stat.st_size,
            sha256=_named_hash(file) or (_hash(file, stat.st_size, stat.st_mtime_ns) if hashed else None),
        )
        for file, stat in sizes.items()
    ]


def _place(model: str) -> Path | None:
    """Where the model lies on this machine."""
    path = Path(model_path(model))
    if path.exists():
        return path
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    repository = cache / f"models--{model.replace('/', '--')}"
    try:
        return repository / "snapshots" / (repository / "refs" / "main").read_text().strip()
    except OSError:
        return None


def _weights_in(folder: Path) -> Iterable[Path]:
    """Those of the folder itself and, for a pair of models, of the folders in it."""
    return (file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.suffix in SUFFIXES)


def _named_hash(file: Path) -> str | None:
    """The Hub's cache links to files whose names are their hashes."""
    target = file.resolve().name
    return target if file.is_symlink() and _SHA256.fullmatch(target) else None


@functools.lru_cache(maxsize=1024)
def _hash(file: Path, size: int, changed: int) -> str:
    """Read once for all runs; size and time of change tell whether it is still the same."""
    return sha256_of_file(file)
