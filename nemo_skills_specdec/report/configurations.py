"""The configurations of several runs, named by what tells them apart, with the figures that are shown of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.measurement.result import Evaluation, Part
from nemo_skills_specdec.measurement.run import Run
from nemo_skills_specdec.measurement.run_directory import Manifest
from nemo_skills_specdec.records import Acceptance
from nemo_skills_specdec.report.plot import PlotRow
from nemo_skills_specdec.statistics import Interval


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration, measured once or several times.

    Attributes:
        name: what tells it from the others, short.
        method: with everything but draft length and load.
        load: concurrency and rate, as `c=8`; empty if it is the same in all.
        draft_length: 0 without speculation, None if not known.
    """

    name: str
    method: str
    load: str
    draft_length: int | None
    concurrency: int | None
    group: RunGroup

    @property
    def first(self) -> Run:
        """The first of its runs."""
        return self.group.runs[0]


def configurations(groups: Sequence[RunGroup]) -> list[Configuration]:
    """The groups, named by what is not the same in all of them, by method, draft length and load."""
    told = [_parts(group.runs[0]) for group in groups]
    varied = [key for key in told[0] if len({parts[key] for parts in told}) > 1] if told else []
    names = [", ".join(parts[key] for key in varied if parts[key]) or parts["method"] for parts in told]
    found = []
    for group, parts, name in zip(groups, told, names, strict=True):
        if names.count(name) > 1:
            name = f"{name}, {group.runs[0].directory.name}"
        length = group.runs[0].manifest.server.draft_length if group.speculates else 0
        kept = [key for key in varied if key not in ("draft length", "load")]
        found.append(
            Configuration(
                name=name,
                method=", ".join(parts[key] for key in kept if parts[key]) or parts["method"],
                load=parts["load"] if "load" in varied else "",
                draft_length=length,
                concurrency=(group.runs[0].manifest.arguments.get("load") or {}).get("concurrency"),
                group=group,
            )
        )
    return sorted(found, key=lambda one: (one.method, one.draft_length or 0, one.concurrency or 0))


def figures_of(one: Configuration) -> PlotRow:
    """The figures of a configuration as a row: over repeats their mean, with the range of them for an interval."""
    return {"configuration": one.name, "runs": len(one.group.runs), **part_figures(one, lambda run: _overall(run))}


def part_figures(one: Configuration, part: Callable[[Run], Part | None]) -> PlotRow:
    """Likewise of a part of each run, such as a category; what a run does not have is left out."""
    parts = [found for run in one.group.runs if (found := part(run)) is not None]
    row: PlotRow = {
        "prompts": sum(part.num_prompts for part in parts),
        "failed": sum(part.num_failed for part in parts),
    }
    for key, read in _FIGURES.items():
        values = [value for part in parts if (value := read(part)) is not None]
        row[key] = math.fsum(values) / len(values) if values else None
        if len(values) > 1:
            row[f"{key}_low"], row[f"{key}_high"] = min(values), max(values)
    interval = length_interval(parts[0].acceptance) if len(parts) == 1 else None
    if interval is not None:
        row["acceptance_length_low"], row["acceptance_length_high"] = interval.low, interval.high
    return row


def length_interval(acceptance: Acceptance) -> Interval | None:
    """What AL is known to lie in: its interval over prompts, or the bounds that the source leaves."""
    if acceptance.intervals is not None and acceptance.intervals.acceptance_length is not None:
        return acceptance.intervals.acceptance_length
    return acceptance.acceptance_length_bounds


_FIGURES: dict[str, Callable[[Part], float | None]] = {
    "acceptance_length": lambda part: part.acceptance.acceptance_length,
    "acceptance_rate": lambda part: part.acceptance.acceptance_rate,
    "tokens_per_step": lambda part: part.acceptance.tokens_per_step,
    "output_tokens_per_second": lambda part: part.speed.output_tokens_per_second,
    "user_tokens_per_second": lambda part: p.p50 if (p := part.speed.user_tokens_per_second) else None,
    "ttft_seconds": lambda part: p.p50 if (p := part.speed.ttft_seconds) else None,
}


def benchmark_of(manifest: Manifest, evaluation: Evaluation) -> str:
    """The prompt set; a run of a study bears the name of its whole configuration in its result."""
    return str(manifest.arguments.get("benchmark") or evaluation.benchmark)


def _overall(run: Run) -> Part:
    return run.evaluation.overall


def _parts(run: Run) -> dict[str, str]:
    """What a configuration is, piece by piece, in the order of names."""
    server, arguments = run.manifest.server, run.manifest.arguments
    load, request = arguments.get("load") or {}, arguments.get("request") or {}
    off = server.speculation == "off"
    return {
        "model": str(request.get("model") or ""),
        "engine": f"{server.engine or 'unknown engine'} {server.version or ''}".strip(),
        "benchmark": benchmark_of(run.manifest, run.evaluation),
        "method": "no speculation" if off else server.method or "speculation",
        "draft length": f"k={server.draft_length}" if server.draft_length and not off else "",
        "load": _load(load),
        "temperature": f"T={request['temperature']:g}" if request.get("temperature") is not None else "",
    }


def _load(load: dict[str, Any]) -> str:
    told = [f"c={load['concurrency']}"] if load.get("concurrency") else []
    told += [f"{load['request_rate']:g} prompts/s"] if load.get("request_rate") else []
    return " ".join(told)
