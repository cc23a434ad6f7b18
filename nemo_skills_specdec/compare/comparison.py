"""A baseline and a run compared: every figure in total and by category, and what may be concluded."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.change import FigureChange, change_by_prompt, change_by_run, decide
from nemo_skills_specdec.compare.comparability import Mismatch
from nemo_skills_specdec.compare.figures import (
    SYSTEM_SPEED,
    TPOT,
    TTFT,
    USER_SPEED,
    Figure,
    acceptance_figures,
    goodput_figure,
)
from nemo_skills_specdec.compare.gate import ThresholdResult, Thresholds, check_thresholds
from nemo_skills_specdec.compare.losslessness import Losslessness
from nemo_skills_specdec.compare.pairing import Pairs, pair, tally
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.compare.sampled_outputs import SampledOutputs
from nemo_skills_specdec.compare.speedup import RATE_SETS_THROUGHPUT, same_text, untimed_problem
from nemo_skills_specdec.engines.remarks import ENGINE_SPECIFIC
from nemo_skills_specdec.measurement.run import Run
from nemo_skills_specdec.measurement.speed_options import Slo
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Finding

BY_CATEGORY = ("acceptance_length", "user_tokens_per_second", "system_tokens_per_second")
"""Figures that are shown by category too."""
_EXACT = ("response", "request_file", "counters")


class ComparedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two sides.

    Attributes:
        directories: its runs, the repeats of one configuration.
    """

    label: str
    directories: list[str]


