"""What a study amounts to: a row for each run and category, speeds against the baseline, the spread of repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.speedup import Speedup, by_category, speedup
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
    """Repetitions of one run with the spread of its figures from run to run."""

    label: str
    figures: dict[str, Spread]


class Summary(msgspec.Struct, kw_only=True):
    """The content of `summary.json`, less the run directories themselves.

    Attributes:
        not_done: runs without a result: failed, interrupted, or ended without a word.
    """

    rows: list[Row]
    repeated: list[Repeated]
    not_done: list[FoundRun]


def summarize(runs: Sequence[FoundRun]) -> Summary:
    """Sums up a study; of several attempts at one run the one that counts is taken.

    Raises:
        DataError: a finished run cannot be read.
    """
    counting = list(latest(runs).values())
    finished = [run for run in counting if run.state == "finished"]
    answers = {run.config_hash: load_run(run.directory).rows for run in finished}
    rows = [row for run in finished for row in _rows(run, baseline_of(run, finished), answers)]
    return Summary(
        rows=rows,
        repeated=_repeated([row for row in rows if row.category == OVERALL]),
        not_done=[run for run in counting if run.state != "finished"],
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


def _repeated(rows: Sequence[Row]) -> list[Repeated]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(config_hash(msgspec.structs.replace(row.run.config, repeat=0)), []).append(row)
    found = []
    for members in groups.values():
        if len(members) < 2:
            continue
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
        figures = {
            name: told for name, column in values.items() if (told := spread([v for v in column if v is not None]))
        }
        label = msgspec.structs.replace(members[0].run.config, repeat=0).label
        found.append(Repeated(label=label, figures=figures))
    return found
