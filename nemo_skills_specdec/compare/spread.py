"""Repeats of one configuration: how far a figure moves from run to run, beside what the choice of prompts leaves open.

On the scale of g (the logarithm for figures that are compared as a ratio, else the identity), with N runs on the same
prompts:

    V1    the jackknife's variance of the mean over runs, leaving out one prompt in all of them: the choice of prompts
    s^2   the variance between the runs' values: the state of the machine, the order of prompts, other random numbers

One run's figure is off by V1 + s^2, the mean of N runs by V1 + s^2 / N. The interval that a single run prints knows V1
alone; `interval` holds both, each with the t quantile of its own degrees of freedom (see `contrast`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.compare.contrast import Contrast, prompt_variance
from nemo_skills_specdec.compare.figures import SYSTEM_SPEED, TPOT, TTFT, USER_SPEED, Figure, acceptance_figures
from nemo_skills_specdec.compare.pairing import Pairs, pair, tally
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.compare.speedup import RATE_SETS_THROUGHPUT, untimed_problem
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.statistics import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNIFICANCE = 0.05


class FigureSpread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over the repeats; what cannot be known is null.

    Attributes:
        values: of each run, in the order of the runs.
        mean: of the runs; the geometric mean for figures that are compared as a ratio.
        prompts_interval: 95 %, as if all runs were one: the choice of prompts alone.
        interval: 95 %, with the noise from run to run: what to quote.
        prompts_deviation: standard deviation of the figure from the choice of prompts; relative for ratios.
        runs_deviation: from run to run, of a single run; likewise.
        runs_share: share of a single run's variance that comes from run to run and not from the choice of prompts.
    """

    figure: str
    title: str
    values: list[float]
    mean: float
    relative: bool
    prompts_interval: Interval | None
    interval: Interval | None
    prompts_deviation: float | None
    runs_deviation: float
    runs_share: float | None


class RunSpread(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `repeats.json`.

    Attributes:
        prompts: prompts that all repeats answered completely; all figures rest on these.
        left_out: the others.
        unknown: figures that are missing, by title, and why.
    """

    label: str
    directories: list[str]
    prompts: int
    left_out: int
    figures: list[FigureSpread]
    unknown: dict[str, str]


def spread(group: RunGroup) -> RunSpread:
    """How far each figure moves from run to run.

    Raises:
        DataError: there is only one run.
    """
    if len(group.runs) < 2:
        raise DataError(f"{group.runs[0].directory} is a single run; the spread from run to run takes two or more")
    pairs = pair([run.rows for run in group.runs])
    found: list[FigureSpread] = []
    unknown: dict[str, str] = {}
    for figure in [*acceptance_figures(0), USER_SPEED, SYSTEM_SPEED, TTFT, TPOT]:
        one = _of_figure(figure, pairs, group)
        if isinstance(one, str):
            unknown[figure.title] = one
        else:
            found.append(one)
    return RunSpread(
        label=group.label,
        directories=[str(run.directory) for run in group.runs],
        prompts=pairs.prompts,
        left_out=pairs.left_out,
        figures=found,
        unknown=unknown,
    )


def _of_figure(figure: Figure, pairs: Pairs, group: RunGroup) -> FigureSpread | str:
    """The spread of a figure, or why there is none."""
    if not figure.timing and not group.speculates:
        return "the server does not speculate"
    if figure is SYSTEM_SPEED and (group.runs[0].manifest.arguments.get("load") or {}).get("request_rate") is not None:
        return RATE_SETS_THROUGHPUT
    if not pairs.prompts:
        return "no prompt was answered completely by all runs"
    told = tally(pairs, figure)
    if figure is USER_SPEED and (problem := untimed_problem(pairs, told)) is not None:
        return problem
    if told.usable and all(one[:, 0].sum() > 0 and one[:, 1].sum() > 0 for one in told.runs):
        return _by_prompt(figure, told.runs)
    lengths = [run.evaluation.overall.acceptance.acceptance_length for run in group.runs]
    known = [length for length in lengths if length is not None]
    if figure.name == "acceptance_length" and len(known) == len(lengths):
        return _spread(figure, known, None, 0)
    return f"{told.unknown} of {told.known + told.unknown} answers do not report it"


def _by_prompt(figure: Figure, runs: Sequence[NDArray[np.float64]]) -> FigureSpread:
    import numpy as np

    def itself(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return value

    values = [float(one[:, 0].sum() / one[:, 1].sum()) for one in runs]
    variance = prompt_variance([runs], np.log if figure.ratio else itself)
    return _spread(figure, values, variance, len(runs[0]))


def _spread(figure: Figure, values: list[float], by_prompts: float | None, prompts: int) -> FigureSpread:
    scaled = [math.log(value) if figure.ratio else value for value in values]
    middle = math.fsum(scaled) / len(scaled)
    between = math.fsum((value - middle) ** 2 for value in scaled) / (len(scaled) - 1)
    alone = Contrast(value=middle, prompt_variance=by_prompts, prompt_freedom=prompts - 1)
    both = msgspec.structs.replace(alone, run_variance=between / len(scaled), run_freedom=len(scaled) - 1)
    whole = None if by_prompts is None else by_prompts + between
    return FigureSpread(
        figure=figure.name,
        title=figure.title,
        values=values,
        mean=math.exp(middle) if figure.ratio else middle,
        relative=figure.ratio,
        prompts_interval=_unscaled(alone.interval(SIGNIFICANCE), figure),
        interval=_unscaled(both.interval(SIGNIFICANCE), figure),
        prompts_deviation=None if by_prompts is None else math.sqrt(by_prompts),
        runs_deviation=math.sqrt(between),
        runs_share=None if not whole else between / whole,
    )


def _unscaled(interval: Interval | None, figure: Figure) -> Interval | None:
    if interval is None or not figure.ratio:
        return interval
    return Interval(math.exp(min(interval.low, 700.0)), math.exp(min(interval.high, 700.0)))
