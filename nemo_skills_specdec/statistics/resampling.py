"""The bootstrap: figures of runs made up by drawing as many prompts as there are, with replacement.

Steps of one prompt, and turns of one conversation, resemble each other; resampling steps or turns would promise more
certainty than there is. So prompts are drawn, with all their turns. The quantiles are those of the expanded
percentile interval (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015): the plain one is too narrow by
sqrt((n - 1) / n) and ignores the t distribution, which shows below some 100 prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING

from nemo_skills_specdec.statistics.interval import LEVEL, Interval
from nemo_skills_specdec.statistics.student_t import two_sided_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

RESAMPLES = 10_000
LARGE = 1_000
"""Prompts above which nothing is resampled: the normal approximation then covers as often, at no cost."""
FEWEST_RESAMPLED = 5
"""Below this, no resampling makes a 95 % interval: even from the smallest to the largest of n values lies the median
with a probability of 1 - 2 ** (1 - n) only, 0.88 for four and 0.94 for five."""
_BLOCK = 1_000_000
"""Draws made at a time, whatever the number of prompts: what bounds the memory."""


def resampled_sums(table: Matrix, *, seed: int, resamples: int) -> Matrix:
    """Column sums of `resamples` tables made by drawing as many rows as there are, with replacement.

    Args:
        table: shape (prompts, columns); what is to be drawn together stands in one table.

    Returns:
        Shape (resamples, columns).
    """
    import numpy as np

    rows = len(table)
    rng = np.random.default_rng(seed)
    sums = np.empty((resamples, table.shape[1]))
    step = max(_BLOCK // rows, 1)
    for start in range(0, resamples, step):
        here = min(step, resamples - start)
        drawn = rng.integers(0, rows, size=(here, rows), dtype=np.int32)
        # How often each row was drawn, for all resamples of the block in one count.
        drawn += (np.arange(here, dtype=np.int32) * rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=here * rows).reshape(here, rows)
        sums[start : start + here] = times.astype(np.float64) @ table
    return sums


def expanded_quantile(clusters: int, degrees_of_freedom: float) -> float:
    """The lower quantile to read off the bootstrap distribution so that n clusters give a 95 % interval."""
    t = two_sided_quantile(1 - LEVEL, degrees_of_freedom)
    return NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * t)


def quantile_interval(values: Matrix, quantile: float) -> Interval:
    """From this quantile to the one as far from the other end."""
    import numpy as np

    low, high = np.quantile(values, [quantile, 1 - quantile])
    return Interval(float(low), float(high))


def bootstrap_interval(
    table: Matrix, value: Callable[[Matrix], Matrix], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """95 % interval of a figure that follows from column sums, such as a ratio of ratios.

    Args:
        table: shape (clusters, columns), one row a prompt. Columns of two runs side by side make the comparison paired.
        value: from sums of shape (resamples, columns) the figure, shape (resamples,); NaN where it is undefined.

    Returns:
        None for fewer than `FEWEST_RESAMPLED` rows, or if no resample defines the figure.
    """
    import numpy as np

    table = np.asarray(table, dtype=np.float64)
    if len(table) < FEWEST_RESAMPLED:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        if len(table) > LARGE:
            return _linear_interval(table, value)
        values = value(resampled_sums(table, seed=seed, resamples=resamples))
    values = values[np.isfinite(values)]
    return quantile_interval(values, expanded_quantile(len(table), len(table) - 1)) if len(values) else None


def _linear_interval(table: Matrix, value: Callable[[Matrix], Matrix]) -> Interval | None:
    """By the delta method: the figure's slope in each sum, by central differences, times the spread of the rows."""
    import numpy as np

    rows, columns = table.shape
    sums = table.sum(axis=0)
    # As far as the sums themselves may be off, so that the slope is taken where it is needed.
    reach = np.sqrt(rows) * table.std(axis=0)
    moved = np.concatenate([np.diag(reach), -np.diag(reach), np.zeros((1, columns))])
    found = value(sums + moved)
    if not np.isfinite(found).all():
        return None
    slope = np.divide(found[:columns] - found[columns:-1], 2 * reach, out=np.zeros(columns), where=reach > 0)
    spread = (table - table.mean(axis=0)) @ slope
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * math.sqrt(rows / (rows - 1) * float(spread @ spread))
    return Interval(float(found[-1]) - half, float(found[-1]) + half)
