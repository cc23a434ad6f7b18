"""The model of Leviathan, Kalman and Matias (arXiv:2211.17192), for comparison with papers.

alpha is the probability that a draft token is accepted, the same at every position and independent of the others; g the
draft length; c the time of one draft step over that of one target step.

    tokens per step  (1 - alpha^(g+1)) / (1 - alpha)
    speedup          (1 - alpha^(g+1)) / ((1 - alpha) (g c + 1))            Theorem 3.8

Measured acceptance falls or rises with the position, so advice goes by AL(k) as counted; this is what papers quote.
"""

from __future__ import annotations

import msgspec


class Leviathan(msgspec.Struct, frozen=True, kw_only=True):
    """The model with the values of a run.

    Attributes:
        alpha: that gives the measured AL at the measured draft length.
        cost: c, time for one more draft token over the baseline's time per token; None without baseline and fit.
        best_draft_length: the g with the largest speedup; 0 if none is above 1; None without a cost.
        speedup: at that g.
    """

    alpha: float
    cost: float | None = None
    best_draft_length: int | None = None
    speedup: float | None = None


def expected_tokens(alpha: float, draft_length: int) -> float:
    """Tokens per step."""
    return float(draft_length + 1) if alpha >= 1 else (1 - alpha ** (draft_length + 1)) / (1 - alpha)


def expected_speedup(alpha: float, draft_length: int, cost: float) -> float:
    """Theorem 3.8; 1 for no draft at all."""
    return expected_tokens(alpha, draft_length) / (draft_length * cost + 1)


def alpha_of(acceptance_length: float, draft_length: int) -> float:
    """The alpha whose tokens per step are this AL, for 1 <= AL <= draft length + 1."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_tokens(middle, draft_length) < acceptance_length else (low, middle)
    return (low + high) / 2


def best_draft_length(alpha: float, cost: float, longest: int = 64) -> int:
    """The g with the largest speedup, 0 if speculation does not pay."""
    return max(range(longest + 1), key=lambda length: expected_speedup(alpha, length, cost))


def leviathan(acceptance_length: float, draft_length: int, cost: float | None) -> Leviathan:
    """The model fitted to one run."""
    alpha = alpha_of(acceptance_length, draft_length)
    if cost is None or cost <= 0:
        return Leviathan(alpha=alpha)
    best = best_draft_length(alpha, cost)
    return Leviathan(alpha=alpha, cost=cost, best_draft_length=best, speedup=expected_speedup(alpha, best, cost))
