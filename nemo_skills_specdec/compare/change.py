"""What changed in one figure between a baseline and a run, with an interval, a p-value and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.compare.contrast import Contrast, by_prompt, by_run
from nemo_skills_specdec.compare.figures import Figure
from nemo_skills_specdec.compare.holm import holm
from nemo_skills_specdec.compare.pairing import Pairs, tally
from nemo_skills_specdec.statistics import Interval

Verdict = Literal["higher", "lower", "not distinguishable"]
Noise = Literal["prompts", "runs", "assumed"]
"""What an interval holds: the choice of prompts, measured noise from run to run, or noise that was assumed."""


class FigureChange(msgspec.Struct, frozen=True, kw_only=True):
    """One figure in a baseline and in a run. What cannot be known is null, and `reason` says why.

    Attributes:
        baseline: over the prompts that both answered; over repeats, the mean (of logarithms, for ratios).
        difference: run - baseline, its interval at level 1 - significance.
        ratio: run / baseline; null for rates, which are compared as differences.
        noise: what the intervals hold.
        p_value: two-sided, of this figure alone.
        adjusted_p_value: by Holm, over all figures of the total, or over the categories of this figure.
        verdict: by the adjusted p-value: the interval alone is not corrected for many comparisons.
        prompts: prompts it rests on.
    """

    figure: str
    title: str
    baseline: float | None = None
    run: float | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    noise: list[Noise] = []
    p_value: float | None = None
    adjusted_p_value: float | None = None
    verdict: Verdict = "not distinguishable"
    prompts: int = 0
    reason: str | None = None


def change_by_prompt(
    figure: Figure, pairs: Pairs, baselines: int, *, significance: float, run_noise: float
) -> FigureChange:
    """The change of a figure that every answer tells.

    Args:
        pairs: the runs' rows, those of the baseline's repeats first.
        baselines: how many of the runs are the baseline's.
        run_noise: relative standard deviation from run to run of timings, where no repeats tell it.
    """
    nothing = FigureChange(figure=figure.name, title=figure.title, prompts=pairs.prompts)
    if not pairs.prompts:
        return msgspec.structs.replace(nothing, reason="no prompt was answered completely by all runs")
    found = tally(pairs, figure)
    if not found.usable:
        return msgspec.structs.replace(
            nothing, reason=f"{found.unknown} of {found.known + found.unknown} answers do not report it"
        )
    groups = found.runs[:baselines], found.runs[baselines:]
    assumed = run_noise if figure.timing else None
    plain = by_prompt(*groups, ratio=False, run_noise=assumed)
    if plain is None:
        return msgspec.structs.replace(nothing, reason="nothing to divide by in one of the runs")
    values = [[float(one[:, 0].sum() / one[:, 1].sum()) for one in group] for group in groups]
    logarithms = by_prompt(*groups, ratio=True, run_noise=assumed) if figure.ratio else None
    return _with_contrasts(nothing, values, plain, logarithms, significance)


def change_by_run(
    name: str, title: str, baseline: Sequence[float], run: Sequence[float], *, prompts: int, significance: float
) -> FigureChange:
    """The change of a figure that only a whole run tells: without repeats there is no interval.

    Args:
        baseline: the figure in each of the baseline's runs, above zero.
        run: likewise.
    """
    nothing = FigureChange(figure=name, title=title, prompts=prompts)
    logarithms = by_run([math.log(v) for v in baseline], [math.log(v) for v in run])
    found = _with_contrasts(nothing, [baseline, run], by_run(baseline, run), logarithms, significance)
    return found if found.noise else msgspec.structs.replace(found, reason="only repeats could show its noise")


def decide(changes: Sequence[FigureChange], significance: float) -> list[FigureChange]:
    """Corrects the p-values of all changes for one another, and says a word about each."""
    adjusted = iter(holm([change.p_value for change in changes if change.p_value is not None]))
    decided = []
    for change in changes:
        p = next(adjusted) if change.p_value is not None else None
        verdict: Verdict = "not distinguishable"
        if p is not None and p < significance:
            verdict = "higher" if (change.difference or 0.0) > 0 else "lower"
        decided.append(msgspec.structs.replace(change, adjusted_p_value=p, verdict=verdict))
    return decided


def _with_contrasts(
    change: FigureChange,
    values: Sequence[Sequence[float]],
    plain: Contrast,
    logarithms: Contrast | None,
    significance: float,
) -> FigureChange:
    tested = logarithms or plain
    middle = _geometric_mean if logarithms is not None else _mean
    baseline, run = (middle(group) for group in values)
    ratio_interval = logarithms.interval(significance) if logarithms is not None else None
    return msgspec.structs.replace(
        change,
        baseline=baseline,
        run=run,
        difference=run - baseline,
        difference_interval=_shifted(plain.interval(significance), run - baseline - plain.value),
        ratio=math.exp(logarithms.value) if logarithms is not None else None,
        ratio_interval=Interval(_exp(ratio_interval.low), _exp(ratio_interval.high)) if ratio_interval else None,
        noise=_noise(tested),
        p_value=tested.p_value,
        reason=None if tested.known else "too few prompts for an interval",
    )


def _noise(contrast: Contrast) -> list[Noise]:
    noise: list[Noise] = ["prompts"] if contrast.prompt_variance is not None else []
    if contrast.run_variance is not None:
        noise.append("assumed" if math.isinf(contrast.run_freedom) else "runs")
    return noise


def _shifted(interval: Interval | None, by: float) -> Interval | None:
    return None if interval is None else Interval(interval.low + by, interval.high + by)


def _exp(value: float) -> float:
    """Of an interval's end, which may lie absurdly far out where two runs differ wildly."""
    return math.exp(min(value, 700.0))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(_mean([math.log(value) for value in values]))
