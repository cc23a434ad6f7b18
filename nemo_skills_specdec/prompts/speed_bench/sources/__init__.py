"""Where SPEED-Bench's texts come from, one module for each family of sources."""

from __future__ import annotations

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.speed_bench.rules import Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow
from nemo_skills_specdec.prompts.speed_bench.sources import (
    adaleval,
    bamboo,
    chatrag,
    cnn_dailymail,
    code_contests,
    coser,
    hle,
    livecodebench,
    mmlu_pro,
    mtbench101,
    opus100,
    rolebench,
)

SOURCES: tuple[Source, ...] = (
    bamboo.SOURCE,
    cnn_dailymail.SOURCE,
    hle.SOURCE,
    livecodebench.SOURCE,
    code_contests.SOURCE,
    mtbench101.SOURCE,
    opus100.SOURCE,
    chatrag.SOURCE,
    mmlu_pro.SOURCE,
    adaleval.STACKSELECT,
    adaleval.TEXTSORT,
    rolebench.SOURCE,
    coser.SOURCE,
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
