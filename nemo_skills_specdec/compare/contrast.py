"""The difference of one figure between two groups of runs, and how sure one may be of it.

A group is one configuration, measured once or several times with the same prompts. Its value is the mean over its
runs of g(sum of numerators / sum of denominators), the sums over prompts; g is the logarithm for figures that are
compared as a ratio, and the identity for those compared as a difference. Two kinds of noise stand in the way:

    prompts   another draw of prompts would give another difference. Its variance V1 is the jackknife's, leaving out one
              prompt in all runs of both groups at a time: what a prompt does in both cancels. n - 1 degrees of freedom
    runs      another run on the same prompts would give another value, for the whole run at once: another state of the
              machine. Its variance V2 is s^2 (1 / runs of one group + 1 / runs of the other), s^2 pooled over both
              groups; degrees of freedom: runs less 2. Nothing in a single run tells it

The interval is difference +- sqrt(t1^2 V1 + t2^2 V2), each t the quantile for its own degrees of freedom (Cochran and
Cox's approximation, which is on the safe side; Satterthwaite's lets up to 7 % of equal pairs through with two runs
each). The p-value is the level at which this interval just touches zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.statistics.student_t import two_sided_p, two_sided_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST_PROMPTS = 5
"""Below this there is no interval: too few prompts say too little about how prompts differ."""
_SMALLEST_P = 1e-12
_LEAST_X = 1e-6


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """A difference on the scale g, with its two variances; None where there is no telling.

    Attributes:
        prompt_variance: of the difference, from the choice of prompts; None where the figure is not known by prompt.
        run_variance: of the difference, from run to run.
        run_freedom: its degrees of freedom; infinite where it was given and not measured.
    """

    value: float
    prompt_variance: float | None = None
    prompt_freedom: float = math.inf
    run_variance: float | None = None
    run_freedom: float = math.inf

    @property
    def known(self) -> bool:
        """Whether anything is known of its uncertainty."""
        return self.prompt_variance is not None or self.run_variance is not None

    def reach(self, significance: float) -> float:
        """Half the width of the interval at level 1 - significance."""
        square = 0.0
        for variance, freedom in (
            (self.prompt_variance, self.prompt_freedom),
            (self.run_variance, self.run_freedom),
        ):
            if variance:
                square += two_sided_quantile(significance, freedom) ** 2 * variance
        return math.sqrt(square)

    def interval(self, significance: float) -> Interval | None:
        """The interval at level 1 - significance; None where nothing is known."""
        if not self.known:
            return None
        reach = self.reach(significance)
        return Interval(self.value - reach, self.value + reach)

    @property
    def p_value(self) -> float | None:
        """The smallest significance at which zero lies outside the interval; not below 1e-12."""
        if not self.known:
            return None
        wanted = abs(self.value)
        if wanted == 0:
            return 1.0
        if self.reach(_SMALLEST_P) <= wanted:
            return _SMALLEST_P
        # Solved for the normal quantile x of p, of which the reach is nearly a multiple: the false-position method
        # (Illinois) for ln reach as a function of ln x.
        low, high = math.log(_LEAST_X), math.log(two_sided_quantile(_SMALLEST_P, math.inf))
        below, above = (self._excess(end, wanted) for end in (low, high))
        if below >= 0:
            return 1.0
        kept_low = kept_high = False
        for _ in range(100):
            middle = (low * above - high * below) / (above - below)
            found = self._excess(middle, wanted)
            if abs(found) < 1e-9:
                break
            if found > 0:
                high, above, kept_high = middle, found, False
                below, kept_low = (below / 2 if kept_low else below), True
            else:
                low, below, kept_low = middle, found, False
                above, kept_high = (above / 2 if kept_high else above), True
        return two_sided_p(math.exp(middle), math.inf)

    def _excess(self, log_x: float, wanted: float) -> float:
        return math.log(self.reach(two_sided_p(math.exp(log_x), math.inf)) / wanted)


def by_prompt(
    baseline: Sequence[Array], run: Sequence[Array], *, ratio: bool, run_noise: float | None = None
) -> Contrast | None:
    """The difference between two groups of runs on the same prompts.

    Args:
        baseline: for every run an array of shape (prompts, 2): each prompt's numerator and denominator.
        run: likewise, the same prompts in the same order.
        ratio: compare logarithms, so that the difference is that of a ratio.
        run_noise: standard deviation from run to run, relative to the value, taken where no repeats tell it; None for
            figures that a state of the machine does not shift.

    Returns:
        None where a denominator is zero, or a numerator is and `ratio` is asked for.
    """
    import numpy as np

    groups = [[np.asarray(one, dtype=np.float64) for one in group] for group in (baseline, run)]
    sums = [[one.sum(axis=0) for one in group] for group in groups]
    if any(total[1] <= 0 or (ratio and total[0] <= 0) for group in sums for total in group):
        return None
    scale = np.log if ratio else _itself
    values = [[float(scale(total[0] / total[1])) for total in group] for group in sums]
    found = by_run(*values, run_noise=run_noise, ratio=ratio)
    variance = prompt_variance(groups, scale)
    if variance is None:
        # Noise from run to run alone would promise a certainty that so few prompts do not give.
        return Contrast(value=found.value)
    return msgspec.structs.replace(found, prompt_variance=variance, prompt_freedom=len(groups[0][0]) - 1)


def by_run(
    baseline: Sequence[float], run: Sequence[float], *, run_noise: float | None = None, ratio: bool = False
) -> Contrast:
    """The difference between two groups of values, one a run, on the scale g, with the noise from run to run alone.

    Args:
        run_noise: as in `by_prompt`.
        ratio: whether the values are logarithms; decides what `run_noise` is relative to.
    """
    means = [math.fsum(group) / len(group) for group in (baseline, run)]
    freedom = len(baseline) + len(run) - 2
    weight = 1 / len(baseline) + 1 / len(run)
    variance: float | None = None
    if freedom > 0:
        squares = (
            math.fsum((value - mean) ** 2 for value in group)
            for group, mean in zip((baseline, run), means, strict=True)
        )
        variance = math.fsum(squares) / freedom * weight
    elif run_noise is not None:
        variance = weight * (run_noise if ratio else run_noise * (abs(means[0]) + abs(means[1])) / 2) ** 2
    return Contrast(value=means[1] - means[0], run_variance=variance, run_freedom=freedom if freedom > 0 else math.inf)


def prompt_variance(groups: Sequence[Sequence[Array]], scale: Callable[[Array], Array]) -> float | None:
    """The jackknife's variance of the difference of two groups, or of the mean of one.

    Args:
        groups: for each a list of runs, arrays of shape (prompts, 2).
        scale: g.

    Returns:
        None for too few prompts, or where one prompt is everything.
    """
    import numpy as np

    prompts = len(groups[0][0])
    if prompts < FEWEST_PROMPTS:
        return None
    without = np.zeros(prompts)
    with np.errstate(divide="ignore", invalid="ignore"):
        for sign, group in zip((-1, 1), groups, strict=False):
            for one in group:
                left = one.sum(axis=0) - one
                without += sign * scale(left[:, 0] / left[:, 1]) / len(group)
    if not np.isfinite(without).all():
        return None
    return float((prompts - 1) / prompts * np.sum((without - without.mean()) ** 2))


def _itself(value: Array) -> Array:
    return value
