"""Prompts that all runs answered, side by side, and their figures as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.compare.figures import Figure
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.records import RequestRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_UNKNOWN = 0.1
"""Share of answers without a figure above which the others no longer stand for all."""


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """The prompts that all runs answered completely.

    Attributes:
        rows: for every run its rows, the same prompts in the same order.
        left_out: prompts of any run that another one did not answer completely.
    """

    rows: list[list[OutputRow]]
    left_out: int

    @property
    def prompts(self) -> int:
        """How many there are."""
        return len(self.rows[0])

    def of_category(self, category: str) -> Pairs:
        """Those of one category."""
        return Pairs(rows=[[row for row in run if row.category == category] for run in self.rows], left_out=0)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """A figure's sums.

    Attributes:
        runs: for every run an array of shape (prompts, 2): numerators and denominators by prompt.
        known: answers that count.
        unknown: answers that should have the figure, but do not in one of the runs; they count in none.
    """

    runs: list[NDArray[np.float64]]
    known: int
    unknown: int

    @property
    def usable(self) -> bool:
        """Whether enough answers have the figure to stand for all."""
        return self.known > 0 and self.unknown <= MOST_UNKNOWN * (self.known + self.unknown)


def pair(runs: Sequence[Sequence[OutputRow]]) -> Pairs:
    """Finds the prompts that all runs answered completely, in the order of the first run."""
    complete = [{_key(row): row for row in rows if _answered(row)} for rows in runs]
    everything = {_key(row) for rows in runs for row in rows}
    shared = [key for key in complete[0] if all(key in other for other in complete[1:])]
    return Pairs(rows=[[rows[key] for key in shared] for rows in complete], left_out=len(everything) - len(shared))


def tally(pairs: Pairs, figure: Figure) -> Tally:
    """Sums a figure over the turns of every prompt; a turn that lacks it in one run counts in none."""
    import numpy as np

    arrays = [np.zeros((pairs.prompts, 2)) for _ in pairs.rows]
    known = unknown = 0
    for number in range(pairs.prompts):
        for records in _turns([rows[number] for rows in pairs.rows]):
            if not all(figure.applies(record) for record in records):
                continue
            terms = [figure.terms(record) for record in records]
            if any(pair is None for pair in terms):
                unknown += 1
                continue
            known += 1
            for array, pair in zip(arrays, terms, strict=True):
                array[number] += pair
    return Tally(runs=arrays, known=known, unknown=unknown)


def _turns(rows: Sequence[OutputRow]) -> list[list[RequestRecord]]:
    """The requests of one prompt, those of one turn together; a turn that one run lacks is left out."""
    by_turn = [{record.turn: record for record in row.requests} for row in rows]
    return [[run[turn] for run in by_turn] for turn in by_turn[0] if all(turn in run for run in by_turn)]


def _key(row: OutputRow) -> tuple[str, str]:
    return row.category, row.question_id


def _answered(row: OutputRow) -> bool:
    return bool(row.requests) and all(r.error is None and r.completion_tokens for r in row.requests)
