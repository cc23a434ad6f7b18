"""How long a decode step takes as a function of the draft length: t(k) = a + b k, by least squares.

a is the time to verify (and everything that does not depend on k), b the time for one more draft token: to draft it and
to verify it. The step time of a run is TPOT times tokens per step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class StepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The step time that one configuration had, in seconds, over `runs` repeats."""

    draft_length: int
    seconds: float
    runs: int = 1


class StepTime(msgspec.Struct, frozen=True, kw_only=True):
    """The fitted line, in seconds.

    Attributes:
        fixed: a.
        per_draft_token: b.
        worst_residual: largest |fitted / measured - 1|; None for two points, through which every line goes.
    """

    fixed: float
    per_draft_token: float
    points: list[StepPoint]
    worst_residual: float | None = None

    def seconds(self, draft_length: float) -> float:
        """t(k)."""
        return self.fixed + self.per_draft_token * draft_length


def fit_step_time(points: Sequence[StepPoint]) -> StepTime | None:
    """The line through step times, each weighted by its number of runs; None for fewer than two draft lengths."""
    lengths = {point.draft_length for point in points}
    if len(lengths) < 2:
        return None
    weight = math.fsum(point.runs for point in points)
    mean_k = math.fsum(point.runs * point.draft_length for point in points) / weight
    mean_t = math.fsum(point.runs * point.seconds for point in points) / weight
    square = math.fsum(point.runs * (point.draft_length - mean_k) ** 2 for point in points)
    product = math.fsum(point.runs * (point.draft_length - mean_k) * (point.seconds - mean_t) for point in points)
    slope = product / square
    fitted = StepTime(fixed=mean_t - slope * mean_k, per_draft_token=slope, points=list(points))
    if len(lengths) == 2:
        return fitted
    worst = max(abs(fitted.seconds(point.draft_length) / point.seconds - 1) for point in points)
    return msgspec.structs.replace(fitted, worst_residual=worst)
