"""Averages by name, and how sure one may be of them.

Three averages of the acceptance length are in use, and they differ (4.63, 4.19 and 4.56 were published for one run):

    pooled          1 + sum A / sum D: every verification step counts the same, so long answers weigh more
    request mean    mean over requests of each request's own AL: every request counts the same
    category macro  mean over categories of each category's pooled AL: every category counts the same

Intervals are bootstrap intervals that resample prompts: steps of one prompt, and turns of one conversation, resemble
each other, so resampling steps or turns would promise more certainty than there is. The quantiles are those of the
expanded percentile interval (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015): the plain percentile
interval is too narrow by sqrt((n - 1) / n) and ignores the t distribution, which shows below some 100 prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, total

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
FEWEST_CLUSTERS = 5
"""Below this, no resampling makes a 95 % interval: even from the smallest to the largest of n values lies the median
with a probability of 1 - 2 ** (1 - n) only, 0.88 for four and 0.94 for five."""
FEWEST_WIDENED = 3
"""Below this there is no interval at all: two prompts say next to nothing about how prompts differ."""
WIDENED_BELOW = 10
"""Below this, intervals of ratios are widened: of simulated runs of five, resampling alone holds the truth in 90 %."""
_CHUNK = 1_000
"""Resamples drawn at a time: bounds memory at _CHUNK x prompts weights."""


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """A 95 % confidence interval; in files `[low, high]`."""

    low: float
    high: float


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """95 % intervals of all rates; an entry is None where the rate is undefined or its counts are unknown."""

    acceptance_length: Interval | None = None
    acceptance_rate: Interval | None = None
    per_position_acceptance_rates: tuple[Interval | None, ...] | None = None
    conditional_acceptance_rates: tuple[Interval | None, ...] | None = None


class Average(msgspec.Struct, frozen=True, kw_only=True):
    """One average of the acceptance length and of the acceptance rate.

    Attributes:
        over: how many things were averaged: steps, requests or categories.
        acceptance_length_interval: 95 % interval, resampling prompts.
    """

    over: int
    acceptance_length: float | None
    acceptance_rate: float | None
    acceptance_length_interval: Interval | None = None


class Averages(msgspec.Struct, frozen=True, kw_only=True):
    """The three averages, side by side because people compare numbers made with different ones."""

    pooled: Average
    request_mean: Average
    category_macro: Average


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt as a cluster: the counts of all its requests (turns), and the category it belongs to."""

    category: str
    requests: tuple[AcceptanceCounts, ...]


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def averages(prompts: Sequence[Prompt], *, seed: int = 0, resamples: int = RESAMPLES) -> Averages:
    """The three averages of a run with their intervals.

    A request without a verification step has no acceptance length: it enters the sums with nothing and is left out of
    the request mean.
    """
    requests = [counts for prompt in prompts for counts in prompt.requests]
    pooled = total(requests)
    lengths = [x for counts in requests if (x := counts.acceptance_length) is not None]
    rates = [x for counts in requests if (x := counts.acceptance_rate) is not None]
    longest = max((len(c.accepted_per_position or ()) for c in requests), default=0) or math.inf
    by_category: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_category.setdefault(prompt.category, []).append(prompt)
    sums = [total(c for p in members for c in p.requests) for members in by_category.values()]
    category_lengths = [x for counts in sums if (x := counts.acceptance_length) is not None]
    category_rates = [x for counts in sums if (x := counts.acceptance_rate) is not None]
    return Averages(
        pooled=Average(
            over=pooled.num_drafts or 0,
            acceptance_length=pooled.acceptance_length,
            acceptance_rate=pooled.acceptance_rate,
            acceptance_length_interval=_length_interval([_pooled_row(p) for p in prompts], longest, seed, resamples),
        ),
        request_mean=Average(
            over=len(lengths),
            acceptance_length=mean(lengths),
            acceptance_rate=mean(rates),
            acceptance_length_interval=_length_interval([_request_row(p) for p in prompts], longest, seed, resamples),
        ),
        category_macro=Average(
            over=len(category_lengths),
            acceptance_length=mean(category_lengths),
            acceptance_rate=mean(category_rates),
            acceptance_length_interval=_macro_interval(by_category, seed, resamples),
        ),
    )


