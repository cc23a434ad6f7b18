"""The interval of a ratio of sums over prompts, such as accepted tokens per step.

Two intervals are made, and the result reaches as far as the wider of them on either side:

    bootstrap   the expanded percentile interval over resampled prompts. It follows any shape, but knows nothing beyond
                what was seen: with few accepted (or few rejected) tokens it is far too short.
    score       Wilson's interval for the effective number of trials n* = f (1 - f) / v, where f is the ratio as a share
                of the most it can be, and v its variance over prompts, linearised. It is made for small counts, as
                surveys use it for clustered samples (Dean and Pagano, "Evaluating Confidence Interval Methods for
                Binomial Proportions in Clustered Surveys", 2015).

Both read Student's t with (sum d)^2 / (sum d^2) - 1 degrees of freedom, d being the prompts' denominators: a few long
answers among short ones count as few prompts (Kish's effective sample size).

Where all prompts agree exactly there is no variance to go by. Then the interval is what holds whatever the others do:
had a share q of all prompts another ratio, none of n would show it with probability (1 - q)^n, so with 95 % confidence
q is below 1 - 0.05^(1/n), about 3 / n, and those may lie anywhere between the least and the most that is possible.

A first prompt that differs does not take all of that away at once: where k of n prompts differ from most of them, the
interval reaches at least 1 / (k + 1)^2 of the way that it would with none. Nothing exact can be said there without an
assumption about prompts that were not seen; this one keeps the interval from jumping, and its coverage is simulated.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.statistics.interval import FEWEST_CLUSTERS, LEVEL, Interval
from nemo_skills_specdec.statistics.resampling import expanded_quantile, quantile_interval
from nemo_skills_specdec.statistics.student_t import two_sided_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio of sums, and what its interval rests on.

    Attributes:
        value: sum of numerators / sum of denominators.
        variance: of `value` over prompts, linearised; 0 where all prompts agree.
        clusters: prompts with a denominator above zero; the others say nothing.
        degrees_of_freedom: by the effective number of these prompts, at least 1.
        least: the smallest value possible.
        most: the largest; may be infinite.
        differing: clusters whose own ratio is not the commonest one, to be exact their median.
    """

    value: float
    variance: float
    clusters: int
    degrees_of_freedom: float
    least: float
    most: float
    differing: int = 0


def ratio_of(numerators: Vector, denominators: Vector, *, least: float = 0.0, most: float = 1.0) -> Ratio | None:
    """What two columns with a row a prompt say; None where no denominator is above zero."""
    import numpy as np

    used = denominators > 0
    x, d = numerators[used], denominators[used]
    own = x / d
    clusters = len(d)
    if not clusters:
        return None
    whole = float(d.sum())
    value = float(x.sum()) / whole
    rest = x - value * d
    variance = clusters / max(clusters - 1, 1) * float(rest @ rest) / whole**2
    # Rounding of sums that are not integers leaves a trace where there is no variance.
    trace = 1e-9 * max(abs(value), 1.0)
    return Ratio(
        value=value,
        variance=variance if variance > trace**2 else 0.0,
        clusters=clusters,
        degrees_of_freedom=max(whole**2 / float(d @ d) - 1, 1.0),
        least=least,
        most=most,
        differing=int(np.count_nonzero(own != np.median(own))),
    )


def ratio_interval(ratio: Ratio | None, resampled: tuple[Vector, Vector] | None) -> Interval | None:
    """The 95 % interval of a ratio.

    Args:
        resampled: the resamples' sums of numerators and of denominators; None for too many prompts to resample.

    Returns:
        None for fewer than `FEWEST_CLUSTERS` prompts, and where nothing bounds the ratio though all prompts agree.
    """
    if ratio is None or ratio.clusters < FEWEST_CLUSTERS:
        return None
    if not ratio.variance:
        return unseen_interval(ratio)
    found = score_interval(ratio)
    if resampled is not None:
        numerators, denominators = resampled
        defined = denominators > 0
        quantile = expanded_quantile(ratio.clusters, ratio.degrees_of_freedom)
        found = joined(found, quantile_interval(numerators[defined] / denominators[defined], quantile))
    unseen = unseen_interval(ratio)
    return found if unseen is None else joined(found, unseen)


def score_interval(ratio: Ratio) -> Interval:
    """Wilson's interval for the effective number of trials; the normal one where nothing bounds the ratio above."""
    t = two_sided_quantile(1 - LEVEL, ratio.degrees_of_freedom)
    if not math.isfinite(ratio.most):
        half = t * math.sqrt(ratio.variance)
        return Interval(max(ratio.least, ratio.value - half), ratio.value + half)
    span = ratio.most - ratio.least
    share = (ratio.value - ratio.least) / span
    trials = share * (1 - share) * span**2 / ratio.variance
    centre = (share * trials + t * t / 2) / (trials + t * t)
    half = t * math.sqrt(share * (1 - share) * trials + t * t / 4) / (trials + t * t)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(ratio.least + span * low, ratio.least + span * high)


def joined(one: Interval, other: Interval) -> Interval:
    """From the lower of both lower ends to the higher of both upper ends."""
    return Interval(min(one.low, other.low), max(one.high, other.high))


def unseen_interval(ratio: Ratio) -> Interval | None:
    """What prompts that were not seen leave open; None where nothing bounds them."""
    others = (1 - (1 - LEVEL) ** (1 / ratio.clusters)) / (1 + (ratio.differing if ratio.variance else 0)) ** 2
    if not math.isfinite(ratio.most):
        return None
    return Interval(
        ratio.value - others * (ratio.value - ratio.least), ratio.value + others * (ratio.most - ratio.value)
    )
