"""What a study amounts to: a row for each run and category, speeds against the baseline, the spread of repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.speedup import RepeatedSpeedup, Speedup, by_category, repeated_speedup, speedup
from nemo_skills_specdec.measurement.result import Part
from nemo_skills_specdec.measurement.run import OutputRow, load_run
from nemo_skills_specdec.statistics import mean
from nemo_skills_specdec.studies.baselines import Baseline, baseline_of
from nemo_skills_specdec.studies.stored_config import config_hash
from nemo_skills_specdec.studies.study import FoundRun, latest

OVERALL = "overall"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or one category of it.

    Attributes:
        category: `overall` for the whole run.
        verification_efficiency: (D + A) / (D + T), tokens that came out of verification steps per token verified. With
            a fixed draft length K this is AL / (K + 1).
        speedup: against the study's own baseline; the reason where there is none.
    """

    run: FoundRun
    category: str
    part: Part
    verification_efficiency: float | None
    speedup: Speedup


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over repetitions that differ in nothing but their number.

    Attributes:
        deviation: standard deviation with n - 1; None for a single value.
    """

    runs: int
    mean: float
    deviation: float | None
    low: float
    high: float


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """Repetitions of one run with the spread of its figures from run to run.

    Attributes:
        method: its method, with the draft length.
        load: how many in flight, or at which rate.
        speedup: over the baseline, from all repetitions together; None where there is no baseline.
    """

    label: str
    method: str
    load: str
    figures: dict[str, Spread]
    speedup: RepeatedSpeedup | None = None


class Summary(msgspec.Struct, kw_only=True):
    """The content of `summary.json`, less the run directories themselves.

    Attributes:
        not_done: runs without a result: failed, interrupted, or ended without a word.
        noise_unknown: labels of runs with a speedup that were made once, so that nothing tells their noise.
    """

    rows: list[Row]
    repeated: list[Repeated]
    not_done: list[FoundRun]
    noise_unknown: list[str] = []


def summarize(runs: Sequence[FoundRun]) -> Summary:
    """Sums up a study; of several attempts at one run the one that counts is taken.

    Raises:
        DataError: a finished run cannot be read.
    """
    counting = list(latest(runs).values())
    finished = _side_by_side([run for run in counting if run.state == "finished"])
    answers = {run.config_hash: load_run(run.directory).rows for run in finished}
    baselines = {run.config_hash: baseline_of(run, finished) for run in finished}
    rows = [row for run in finished for row in _rows(run, baselines[run.config_hash], answers)]
    groups = _groups([row for row in rows if row.category == OVERALL])
    return Summary(
        rows=rows,
        repeated=[_repeated(members, baselines, answers) for members in groups if len(members) > 1],
        not_done=[run for run in counting if run.state != "finished"],
        noise_unknown=[
            members[0].run.config.label
            for members in groups
            if len(members) == 1 and (members[0].speedup.user is not None or members[0].speedup.total is not None)
        ],
    )


def verification_efficiency(part: Part) -> float | None:
    """(D + A) / (D + T); None where a count is unknown or nothing was drafted."""
    acceptance = part.acceptance
    drafts, drafted, accepted = acceptance.num_drafts, acceptance.num_draft_tokens, acceptance.num_accepted_tokens
    if drafts is None or drafted is None or accepted is None or drafts + drafted == 0:
        return None
    return (drafts + accepted) / (drafts + drafted)


def spread(values: Sequence[float]) -> Spread | None:
    """Mean, deviation and range; None of nothing."""
    middle = mean(values)
    if middle is None:
        return None
    deviation = None
    if len(values) > 1:
        deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))
    return Spread(runs=len(values), mean=middle, deviation=deviation, low=min(values), high=max(values))


def _rows(run: FoundRun, baseline: Baseline, answers: dict[str, list[OutputRow]]) -> list[Row]:
    assert run.evaluation is not None
    parts = {OVERALL: run.evaluation.overall, **run.evaluation.categories}
    rows = []
    own = answers[run.config_hash]
    own_categories = by_category(own)
    other = answers[baseline.run.config_hash] if baseline.run is not None else []
    other_categories = by_category(other)
    for category, part in parts.items():
        if baseline.run is None:
            found = Speedup(reason=baseline.reason)
        else:
            found = speedup(
                other if category == OVERALL else other_categories.get(category, []),
                own if category == OVERALL else own_categories.get(category, []),
                closed_loop=run.config.load.request_rate is None,
                seed=run.config.seed,
            )
        rows.append(
            Row(
                run=run,
                category=category,
                part=part,
                verification_efficiency=verification_efficiency(part),
                speedup=found,
            )
        )
    return rows


def _side_by_side(runs: Sequence[FoundRun]) -> list[FoundRun]:
    """The runs in the order of their making, but repetitions of one next to each other."""
    groups: dict[str, list[FoundRun]] = {}
    for run in runs:
        groups.setdefault(_without_repeat(run), []).append(run)
    return [run for members in groups.values() for run in members]


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Runs that differ in nothing but the number of their repetition."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_without_repeat(row.run), []).append(row)
    return list(groups.values())


def _without_repeat(run: FoundRun) -> str:
    return config_hash(msgspec.structs.replace(run.config, repeat=0))


def _repeated(members: Sequence[Row], baselines: dict[str, Baseline], answers: dict[str, list[OutputRow]]) -> Repeated:
    values: dict[str, list[float | None]] = {
        "output tokens/s": [row.part.speed.output_tokens_per_second for row in members],
        "user tokens/s": [
            row.part.speed.user_tokens_per_second.mean if row.part.speed.user_tokens_per_second else None
            for row in members
        ],
        "AL": [row.part.acceptance.acceptance_length for row in members],
        "speedup (user)": [row.speedup.user for row in members],
        "speedup (total)": [row.speedup.total for row in members],
    }
    figures = {name: told for name, column in values.items() if (told := spread([v for v in column if v is not None]))}
    config = msgspec.structs.replace(members[0].run.config, repeat=0)
    own = {run.config_hash for row in members if (run := baselines[row.run.config_hash].run) is not None}
    compared = [row for row in members if baselines[row.run.config_hash].run is not None]
    found = None
    if compared:
        found = repeated_speedup(
            [answers[name] for name in sorted(own)],
            [answers[row.run.config_hash] for row in compared],
            closed_loop=config.load.request_rate is None,
        )
    return Repeated(
        label=config.label, method=config.method.label, load=config.load.label, figures=figures, speedup=found
    )