class Comparison(msgspec.Struct, kw_only=True):
    """The content of `comparison.json`, one for each run that was compared with the baseline.

    Attributes:
        significance: intervals are at level 1 - significance.
        run_noise: what was assumed where there are no repeats; null where there are.
        prompts: prompts that all runs answered completely.
        same_text: share of them whose answers are the same in all runs, character by character.
        accepted: differences between the runs that were accepted knowingly.
        categories: by category the figures of `BY_CATEGORY`.
        outputs: greedy answers compared, if that was asked for.
        samples: sampled answers compared, likewise.
    """

    baseline: ComparedGroup
    run: ComparedGroup
    significance: float
    run_noise: float | None
    prompts: int
    left_out: int
    same_text: float | None
    accepted: list[Mismatch]
    overall: list[FigureChange]
    categories: dict[str, list[FigureChange]]
    thresholds: list[ThresholdResult] = []
    outputs: Losslessness | None = None
    samples: SampledOutputs | None = None
    findings: list[Finding] = []

    def figure(self, name: str) -> FigureChange:
        """The total of one figure."""
        return next(change for change in self.overall if change.figure == name)


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How to compare.

    Attributes:
        significance: probability of a false "higher" or "lower" that is put up with, over all figures together.
        run_noise: relative standard deviation of timings from run to run that is assumed without repeats.
        slo: bounds of a good request, whose share is compared as well.
    """

    significance: float = 0.05
    run_noise: float = 0.1
    slo: Slo | None = None
    thresholds: Thresholds = Thresholds()


def compare_groups(
    baseline: RunGroup, run: RunGroup, how: How | None = None, accepted: Sequence[Mismatch] = ()
) -> Comparison:
    """Compares two configurations on the prompts that all their runs answered."""
    how = how or How()
    runs = [*baseline.runs, *run.runs]
    pairs = pair([one.rows for one in runs])
    overall = decide(_changes(pairs, baseline, run, None, how), how.significance)
    categories: dict[str, list[FigureChange]] = {}
    names = list(dict.fromkeys(row.category for row in pairs.rows[0]))
    if len(names) > 1:
        by_name = {name: _changes(pairs.of_category(name), baseline, run, name, how) for name in names}
        for number in range(len(BY_CATEGORY)):
            for name, change in zip(
                names, decide([by_name[name][number] for name in names], how.significance), strict=True
            ):
                categories.setdefault(name, []).append(change)
    repeated = len(runs) > 2
    found = Comparison(
        baseline=_compared(baseline),
        run=_compared(run),
        significance=how.significance,
        run_noise=None if repeated else how.run_noise,
        prompts=pairs.prompts,
        left_out=pairs.left_out,
        same_text=same_text(pairs) if pairs.prompts else None,
        accepted=list(accepted),
        overall=overall,
        categories=categories,
    )
    found.thresholds = check_thresholds(how.thresholds, overall)
    found.findings = [*_findings(found, repeated=repeated), *_across_engines(baseline, run)]
    return found


def _changes(pairs: Pairs, baseline: RunGroup, run: RunGroup, category: str | None, how: How) -> list[FigureChange]:
    """Changes of all figures; of a category, of those in `BY_CATEGORY`."""
    positions = _positions(pairs, len(baseline.runs)) if category is None else 0
    figures = [*acceptance_figures(positions), USER_SPEED, SYSTEM_SPEED, TTFT, TPOT]
    if category is not None:
        figures = [figure for figure in figures if figure.name in BY_CATEGORY]
    elif how.slo is not None:
        figures.append(goodput_figure(how.slo))
    changes = [_change(figure, pairs, baseline, run, category, how) for figure in figures]
    if category is None:
        changes.append(_tokens_per_step(pairs, baseline, run, how))
    return changes


def _change(
    figure: Figure, pairs: Pairs, baseline: RunGroup, run: RunGroup, category: str | None, how: How
) -> FigureChange:
    reason = _impossible(figure, pairs, baseline, run)
    if reason is not None:
        nothing = FigureChange(figure=figure.name, title=figure.title, prompts=pairs.prompts, reason=reason)
        if figure.name != "acceptance_length":
            return nothing
        # Without speculation on one side, the other's AL is still worth seeing.
        lengths = [_length(group.runs[0], category) for group in (baseline, run)]
        return msgspec.structs.replace(nothing, baseline=lengths[0], run=lengths[1])
    change = change_by_prompt(figure, pairs, len(baseline.runs), significance=how.significance, run_noise=how.run_noise)
    if change.baseline is None and figure.name == "acceptance_length":
        values = [[length for one in group.runs if (length := _length(one, category))] for group in (baseline, run)]
        if [len(known) for known in values] == [len(baseline.runs), len(run.runs)]:
            return change_by_run(
                figure.name, figure.title, *values, prompts=pairs.prompts, significance=how.significance
            )
    return change


def _tokens_per_step(pairs: Pairs, baseline: RunGroup, run: RunGroup, how: How) -> FigureChange:
    """Only the counters of a whole run know the steps without a draft."""
    name, title = "tokens_per_step", "tok/step"
    told = [[one.evaluation.overall.acceptance.tokens_per_step for one in group.runs] for group in (baseline, run)]
    known = [[value for value in group if value] for group in told]
    if [len(group) for group in known] != [len(group) for group in told]:
        reason = "the counters of one of the runs do not report it"
        return FigureChange(figure=name, title=title, prompts=pairs.prompts, reason=reason)
    return change_by_run(name, title, *known, prompts=pairs.prompts, significance=how.significance)


def _impossible(figure: Figure, pairs: Pairs, baseline: RunGroup, run: RunGroup) -> str | None:
    """Why a figure cannot be compared whatever the answers say."""
    if not figure.timing:
        if not baseline.speculates or not run.speculates:
            return f"the {'run' if baseline.speculates else 'baseline'} does not speculate"
        return None
    if figure is SYSTEM_SPEED:
        runs = [*baseline.runs, *run.runs]
        if any((one.manifest.arguments.get("load") or {}).get("request_rate") is not None for one in runs):
            return RATE_SETS_THROUGHPUT
        if len({len(one.snapshots) > 2 for one in runs}) > 1:
            return "only one of them drained the server between categories; measure both with --by-category, or neither"
        return None
    return untimed_problem(pairs, tally(pairs, USER_SPEED)) if pairs.prompts and figure is USER_SPEED else None


def _length(run: Run, category: str | None) -> float | None:
    """AL as the whole run tells it, where that is exact."""
    part = run.evaluation.overall if category is None else run.evaluation.categories.get(category)
    if part is None or part.acceptance.source not in _EXACT:
        return None
    return part.acceptance.acceptance_length


def _positions(pairs: Pairs, baselines: int) -> int:
    """Draft positions that both sides have."""
    lengths = [
        max((len(r.counts.accepted_per_position or ()) for row in rows for r in row.requests if r.counts), default=0)
        for rows in pairs.rows
    ]
    return min(max(lengths[:baselines]), max(lengths[baselines:]))


def _compared(group: RunGroup) -> ComparedGroup:
    return ComparedGroup(label=group.label, directories=[str(run.directory) for run in group.runs])


def _across_engines(baseline: RunGroup, run: RunGroup) -> list[Finding]:
    """What an engine does otherwise than the other one; nothing where both sides ran on the same."""
    sides = [group.runs[0] for group in (baseline, run)]
    if sides[0].manifest.server.engine == sides[1].manifest.server.engine:
        return []
    return [
        msgspec.structs.replace(finding, severity="warning")
        for side in sides
        for finding in side.evaluation.overall.acceptance.findings
        if finding.code in ENGINE_SPECIFIC
    ]


def _findings(found: Comparison, *, repeated: bool) -> list[Finding]:
    findings = []
    if not repeated:
        findings.append(
            Finding(
                code="compared_without_repeats",
                severity="warning",
                message=f"Each side was run once: timings are assumed to differ by {found.run_noise or 0:.0%} from "
                "run to run; run both two or three times to measure it, or give --run-noise.",
                numbers={"run_noise": found.run_noise},
            )
        )
    if found.accepted:
        findings.append(
            Finding(
                code="compared_despite_differences",
                severity="warning",
                message=f"The runs differ in {'; '.join(map(str, found.accepted))}, which was accepted knowingly.",
            )
        )
    if found.left_out:
        findings.append(
            Finding(
                code="compared_without_some_prompts",
                severity="warning",
                message=f"Left out: {number_of(found.left_out, 'prompt')} that some run did not answer completely.",
                numbers={"left_out": found.left_out, "prompts": found.prompts},
            )
        )
    return findings
