"""The draft length with the smallest predicted time per token, and the lengths that are as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from nemo_skills_specdec.compare.step_time import StepTime

INDIFFERENT = 0.02
"""Lengths whose TPOT is at most this fraction above the best are as good."""


class LengthPrediction(msgspec.Struct, frozen=True, kw_only=True):
    """What one draft length is predicted to give: TPOT(k) = t(k) / tokens per step, speedup = baseline TPOT / TPOT(k).

    Attributes:
        speedup: per user, over no speculation; None without a baseline.
    """

    draft_length: int
    tpot_seconds: float
    speedup: float | None = None


class BestLength(msgspec.Struct, frozen=True, kw_only=True):
    """The best draft length, never without the range that is as good.

    Attributes:
        low: the smallest length within `INDIFFERENT` of the best.
        high: the largest.
        at_edge: whether the best is the longest that was measured, so that a longer one may be better.
    """

    draft_length: int
    low: int
    high: int
    at_edge: bool


def predict(
    lengths: Mapping[int, float], step: StepTime, *, kept: float = 1.0, baseline_tpot: float | None = None
) -> list[LengthPrediction]:
    """Predictions for every draft length whose AL is known.

    Args:
        lengths: AL by draft length, from 1.
        kept: tokens per step over AL: below 1 where steps without drafts, or tokens cut off at the end, count.
        baseline_tpot: TPOT without speculation, in seconds.
    """
    found = []
    for k, length in sorted(lengths.items()):
        tpot = step.seconds(k) / (kept * length)
        found.append(
            LengthPrediction(draft_length=k, tpot_seconds=tpot, speedup=baseline_tpot / tpot if baseline_tpot else None)
        )
    return found


def best_length(predictions: Sequence[LengthPrediction]) -> BestLength | None:
    """The shortest time per token, with all lengths that are as good; None of nothing."""
    if not predictions:
        return None
    best = min(predictions, key=lambda one: one.tpot_seconds)
    good = [one.draft_length for one in predictions if one.tpot_seconds <= best.tpot_seconds * (1 + INDIFFERENT)]
    longest = max(one.draft_length for one in predictions)
    return BestLength(
        draft_length=best.draft_length, low=min(good), high=max(good), at_edge=best.draft_length == longest
    )
