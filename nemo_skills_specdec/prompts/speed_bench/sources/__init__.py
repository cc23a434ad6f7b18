"""Where SPEED-Bench's texts come from, by families of sources."""

from __future__ import annotations

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.speed_bench.rules import Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow
from nemo_skills_specdec.prompts.speed_bench.sources import (
    adaleval,
    hle,
    hub_tables,
    livecodebench,
    plain_files,
    roleplay,
)

SOURCES: tuple[Source, ...] = (
    plain_files.BAMBOO,
    hub_tables.CNN_DAILYMAIL,
    hle.SOURCE,
    livecodebench.SOURCE,
    hub_tables.CODE_CONTESTS,
    plain_files.MTBENCH101,
    hub_tables.OPUS_100,
    hub_tables.CHATRAG,
    hub_tables.MMLU_PRO,
    adaleval.STACKSELECT,
    adaleval.TEXTSORT,
    roleplay.ROLEBENCH,
    roleplay.COSER,
)
"""In the order in which they are tried; the first whose marker a row's `source` contains completes the row."""


def source_of(row: RawRow) -> Source:
    """The family of sources that completes a masked row.

    Raises:
        DataError: no rule is known for it.
    """
    for source in SOURCES:
        if source.marker in row.source:
            return source
    raise DataError(
        f"row {row.question_id} is masked and its source {row.source!r} is of no known kind; use --revision"
    )
