"""AL for every draft length up to the measured one, from one run with chain drafting.

With G_i the steps of a run at K that accepted at least i draft tokens (G_0 = D), two assumptions give AL(k) for k < K:

    places alike    1 + sum of G_i / D over 1 <= i <= k
                    exact for cutting every draft of this very run after k tokens. But a run at k would verify in other
                    places: a long draft passes over an easy stretch in one step, so more of its steps begin at hard
                    places, and this is too low
    text alone      (D + A) / D(k)      D(k) = sum of G_j(k+1) over j >= 0, less G_K (1 - x)
                    exact where the text before it alone decides whether a token is drafted rightly, as for a draft
                    model. A stretch of R right tokens and a wrong one then takes floor(R / (k + 1)) + 1 steps at k,
                    and a step that accepted a < K at K shows a whole stretch, or the end of one. A step that accepted
                    all K is followed by the verifier's own token, of which nothing is known. With r tokens left over
                    from those K + 1 after full steps, that token is taken to be drafted rightly with the chance
                    c = G_K / G_{K-1}, as are those after it, and what is left over adds
                    x = 1 - c + c (c^-r - 1) c^(k+1) / (1 - c^(k+1)) of a step (1 for r = 0)

Drafters that go on from their own features (EAGLE, MTP) draft a later token worse than they would after verification;
both forecasts then err on the low side, and AL(k) is the larger of the two. Each k is taken from the shortest measured
draft that is at least k, and where two lengths were measured, the forecast of one from the other is shown beside it.

It does not hold for trees, whose positions are levels and not places in one chain, nor where the draft's length varies
from step to step (n-gram, adaptive lengths): there p_i is low because nothing was drafted, not because it was rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.statistics import Interval, bootstrap_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SHORT = 0.01
"""Share of draft positions that may be missing in a chain of fixed length: drafts cut short at the end of answers."""


class LengthPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One draft length k.

    Attributes:
        measured_at: the draft length of the run it is from: the shortest one that is at least k.
        interval: of AL(k), resampling prompts.
        marginal: AL(k) - AL(k - 1) in that run: tokens per step that the k-th draft token adds.
        break_even_cost: marginal / AL(k - 1). The k-th draft token pays if it makes a step longer by less than this
            fraction.
    """

    draft_length: int
    measured_at: int
    acceptance_length: float
    interval: Interval | None
    marginal: float
    break_even_cost: float


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """AL at a measured draft length as the run with the next longer draft would have it, beside what was measured."""

    draft_length: int
    forecast_from: int
    forecast: float
    measured: float


def acceptance_curve(counts: AcceptanceCounts) -> list[float]:
    """AL(0), which is 1, AL(1) and so on up to the measured draft length; empty where positions are unknown."""
    if counts.per_position_acceptance_rates is None:
        return []
    return [1.0, *map(float, lengths_of(positions_table([counts]))[0])]


def lengths_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """AL(1) to AL(K) of many sums at once.

    Args:
        sums: shape (rows, 1 + K), each D, then A_0 to A_{K-1}.

    Returns:
        Shape (rows, K); NaN where a row has no steps.
    """
    import numpy as np

    longest = sums.shape[1] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = 1 + np.cumsum(sums[:, 1:], axis=1) / sums[:, :1]
        text = sums.sum(axis=1, keepdims=True) / np.stack([_steps_at(sums, k) for k in range(1, longest + 1)], axis=1)
    larger: NDArray[np.float64] = np.maximum(alike, text)
    return larger


def _steps_at(sums: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """D(k), the steps that a run at k would take for the same text."""
    import numpy as np

    longest = sums.shape[1] - 1
    steps: NDArray[np.float64] = sums[:, :: k + 1].sum(axis=1)
    rest = (longest + 1) % (k + 1)
    if not rest:
        return steps
    chance = np.nan_to_num(sums[:, -1] / sums[:, -2])
    covered = chance ** (k + 1)
    more = np.where(chance < 1, (chance**-rest - 1) * covered / (1 - covered), rest / (k + 1))
    steps -= sums[:, -1] * chance * (1 - np.nan_to_num(more))
    return steps


def length_points(measured: Mapping[int, Sequence[AcceptanceCounts]], *, seed: int = 0) -> list[LengthPoint]:
    """AL(k) with intervals for k from 1 to the longest measured draft length.

    Args:
        measured: by draft length, the counts of each prompt, its turns summed.
    """
    found = []
    shorter = 0
    for length in sorted(measured):
        curve = acceptance_curve(total(measured[length]))
        table = positions_table(measured[length])
        for k in range(shorter + 1, min(length, len(curve) - 1) + 1):
            found.append(
                LengthPoint(
                    draft_length=k,
                    measured_at=length,
                    acceptance_length=curve[k],
                    interval=_interval(table, k, seed),
                    marginal=curve[k] - curve[k - 1],
                    break_even_cost=(curve[k] - curve[k - 1]) / curve[k - 1],
                )
            )
        shorter = length
    return found


def forecasts(measured: Mapping[int, Sequence[AcceptanceCounts]]) -> list[Forecast]:
    """How well each measured draft length is forecast by the next longer one."""
    curves = {length: acceptance_curve(total(measured[length])) for length in sorted(measured)}
    return [
        Forecast(
            draft_length=shorter,
            forecast_from=longer,
            forecast=curves[longer][shorter],
            measured=curves[shorter][shorter],
        )
        for shorter, longer in pairwise(curves)
        if len(curves[shorter]) > shorter and len(curves[longer]) > shorter
    ]


def positions_table(prompts: Sequence[AcceptanceCounts]) -> NDArray[np.float64]:
    """Of shape (prompts, 1 + K): D, then A_0 to A_{K-1}."""
    import numpy as np

    width = max(len(counts.accepted_per_position or ()) for counts in prompts)
    table = np.zeros((len(prompts), 1 + width))
    for row, counts in zip(table, prompts, strict=True):
        positions = counts.accepted_per_position or ()
        row[0] = counts.num_drafts or 0
        row[1 : 1 + len(positions)] = positions
    return table


def not_a_chain(server: ServerInfo, counts: AcceptanceCounts) -> str | None:
    """Why AL(k) says nothing about shorter drafts; None if drafts are chains of one length."""
    if server.topk is not None and server.topk > 1:
        return f"drafts are trees ({server.topk} branches a level)"
    length = len(counts.accepted_per_position or ())
    if server.tree_nodes is not None and server.draft_length and server.tree_nodes > server.draft_length + 1:
        return f"drafts are trees ({server.tree_nodes} nodes for {server.draft_length} levels)"
    if "ngram" in (server.method or "").lower():
        return "n-gram drafts vary in length from step to step"
    if counts.num_drafts and counts.num_draft_tokens is not None and length:
        drafted = counts.num_draft_tokens / (counts.num_drafts * length)
        if drafted < 1 - MOST_SHORT:
            return f"drafts vary in length: on average {drafted * length:.2f} of {length} tokens were drafted"
    return None


def _interval(table: NDArray[np.float64], k: int, seed: int) -> Interval | None:
    return bootstrap_interval(table, lambda sums: lengths_of(sums)[:, k - 1], seed=seed)
