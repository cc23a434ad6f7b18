"""Whether there is room on the disks for what is going to be written."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow

_BYTES_PER_TOKEN = 5
_BYTES_PER_MASKED_ROW = 20_000
"""Of a masked row of the qualitative config, generously; the longest are articles and retrieved passages."""


def bytes_of_rows(rows: Iterable[RawRow], budget: int | None) -> tuple[int, int]:
    """About how many bytes completed rows take, and those of them alone that are masked now.

    Args:
        budget: tokens of a throughput prompt; None in the qualitative config.
    """
    masked = open_ = 0
    for row in rows:
        if row.masked:
            masked += _BYTES_PER_MASKED_ROW if budget is None else budget * _BYTES_PER_TOKEN
        else:
            open_ += sum(len(turn.encode()) for turn in row.turns)
    return masked + open_, masked


def check_room(needed: Mapping[Path, int]) -> None:
    """Makes sure that folders, which need not be there yet, have room; those on one disk share it.

    Args:
        needed: bytes to be written, by folder.

    Raises:
        UsageError: a disk has less; names it and both numbers.
    """
    disks: dict[int, list[tuple[Path, int]]] = {}
    for folder, size in needed.items():
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        disks.setdefault(place.stat().st_dev, []).append((place, size))
    for places in disks.values():
        free, wanted = shutil.disk_usage(places[0][0]).free, sum(size for _, size in places)
        if free < wanted:
            named = ", ".join(sorted({str(place) for place, _ in places}))
            raise UsageError(
                f"{named} has {free / 1e6:.0f} MB free, about {wanted / 1e6:.0f} MB "
                "are needed; free space, or choose other folders with --data-dir, --cache-dir and HF_HOME"
            )
