"""What the runs of one load tell about each draft length: acceptance, time per token, time per step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.compare.figures import USER_SPEED
from nemo_skills_specdec.compare.pairing import Pairs, pair, tally
from nemo_skills_specdec.compare.possible_lengths import RunNoise, TimedLength
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.compare.step_time import StepPoint
from nemo_skills_specdec.measurement.run import OutputRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """The configurations of one load by draft length, 0 for none, with their rows on the prompts that all answered.

    Attributes:
        rows: by draft length, for every repeat its rows.
    """

    groups: dict[int, RunGroup]
    rows: dict[int, list[list[OutputRow]]]

    @property
    def longest(self) -> int:
        """The longest measured draft length."""
        return max(self.groups)


class MeasuredLength(msgspec.Struct, frozen=True, kw_only=True):
    """One measured configuration: a draft length, or 0 for no speculation.

    Attributes:
        acceptance_length: pooled; None for length 0, or where nothing tells it.
        tpot_seconds: sum of decoding times / sum of tokens after the first; over repeats, the geometric mean.
        tokens_per_step: steps without drafts and cut-off tokens counted, where counters tell it; else AL.
    """

    draft_length: int
    runs: int
    acceptance_length: float | None
    tpot_seconds: float | None
    tokens_per_step: float | None

    @property
    def step(self) -> StepPoint | None:
        """Its step time; None without speculation, whose step neither drafts nor verifies."""
        if not self.draft_length or self.tpot_seconds is None or self.tokens_per_step is None:
            return None
        seconds = self.tpot_seconds * self.tokens_per_step
        return StepPoint(draft_length=self.draft_length, seconds=seconds, runs=self.runs)


def draft_length_of(group: RunGroup) -> int:
    """The configured draft length, else that of the counted positions; 0 without speculation."""
    if not group.speculates:
        return 0
    run = group.runs[0]
    positions = run.evaluation.overall.acceptance.accepted_per_position or ()
    return run.manifest.server.draft_length or len(positions)


def cell_of(groups: Sequence[RunGroup]) -> Cell:
    """Puts the configurations of one load side by side."""
    pairs = pair([run.rows for group in groups for run in group.runs])
    rows: dict[int, list[list[OutputRow]]] = {}
    start = 0
    for group in groups:
        rows[draft_length_of(group)] = pairs.rows[start : start + len(group.runs)]
        start += len(group.runs)
    return Cell(groups={draft_length_of(group): group for group in groups}, rows=rows)


def measured_length(cell: Cell, draft_length: int) -> MeasuredLength:
    """The figures of one draft length."""
    group, rows = cell.groups[draft_length], cell.rows[draft_length]
    length = None
    if draft_length:
        counts = counts_by_prompt(rows)
        length = total(counts).acceptance_length if counts else None
        length = length or group.runs[0].evaluation.overall.acceptance.acceptance_length
    told = [value for run in group.runs if (value := run.evaluation.overall.acceptance.tokens_per_step)]
    return MeasuredLength(
        draft_length=draft_length,
        runs=len(group.runs),
        acceptance_length=length,
        tpot_seconds=_tpot(rows),
        tokens_per_step=1.0 if not draft_length else math.fsum(told) / len(told) if told else length,
    )


def counts_by_prompt(repeats: Sequence[Sequence[OutputRow]]) -> list[AcceptanceCounts]:
    """The counts of each prompt, summed over turns and repeats; empty where an answer does not tell its positions."""
    found = []
    for rows in zip(*repeats, strict=True):
        counts = [record.counts for row in rows for record in row.requests]
        known = [one for one in counts if one is not None]
        summed = total(known)
        if len(known) < len(counts) or summed.num_drafts is None or summed.accepted_per_position is None:
            return []
        found.append(summed)
    return found


def timed_length(cell: Cell, draft_length: int) -> TimedLength | None:
    """What a simulation needs; None where answers tell no counts or no times."""
    repeats = cell.rows[draft_length]
    counts = counts_by_prompt(repeats)
    if not counts or _tpot(repeats) is None:
        return None
    decoding = sum(_decoding(rows) for rows in repeats[1:]) + _decoding(repeats[0])
    return TimedLength(counts=counts, decoding=decoding / len(repeats), runs=len(repeats))


def run_noise(cell: Cell, assumed: float) -> RunNoise:
    """Noise of TPOT from run to run, pooled over the configurations that have repeats; else the assumed one."""
    squares, freedom = 0.0, 0
    for repeats in cell.rows.values():
        logarithms = [math.log(value) for rows in repeats if (value := _tpot([rows]))]
        if len(logarithms) > 1:
            middle = math.fsum(logarithms) / len(logarithms)
            squares += math.fsum((value - middle) ** 2 for value in logarithms)
            freedom += len(logarithms) - 1
    if not freedom:
        return RunNoise(deviation=assumed)
    return RunNoise(deviation=math.sqrt(squares / freedom), freedom=freedom)


def _tpot(repeats: Sequence[Sequence[OutputRow]]) -> float | None:
    logarithms = []
    for rows in repeats:
        tokens, seconds = _decoding(rows).sum(axis=0)
        if tokens <= 0 or seconds <= 0:
            return None
        logarithms.append(math.log(seconds / tokens))
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else None


def _decoding(rows: Sequence[OutputRow]) -> NDArray[np.float64]:
    """By prompt, tokens after the first and the seconds they took; zeros where too many answers do not report it."""
    found = tally(Pairs(rows=[list(rows)], left_out=0), USER_SPEED)
    return found.runs[0] if found.usable else 0 * found.runs[0]
