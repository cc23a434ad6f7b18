"""The three averages of the acceptance length, and all that is uncertain about a run.

Three averages are in use, and they differ (4.63, 4.19 and 4.56 were published for one run):

    pooled          1 + sum A / sum D: every verification step counts the same, so long answers weigh more
    request mean    mean over requests of each request's own AL: every request counts the same
    category macro  mean over categories of each category's pooled AL: every category counts the same

Everything is drawn once: the rates, the pooled average and the request mean read the same resamples, and the macro
average reads those of the categories, each category's in an order of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.statistics.counts_table import ACCEPTED, DRAFTED, STEPS, CountsTable, counts_table
from nemo_skills_specdec.statistics.interval import FEWEST_CLUSTERS, LEVEL, Interval
from nemo_skills_specdec.statistics.rates import Intervals, intervals_of_table, resampled_counts
from nemo_skills_specdec.statistics.ratio import (
    Ratio,
    joined,
    ratio_interval,
    ratio_of,
    score_interval,
    unseen_interval,
)
from nemo_skills_specdec.statistics.resampling import LARGE, RESAMPLES, quantile_interval, resampled_sums
from nemo_skills_specdec.statistics.student_t import two_sided_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Vector = NDArray[np.float64]


class Average(msgspec.Struct, frozen=True, kw_only=True):
    """One average of the acceptance length and of the acceptance rate.

    Attributes:
        over: how many things were averaged: steps, requests or categories.
        of: how many requests or categories the run has; None for steps, and where it is not known.
        acceptance_length_interval: 95 % interval over prompts.
    """

    over: int
    acceptance_length: float | None
    acceptance_rate: float | None
    acceptance_length_interval: Interval | None = None
    of: int | None = None


class Averages(msgspec.Struct, frozen=True, kw_only=True):
    """The three averages, side by side because people compare numbers made with different ones."""

    pooled: Average
    request_mean: Average
    category_macro: Average


class Prompt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One prompt as a cluster: the counts of all its requests (turns), and the category it belongs to."""

    category: str
    requests: tuple[AcceptanceCounts, ...]


