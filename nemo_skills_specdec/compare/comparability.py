"""What stands in the way of comparing two runs: whatever was not asked of both alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import msgspec

from nemo_skills_specdec.measurement.run import Run

Key = Literal["prompts", "sampling", "max_tokens", "concurrency", "load", "model", "validity"]
KEYS: tuple[Key, ...] = get_args(Key)

_LOAD = ("request_rate", "arrival", "order", "max_seconds")


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """Something that differs between the runs.

    Attributes:
        key: what `--allow` takes to compare nevertheless.
        name: what differs, e.g. `sampling.temperature`.
        baseline: its value there, as text.
        run: its value here.
    """

    key: Key
    name: str
    baseline: str
    run: str

    def __str__(self) -> str:
        return f"{self.name} ({self.baseline} and {self.run})"


def mismatches(baseline: Run, run: Run) -> list[Mismatch]:
    """Everything that was not asked of both runs alike, or that makes one of them useless; empty if comparable."""
    return [
        *_prompts(baseline, run),
        *_requests(baseline, run),
        *_named("load", "concurrency", ["concurrency"], baseline, run, _load_of),
        *_named("load", "load", _LOAD, baseline, run, _load_of),
        *_windows(baseline, run),
        *_validity(baseline, run),
    ]


def _prompts(baseline: Run, run: Run) -> list[Mismatch]:
    before, after = baseline.manifest.prompts_sha256, run.manifest.prompts_sha256
    if before == after:
        return []
    common = len(before.items() & after.items())
    return [
        Mismatch(
            key="prompts",
            name="prompts",
            baseline=f"{len(before)}, {common} of them in both",
            run=str(len(after)),
        )
    ]


def _requests(baseline: Run, run: Run) -> list[Mismatch]:
    names = {*_request_of(baseline), *_request_of(run)}
    # Another seed is another draw of the same; repeats of sampled runs have one each.
    sampling = sorted(names - {"model", "max_tokens", "seed"})
    return [
        *_named("request", "model", ["model"], baseline, run, _request_of),
        *_named("request", "max_tokens", ["max_tokens"], baseline, run, _request_of),
        *_named("sampling", "sampling", sampling, baseline, run, _request_of),
    ]


def _windows(baseline: Run, run: Run) -> list[Mismatch]:
    """Sending each category by itself drains the server in between: another load, unless one at a time is sent."""
    before, after = (one.manifest.arguments.get("windows") for one in (baseline, run))
    if before is None or after is None or before == after or _load_of(run).get("concurrency") == 1:
        return []
    return [Mismatch(key="load", name="windows", baseline=str(before), run=str(after))]


def _validity(baseline: Run, run: Run) -> list[Mismatch]:
    states = [_state(baseline), _state(run)]
    if states == ["valid", "valid"]:
        return []
    return [Mismatch(key="validity", name="validity", baseline=states[0], run=states[1])]


def _state(run: Run) -> str:
    codes = [f.code for f in run.evaluation.overall.acceptance.findings if f.severity == "invalid"]
    if codes:
        return f"invalid: {', '.join(codes)}"
    return "valid" if run.evaluation.status == "complete" else "interrupted"


def _named(
    part: str, key: Key, names: Any, baseline: Run, run: Run, read: Callable[[Run], dict[str, Any]]
) -> list[Mismatch]:
    before, after = read(baseline), read(run)
    return [
        Mismatch(key=key, name=f"{part}.{name}", baseline=_text(before.get(name)), run=_text(after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _request_of(run: Run) -> dict[str, Any]:
    return run.manifest.arguments.get("request") or {}


def _load_of(run: Run) -> dict[str, Any]:
    return run.manifest.arguments.get("load") or {}


def _text(value: object) -> str:
    return "not set" if value in (None, {}) else msgspec.json.encode(value).decode()