def intervals(clusters: Sequence[AcceptanceCounts], *, seed: int = 0, resamples: int = RESAMPLES) -> Intervals:
    """95 % bootstrap intervals of AL, AR, p_i and c_i.

    Args:
        clusters: one entry a prompt, the sum over its turns; prompts without a step included.
        seed: of the resampling; the same clusters and seed give the same intervals.
        resamples: bootstrap samples drawn.

    Returns:
        Intervals with None where a rate is undefined, where its counts are unknown, and for fewer than three prompts.
    """
    import numpy as np

    if len(clusters) < FEWEST_WIDENED:
        return Intervals()
    knows_steps = all(c.num_drafts is not None for c in clusters)
    knows_drafted = all(c.num_draft_tokens is not None for c in clusters)
    knows_positions = knows_steps and all(c.accepted_per_position is not None for c in clusters)
    positions = max((len(c.accepted_per_position or ()) for c in clusters), default=0) if knows_positions else 0
    # Columns: D, T, A, A_0 .. A_{K-1}; unknown counts stand as 0 and are never read.
    table = np.zeros((len(clusters), 3 + positions))
    for row, counts in zip(table, clusters, strict=True):
        row[:3] = counts.num_drafts or 0, counts.num_draft_tokens or 0, counts.num_accepted_tokens
        if knows_positions:
            per_position = counts.accepted_per_position or ()
            row[3 : 3 + len(per_position)] = per_position
    sums = _resampled_sums(table, seed, resamples)

    def ratio(numerator: int, denominator: int, most: float = 1.0) -> Interval | None:
        return _ratio_interval(table, sums, numerator, denominator, most=most)

    steps, drafted, accepted, first = 0, 1, 2, 3
    length = ratio(accepted, steps, most=positions or math.inf) if knows_steps else None
    return Intervals(
        acceptance_length=None if length is None else Interval(1 + length.low, 1 + length.high),
        acceptance_rate=ratio(accepted, drafted) if knows_drafted else None,
        per_position_acceptance_rates=tuple(ratio(first + i, steps) for i in range(positions)) if positions else None,
        conditional_acceptance_rates=tuple(ratio(first + i, first + i - 1 if i else steps) for i in range(positions))
        if positions
        else None,
    )


