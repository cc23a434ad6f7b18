"""Runs sorted by load and drafting method, and advice for each, and across loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.compare.advice import Advice, advise
from nemo_skills_specdec.compare.change import FigureChange
from nemo_skills_specdec.compare.comparison import How, compare_groups
from nemo_skills_specdec.compare.measured_length import draft_length_of
from nemo_skills_specdec.compare.next_runs import NextRun, next_runs
from nemo_skills_specdec.compare.paying_load import LoadSpeedup, PayingLoad, paying_load
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.run import Run

_LENGTH_SETTINGS = frozenset(
    {
        "num_speculative_tokens",
        "num_spec_tokens",
        "speculative_num_steps",
        "speculative_num_draft_tokens",
        "speculative_eagle_topk",
    }
)
"""Settings that say how long drafts are; all others tell drafting methods apart."""


class MethodAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """One drafting method over all loads: the content of `advice.json`, one entry a method.

    Attributes:
        loads: advice for each load, by rising concurrency.
        speedups: the largest measured speedup at each load that has a baseline.
        paying: where speculation pays; None with fewer than two such loads.
        next: what to measure next to be surer.
    """

    loads: list[Advice]
    speedups: list[LoadSpeedup]
    paying: PayingLoad | None
    next: list[NextRun]


def advise_runs(groups: Sequence[RunGroup], *, assumed_noise: float = 0.1, seed: int = 0) -> list[MethodAdvice]:
    """Advice for every drafting method among the groups.

    Raises:
        DataError: no run speculates, or two configurations of one load and length differ in something else.
    """
    speculating = [group for group in groups if group.speculates]
    if not speculating:
        raise DataError("none of the runs speculates; give at least one that does")
    methods: dict[bytes, dict[bytes, list[RunGroup]]] = {}
    for group in speculating:
        run = group.runs[0]
        methods.setdefault(_method(run), {}).setdefault(_asked(run), []).append(group)
    baselines = {_asked(group.runs[0]): group for group in groups if not group.speculates}
    how = How(run_noise=assumed_noise)
    return [
        _method_advice(loads, {key: baselines[key] for key in loads if key in baselines}, how, seed)
        for loads in methods.values()
    ]


def _method_advice(
    loads: dict[bytes, list[RunGroup]], baselines: dict[bytes, RunGroup], how: How, seed: int
) -> MethodAdvice:
    advice, speedups = [], []
    for key, members in loads.items():
        _check_distinct(members)
        baseline = [baselines[key]] if key in baselines else []
        found = advise([*baseline, *members], assumed_noise=how.run_noise, seed=seed)
        advice.append(found)
        if baseline and (fastest := _fastest(baseline[0], members, found, how)) is not None:
            speedups.append(fastest)
    advice.sort(key=lambda one: one.concurrency or 0)
    wanted = [run for one in advice for run in next_runs(one)]
    return MethodAdvice(loads=advice, speedups=speedups, paying=paying_load(speedups), next=wanted)


def _fastest(baseline: RunGroup, members: Sequence[RunGroup], advice: Advice, how: How) -> LoadSpeedup | None:
    """The largest speedup of the system at one load; that of a user where the system's is unknown."""
    if advice.concurrency is None:
        return None
    found: list[tuple[float, int, FigureChange]] = []
    for group in members:
        comparison = compare_groups(baseline, group, how)
        for name in ("system_tokens_per_second", "user_tokens_per_second"):
            change = comparison.figure(name)
            if change.ratio is not None:
                found.append((change.ratio, draft_length_of(group), change))
                break
    if not found:
        return None
    ratio, length, change = max(found, key=lambda one: one[0])
    return LoadSpeedup(concurrency=advice.concurrency, draft_length=length, ratio=ratio, interval=change.ratio_interval)


def _check_distinct(members: Sequence[RunGroup]) -> None:
    seen: dict[int, RunGroup] = {}
    for group in members:
        length = draft_length_of(group)
        if length in seen:
            first, second = seen[length].runs[0].directory, group.runs[0].directory
            raise DataError(f"{first} and {second} have the same draft length and load, but differ; give one of them")
        seen[length] = group


def _method(run: Run) -> bytes:
    """What tells drafting methods apart: engine, model, drafter and settings, but not how long drafts are."""
    server, arguments = run.manifest.server, run.manifest.arguments
    settings = {name: value for name, value in server.settings.items() if name not in _LENGTH_SETTINGS}
    told: list[Any] = [server.engine, server.version, server.method, settings, arguments.get("draft_model")]
    return msgspec.json.encode([told, _request(run).get("model")], order="deterministic")


def _asked(run: Run) -> bytes:
    """What was asked: prompts, sampling and load. Equal for a baseline and what may be compared with it."""
    load = {k: v for k, v in (run.manifest.arguments.get("load") or {}).items() if k not in ("seed", "timeout_seconds")}
    return msgspec.json.encode([_request(run), load, run.manifest.prompts_sha256], order="deterministic")


def _request(run: Run) -> dict[str, Any]:
    return run.manifest.arguments.get("request") or {}
