"""Finding prepared files in a folder, whoever wrote them."""

from __future__ import annotations

import os
from pathlib import Path

from nemo_skills_specdec.errors import UsageError


def default_data_dir() -> Path:
    """Where prepared data goes unless said otherwise: NeMo-Skills' data folder, else `data` in the current folder."""
    return Path(os.environ.get("NEMO_SKILLS_DATA_DIR") or "data")


def prepared_names(path: Path) -> list[str]:
    """Names of the prepared files in a folder (`qualitative` for `qualitative.jsonl` and so on), in order."""
    return sorted(_files(path))


def prepared_file(path: Path, name: str) -> Path:
    """The file of a name in a folder.

    Looks for `<name>.jsonl`, then for `<name>/test.parquet`, also below `speed/` where specdec_bench writes it.

    Raises:
        UsageError: there is none; says what there is and how to get it.
    """
    files = _files(path)
    if name not in files:
        there = f"it has: {', '.join(sorted(files))}" if files else "there is no prepared file in it"
        raise UsageError(f"{path} has no {name}.jsonl; {there}. Prepare it with: ns-specdec prepare")
    return files[name]


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.stem: path}
    found = {file.stem: file for file in path.glob("*.jsonl") if not file.name.startswith(".")}
    for pattern in ("*/test.parquet", "speed/*/test.parquet"):
        for file in path.glob(pattern):
            found.setdefault(file.parent.name, file)
    return found