class Uncertainty(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's prompts say, with how sure one may be of it.

    Attributes:
        overall: intervals of the rates over all prompts.
        averages: the three averages with theirs.
        categories: intervals of the rates of each category.
    """

    overall: Intervals
    averages: Averages
    categories: dict[str, Intervals]


class _Category(msgspec.Struct, frozen=True):
    """The prompts of a category, and the sums of the resamples of them alone; None where they are too few or many."""

    table: CountsTable
    sums: Matrix | None


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def averages(prompts: Sequence[Prompt], *, seed: int = 0, resamples: int = RESAMPLES) -> Averages:
    """The three averages of a run with their intervals.

    A request without a verification step has no acceptance length: it enters the sums with nothing and is left out of
    the request mean.
    """
    return uncertainty(prompts, seed=seed, resamples=resamples).averages


def uncertainty(prompts: Sequence[Prompt], *, seed: int = 0, resamples: int = RESAMPLES) -> Uncertainty:
    """All intervals of a run, from one draw over all prompts and one over those of each category.

    Args:
        prompts: one entry a prompt; those without a request say nothing and are left out.
        seed: of the resampling; the same prompts and seed give the same intervals.
        resamples: bootstrap samples drawn, up to `LARGE` prompts.
    """
    import numpy as np

    prompts = [prompt for prompt in prompts if prompt.requests]
    requests = counts_table([counts for prompt in prompts for counts in prompt.requests])
    sizes = [len(prompt.requests) for prompt in prompts]
    table = requests.grouped(sizes) if prompts else requests
    lengths = _lengths(requests, sizes)
    drawn = np.concatenate([table.counts.astype(np.float64), lengths], axis=1)
    sums: Matrix | None = None
    if FEWEST_CLUSTERS <= len(prompts) <= LARGE:
        sums = resampled_sums(drawn, seed=seed, resamples=resamples)
    overall = intervals_of_table(table, sums)
    categories = _by_category(prompts, table, seed=seed, resamples=resamples)
    return Uncertainty(
        overall=overall,
        averages=Averages(
            pooled=_pooled(table, overall),
            request_mean=_request_mean(requests, table, lengths, sums),
            category_macro=_category_macro(categories, seed=seed),
        ),
        categories={name: intervals_of_table(part.table, part.sums) for name, part in categories.items()},
    )


def _by_category(
    prompts: Sequence[Prompt], table: CountsTable, *, seed: int, resamples: int
) -> Mapping[str, _Category]:
    import numpy as np

    rows: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt.category, []).append(row)
    found = {}
    for name, members in rows.items():
        part = table.part(np.array(members))
        found[name] = _Category(part, resampled_counts(part, seed=seed, resamples=resamples))
    return found


def _lengths(requests: CountsTable, sizes: Sequence[int]) -> Matrix:
    """What each prompt adds to the request mean: its requests' AL summed, and their number; shape (prompts, 2)."""
    import numpy as np

    if not sizes:
        return np.zeros((0, 2))
    steps, accepted = requests.counts[:, STEPS], requests.counts[:, ACCEPTED]
    used = steps > 0
    length = np.divide(steps + accepted, steps, out=np.zeros(len(steps)), where=used)
    starts = np.cumsum([0, *sizes[:-1]])
    added: Matrix = np.add.reduceat(np.column_stack([length, used.astype(np.float64)]), starts)
    return added


def _pooled(table: CountsTable, overall: Intervals) -> Average:
    steps, drafted, accepted = (int(value) for value in table.counts[:, :3].sum(axis=0))
    return Average(
        over=steps,
        acceptance_length=(steps + accepted) / steps if steps else None,
        acceptance_rate=accepted / drafted if drafted else None,
        acceptance_length_interval=overall.acceptance_length,
    )


def _request_mean(requests: CountsTable, table: CountsTable, lengths: Matrix, sums: Matrix | None) -> Average:
    steps, drafted, accepted = requests.counts[:, STEPS], requests.counts[:, DRAFTED], requests.counts[:, ACCEPTED]
    used = steps > 0
    known = ((steps[used] + accepted[used]) / steps[used]).tolist()
    ratio = ratio_of(lengths[:, 0], lengths[:, 1], least=1.0, most=1 + table.longest_draft)
    return Average(
        over=len(known),
        acceptance_length=mean(known),
        acceptance_rate=mean((accepted[drafted > 0] / drafted[drafted > 0]).tolist()),
        acceptance_length_interval=ratio_interval(ratio, None if sums is None else (sums[:, -2], sums[:, -1])),
    )


def _category_macro(categories: Mapping[str, _Category], *, seed: int) -> Average:
    pooled = [_pooled(part.table, Intervals()) for part in categories.values()]
    lengths = [x for one in pooled if (x := one.acceptance_length) is not None]
    rates = [x for one in pooled if (x := one.acceptance_rate) is not None]
    return Average(
        over=len(lengths),
        acceptance_length=mean(lengths),
        acceptance_rate=mean(rates),
        acceptance_length_interval=_macro_interval(list(categories.values()), seed=seed),
    )


def _macro_interval(categories: Sequence[_Category], *, seed: int) -> Interval | None:
    """The interval of the mean over categories, whose prompts vary within them only, since the categories are given."""
    known = [(part, ratio) for part in categories if (ratio := _accepted_per_step(part.table)) is not None]
    ratios = [ratio for _, ratio in known]
    if not known or min(ratio.clusters for ratio in ratios) < 2 or sum(r.clusters for r in ratios) < FEWEST_CLUSTERS:
        return None
    count = len(ratios)
    variance = math.fsum(ratio.variance for ratio in ratios) / count**2
    if not variance:
        ends = [unseen_interval(ratio) for ratio in ratios]
        bounded = [end for end in ends if end is not None]
        if len(bounded) < count:
            return None
        return Interval(1 + math.fsum(e.low for e in bounded) / count, 1 + math.fsum(e.high for e in bounded) / count)
    whole = Ratio(
        value=math.fsum(ratio.value for ratio in ratios) / count,
        variance=variance,
        clusters=sum(ratio.clusters for ratio in ratios),
        # Satterthwaite's, for a sum of variances that are each estimated: never below the fewest of them.
        degrees_of_freedom=(variance * count**2) ** 2
        / math.fsum(ratio.variance**2 / ratio.degrees_of_freedom for ratio in ratios),
        least=0.0,
        most=max(ratio.most for ratio in ratios),
    )
    found = score_interval(whole)
    draws = _macro_draws(known, seed=seed)
    if draws is not None:
        t = two_sided_quantile(1 - LEVEL, whole.degrees_of_freedom)
        found = joined(found, quantile_interval(draws, NormalDist().cdf(-t)))
    return Interval(1 + max(found.low, 0.0), 1 + min(found.high, whole.most))


def _accepted_per_step(table: CountsTable) -> Ratio | None:
    accepted, steps = table.counts[:, ACCEPTED].astype(float), table.counts[:, STEPS].astype(float)
    return ratio_of(accepted, steps, most=table.longest_draft)


def _macro_draws(known: Sequence[tuple[_Category, Ratio]], *, seed: int) -> Vector | None:
    """The mean over categories of their resampled ratios; None where a category has too many prompts to resample."""
    import numpy as np

    rng = np.random.default_rng(seed)
    draws = []
    for part, ratio in known:
        if part.sums is None:
            return None
        with np.errstate(invalid="ignore"):
            values = part.sums[:, ACCEPTED] / part.sums[:, STEPS]
        # Resampling within few prompts is too narrow by sqrt((n - 1) / n); widening about the value mends it.
        widened = ratio.value + (values - ratio.value) * math.sqrt(ratio.clusters / (ratio.clusters - 1))
        # Categories of one size were drawn alike: another order makes them independent of each other.
        draws.append(rng.permutation(widened))
    means: Vector = np.mean(draws, axis=0)
    return means[~np.isnan(means)]
