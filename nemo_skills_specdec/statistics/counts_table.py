"""Acceptance counts of many prompts as one table of integers, so that sums over a million of them are quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

STEPS, DRAFTED, ACCEPTED, FIRST = 0, 1, 2, 3
"""Columns: D, T, A, and A_0 to A_{K-1} from `FIRST` on."""


class CountsTable(msgspec.Struct, frozen=True):
    """One row a request or prompt.

    Attributes:
        counts: shape (rows, 3 + K). Where something is unknown in a row, the whole column is 0.
        knows_steps: whether D is known everywhere.
        knows_drafted: whether T is.
    """

    counts: Integers
    knows_steps: bool
    knows_drafted: bool

    @property
    def positions(self) -> int:
        """K, the longest list of positions; 0 where positions are unknown."""
        return int(self.counts.shape[1]) - FIRST

    @property
    def longest_draft(self) -> float:
        """The most draft tokens that a step is known to accept or to propose on average; infinite where unknown."""
        longest = float(self.positions)
        if self.knows_steps and self.knows_drafted:
            steps, drafted = self.counts[:, STEPS], self.counts[:, DRAFTED]
            used = steps > 0
            if used.any():
                longest = max(longest, float((drafted[used] / steps[used]).max()))
        return longest or float("inf")

    def grouped(self, sizes: Sequence[int]) -> CountsTable:
        """The sums of so many rows each, one after the other; no size is 0."""
        import numpy as np

        starts = np.cumsum([0, *sizes[:-1]])
        return msgspec.structs.replace(self, counts=np.add.reduceat(self.counts, starts))

    def part(self, rows: Integers) -> CountsTable:
        """These rows only."""
        return msgspec.structs.replace(self, counts=self.counts[rows])


def counts_table(counts: Sequence[AcceptanceCounts]) -> CountsTable:
    """The table of these counts, in their order."""
    import numpy as np

    knows_steps = all(c.num_drafts is not None for c in counts)
    knows_drafted = all(c.num_draft_tokens is not None for c in counts)
    knows_positions = knows_steps and all(c.accepted_per_position is not None for c in counts)
    longest = max((len(c.accepted_per_position or ()) for c in counts), default=0) if knows_positions else 0
    table = np.zeros((len(counts), FIRST + longest), dtype=np.int64)
    if knows_steps:
        table[:, STEPS] = np.fromiter((c.num_drafts for c in counts), np.int64)
    if knows_drafted:
        table[:, DRAFTED] = np.fromiter((c.num_draft_tokens for c in counts), np.int64)
    table[:, ACCEPTED] = np.fromiter((c.num_accepted_tokens for c in counts), np.int64)
    if longest:
        lengths = np.fromiter((len(c.accepted_per_position or ()) for c in counts), np.int64)
        flat = (steps for c in counts for steps in c.accepted_per_position or ())
        present = np.arange(longest) < lengths[:, None]
        table[:, FIRST:][present] = np.fromiter(flat, np.int64)
    return CountsTable(table, knows_steps, knows_drafted)
