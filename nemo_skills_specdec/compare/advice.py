"""Which draft length to run at one load, with one drafting method: the answer, its range, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.compare.best_length import BestLength, LengthPrediction, best_length, predict
from nemo_skills_specdec.compare.draft_length import (
    Forecast,
    LengthPoint,
    acceptance_curve,
    forecasts,
    length_points,
    not_a_chain,
)
from nemo_skills_specdec.compare.leviathan import Leviathan, leviathan
from nemo_skills_specdec.compare.measured_length import (
    Cell,
    MeasuredLength,
    cell_of,
    counts_by_prompt,
    measured_length,
    run_noise,
    timed_length,
)
from nemo_skills_specdec.compare.possible_lengths import RunNoise, possible_lengths
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.compare.step_time import StepPoint, StepTime, fit_step_time


class CategoryAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """One category, with the step time of all.

    Attributes:
        acceptance_length: at the longest measured draft length.
        speedup: predicted at the best length, per user.
    """

    acceptance_length: float
    best: BestLength | None
    speedup: float | None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What to run at one load.

    Attributes:
        not_a_chain: why AL of unmeasured lengths is not known; then only measured lengths are compared.
        forecasts: measured AL beside its forecast from a longer draft: how far AL(k) may be trusted.
        step_reason: why there is no step time.
        noise: from run to run, measured or assumed.
        possible: from the shortest to the longest draft that may be the best.
        leviathan: the model that papers use, with alpha and cost of these runs.
    """

    label: str
    concurrency: int | None
    prompts: int
    measured: list[MeasuredLength]
    not_a_chain: str | None
    lengths: list[LengthPoint]
    forecasts: list[Forecast]
    step: StepTime | None
    step_reason: str | None
    noise: RunNoise
    predictions: list[LengthPrediction]
    best: BestLength | None
    possible: tuple[int, int] | None
    categories: dict[str, CategoryAdvice]
    leviathan: Leviathan | None

    @property
    def baseline_tpot(self) -> float | None:
        """TPOT without speculation, in seconds."""
        return next((one.tpot_seconds for one in self.measured if one.draft_length == 0), None)


def advise(groups: Sequence[RunGroup], *, assumed_noise: float = 0.1, seed: int = 0) -> Advice:
    """Advice from the configurations of one load: one drafting method at one or more lengths, and perhaps a baseline.

    Args:
        groups: at least one that speculates; at most one a draft length.
        assumed_noise: relative standard deviation from run to run of times, where no repeats tell it.
    """
    cell = cell_of(groups)
    longest = cell.groups[cell.longest]
    problem = _problem(cell)
    counts = {} if problem else {k: counts_by_prompt(cell.rows[k]) for k in cell.groups if k}
    points = length_points(counts, seed=seed)
    measured = [measured_length(cell, k) for k in sorted(cell.groups)]
    steps = [point for one in measured if (point := one.step) is not None]
    step, step_reason = _step_time(steps, cell.longest)
    baseline = next((one.tpot_seconds for one in measured if one.draft_length == 0), None)
    kept = _kept(measured)
    lengths = {point.draft_length: point.acceptance_length for point in points} or {
        one.draft_length: one.acceptance_length for one in measured if one.draft_length and one.acceptance_length
    }
    predictions = predict(lengths, step, kept=kept, baseline_tpot=baseline) if step is not None else []
    noise = run_noise(cell, assumed_noise)
    at_longest = next(one.acceptance_length for one in measured if one.draft_length == cell.longest)
    cost = step.per_draft_token / baseline if step is not None and baseline else None
    load = longest.runs[0].manifest.arguments.get("load") or {}
    return Advice(
        label=longest.label,
        concurrency=load.get("concurrency"),
        prompts=len(cell.rows[cell.longest][0]),
        measured=measured,
        not_a_chain=problem,
        lengths=points,
        forecasts=forecasts(counts),
        step=step,
        step_reason=step_reason,
        noise=noise,
        predictions=predictions,
        best=best_length(predictions),
        possible=_possible(cell, noise, kept, seed) if step is not None and points else None,
        categories=_categories(cell, step, kept, baseline) if points else {},
        leviathan=leviathan(at_longest, cell.longest, cost) if at_longest is not None and not problem else None,
    )


def _problem(cell: Cell) -> str | None:
    """Why AL of unmeasured draft lengths is not known; None if it is."""
    for length, group in cell.groups.items():
        if length:
            counts = counts_by_prompt(cell.rows[length])
            if not counts:
                return "responses do not report accepted tokens by position"
            if (problem := not_a_chain(group.runs[0].manifest.server, total(counts))) is not None:
                return problem
    return None


def _step_time(steps: Sequence[StepPoint], longest: int) -> tuple[StepTime | None, str | None]:
    """The fitted step time, or why there is none."""
    step = fit_step_time(steps)
    if step is None:
        return None, "it takes runs with at least two draft lengths and streamed answers"
    if min(step.seconds(1), step.seconds(longest)) <= 0:
        return None, "the line through the measured times falls below zero; they are too noisy, so measure repeats"
    return step, None


def _kept(measured: Sequence[MeasuredLength]) -> float:
    """Tokens per step over AL, the mean over draft lengths."""
    shares = [
        one.tokens_per_step / one.acceptance_length
        for one in measured
        if one.draft_length and one.tokens_per_step and one.acceptance_length
    ]
    return math.fsum(shares) / len(shares) if shares else 1.0


def _possible(cell: Cell, noise: RunNoise, kept: float, seed: int) -> tuple[int, int] | None:
    timed = {k: one for k in cell.groups if k and (one := timed_length(cell, k)) is not None}
    return possible_lengths(timed, noise, kept=kept, seed=seed) if cell.longest in timed else None


def _categories(cell: Cell, step: StepTime | None, kept: float, baseline: float | None) -> dict[str, CategoryAdvice]:
    """Advice for each category; nothing for a single one."""
    rows = cell.rows[cell.longest]
    members: dict[str, list[AcceptanceCounts]] = {}
    for row, counts in zip(rows[0], counts_by_prompt(rows), strict=True):
        members.setdefault(row.category, []).append(counts)
    sums = {category: total(counts) for category, counts in members.items()}
    if len(sums) < 2:
        return {}
    return {category: _category(counts, step, kept, baseline) for category, counts in sums.items() if counts.num_drafts}


def _category(counts: AcceptanceCounts, step: StepTime | None, kept: float, baseline: float | None) -> CategoryAdvice:
    curve = acceptance_curve(counts)
    lengths: Mapping[int, float] = dict(enumerate(curve[1:], start=1))
    predictions = predict(lengths, step, kept=kept, baseline_tpot=baseline) if step is not None else []
    best = best_length(predictions)
    speedup = next((one.speedup for one in predictions if best and one.draft_length == best.draft_length), None)
    return CategoryAdvice(acceptance_length=curve[-1], best=best, speedup=speedup)
