"""Intervals of the rates that counts give: AL, AR, per position and conditional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.statistics.counts_table import ACCEPTED, DRAFTED, FIRST, STEPS, CountsTable, counts_table
from nemo_skills_specdec.statistics.interval import Interval
from nemo_skills_specdec.statistics.ratio import ratio_interval, ratio_of
from nemo_skills_specdec.statistics.resampling import LARGE, RESAMPLES, resampled_sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """95 % intervals of all rates; an entry is None where the rate is undefined or its counts are unknown."""

    acceptance_length: Interval | None = None
    acceptance_rate: Interval | None = None
    per_position_acceptance_rates: tuple[Interval | None, ...] | None = None
    conditional_acceptance_rates: tuple[Interval | None, ...] | None = None


def intervals(clusters: Sequence[AcceptanceCounts], *, seed: int = 0, resamples: int = RESAMPLES) -> Intervals:
    """95 % intervals of AL, AR, p_i and c_i.

    Args:
        clusters: one entry a prompt, the sum over its turns. A prompt without a step says nothing about a rate per step
            and is no cluster; likewise one that never reached a draft position, for that position's conditional rate.
        seed: of the resampling; the same clusters and seed give the same intervals.
        resamples: bootstrap samples drawn, up to `LARGE` prompts.

    Returns:
        Intervals with None where a rate is undefined, where its counts are unknown, and for fewer than three prompts.
    """
    table = counts_table(clusters)
    return intervals_of_table(table, resampled_counts(table, seed=seed, resamples=resamples))


def resampled_counts(table: CountsTable, *, seed: int, resamples: int) -> Matrix | None:
    """The bootstrap's sums of every column; None for fewer than two prompts, and for more than `LARGE`."""
    import numpy as np

    if not 2 <= len(table.counts) <= LARGE:
        return None
    return resampled_sums(table.counts.astype(np.float64), seed=seed, resamples=resamples)


def intervals_of_table(table: CountsTable, sums: Matrix | None) -> Intervals:
    """The intervals of a table with a row a prompt, and of its resampled column sums."""
    import numpy as np

    counts = table.counts.astype(np.float64)

    def of(numerator: int, denominator: int, most: float = 1.0) -> Interval | None:
        ratio = ratio_of(counts[:, numerator], counts[:, denominator], most=most)
        return ratio_interval(ratio, None if sums is None else (sums[:, numerator], sums[:, denominator]))

    # A column of what is unknown is 0, which leaves a ratio to it undefined.
    positions, accepted = table.positions, of(ACCEPTED, STEPS, table.longest_draft)
    return Intervals(
        acceptance_length=None if accepted is None else Interval(1 + accepted.low, 1 + accepted.high),
        acceptance_rate=of(ACCEPTED, DRAFTED),
        per_position_acceptance_rates=tuple(of(FIRST + i, STEPS) for i in range(positions)) if positions else None,
        conditional_acceptance_rates=tuple(of(FIRST + i, FIRST + i - 1 if i else STEPS) for i in range(positions))
        if positions
        else None,
    )
