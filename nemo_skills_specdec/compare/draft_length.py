"""AL for every draft length up to the measured one, from one run.

    AL(k) = 1 + sum of p_i over i < k            p_i = A_i / D, i from 0

With chain drafting a shorter draft is the beginning of the longer one, so cutting every draft of this run after k
tokens would have accepted exactly these. As a forecast for a run at k it is an approximation: such a run would verify
at other places of the same text, so its later drafts start elsewhere. So each k is taken from the shortest measured
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
    rates = counts.per_position_acceptance_rates
    if rates is None:
        return []
    curve = [1.0]
    for rate in rates:
        curve.append(curve[-1] + rate)
    return curve


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
    return bootstrap_interval(table, lambda sums: 1 + sums[:, 1 : k + 1].sum(axis=1) / sums[:, 0], seed=seed)