def bootstrap_interval(
    table: Matrix, value: Callable[[Matrix], Matrix], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """95 % bootstrap interval of a figure that follows from column sums, such as a ratio of ratios.

    Args:
        table: shape (clusters, columns), one row a prompt. Columns of two runs side by side make the comparison paired.
        value: from sums of shape (resamples, columns) the figure, shape (resamples,); NaN where it is undefined.

    Returns:
        None for fewer than `FEWEST_CLUSTERS` rows, or if no resample defines the figure.
    """
    import numpy as np

    if len(table) < FEWEST_CLUSTERS:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = value(_resampled_sums(np.asarray(table, dtype=np.float64), seed, resamples))
    values = values[np.isfinite(values)]
    return _quantiles(values, _expanded_quantile(len(table))) if len(values) else None


def student_t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Quantile of Student's t distribution, accurate to about 0.5 % from three degrees of freedom on.

    One and two degrees of freedom have closed forms; above, the expansion of Abramowitz and Stegun 26.7.5.
    """
    if degrees_of_freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees_of_freedom == 2:
        return (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
    x, n = NormalDist().inv_cdf(probability), degrees_of_freedom
    return (
        x
        + (x**3 + x) / (4 * n)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * n**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * n**3)
        + (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / (92160 * n**4)
    )


def _expanded_quantile(clusters: int) -> float:
    """The lower quantile to read off the bootstrap distribution so that n clusters give a 95 % interval."""
    t = student_t_quantile(0.5 + LEVEL / 2, clusters - 1)
    return NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * t)


def _resampled_sums(table: Matrix, seed: int, resamples: int) -> Matrix:
    """Column sums of `resamples` tables made by drawing as many rows as there are, with replacement."""
    import numpy as np

    rows = len(table)
    rng = np.random.default_rng(seed)
    chunks = []
    for start in range(0, resamples, _CHUNK):
        weights = rng.multinomial(rows, np.full(rows, 1 / rows), min(_CHUNK, resamples - start))
        chunks.append(weights.astype(np.float64) @ table)
    return np.concatenate(chunks)


def _ratio_interval(
    table: Matrix, sums: Matrix, numerator: int, denominator: int, *, most: float, least: float = 0.0
) -> Interval | None:
    """Interval of the ratio of two columns' sums, a value from `least` to `most`; None if no resample defines it.

    Below `WIDENED_BELOW` prompts resampling cannot reach beyond the prompts themselves, whose range holds the truth
    too seldom. There the interval is joined with that of the jackknife and Student's t, within what is possible.
    """
    import numpy as np

    defined = sums[:, denominator] > 0
    if not defined.any():
        return None
    prompts = len(table)
    interval = _quantiles(sums[defined, numerator] / sums[defined, denominator], _expanded_quantile(prompts))
    if prompts >= WIDENED_BELOW:
        return interval
    whole = table.sum(axis=0)
    left = whole - table
    if (left[:, denominator] <= 0).any():
        return Interval(least, most) if math.isfinite(most) else None
    without = left[:, numerator] / left[:, denominator]
    error = math.sqrt((prompts - 1) / prompts * float(np.sum((without - without.mean()) ** 2)))
    reach = student_t_quantile(0.5 + LEVEL / 2, prompts - 1) * error
    value = float(whole[numerator] / whole[denominator])
    return Interval(max(least, min(interval.low, value - reach)), min(most, max(interval.high, value + reach)))


def _quantiles(values: Any, quantile: float) -> Interval:
    import numpy as np

    low, high = np.quantile(values, [quantile, 1 - quantile])
    return Interval(float(low), float(high))


def _pooled_row(prompt: Prompt) -> tuple[float, float]:
    """Numerator and denominator that a prompt adds to the pooled AL: D + A and D."""
    known = [c for c in prompt.requests if c.num_drafts is not None]
    steps = sum(c.num_drafts or 0 for c in known)
    return steps + sum(c.num_accepted_tokens for c in known), steps


def _request_row(prompt: Prompt) -> tuple[float, float]:
    """Numerator and denominator that a prompt adds to the request mean: its requests' AL summed, and their number."""
    lengths = [x for counts in prompt.requests if (x := counts.acceptance_length) is not None]
    return sum(lengths), len(lengths)


def _length_interval(
    rows: Sequence[tuple[float, float]], draft_length: float, seed: int, resamples: int
) -> Interval | None:
    import numpy as np

    if len(rows) < FEWEST_WIDENED:
        return None
    table = np.array(rows, dtype=np.float64)
    return _ratio_interval(table, _resampled_sums(table, seed, resamples), 0, 1, most=1 + draft_length, least=1.0)


def _macro_interval(by_category: Mapping[str, Sequence[Prompt]], seed: int, resamples: int) -> Interval | None:
    """Resamples prompts within each category, since the macro average fixes the categories."""
    import numpy as np

    draws = []
    for index, members in enumerate(by_category.values()):
        rows = [_pooled_row(prompt) for prompt in members]
        if not any(steps for _, steps in rows):
            continue
        if len(rows) < 2:
            return None
        sums = _resampled_sums(np.array(rows, dtype=np.float64), seed + index, resamples)
        with np.errstate(invalid="ignore"):
            # Resampling within few prompts is too narrow by sqrt((n - 1) / n); widening about the centre mends it.
            ratios = sums[:, 0] / sums[:, 1]
        centre = sum(r[0] for r in rows) / sum(r[1] for r in rows)
        draws.append(centre + (ratios - centre) * math.sqrt(len(rows) / (len(rows) - 1)))
    if not draws:
        return None
    means = np.mean(draws, axis=0)
    means = means[~np.isnan(means)]
    # The degrees of freedom of the sum over categories: prompts less categories.
    freedom = max(sum(len(m) for m in by_category.values()) - len(draws), 1)
    return _quantiles(means, NormalDist().cdf(-student_t_quantile(0.5 + LEVEL / 2, freedom))) if len(means) else None
