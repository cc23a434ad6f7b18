"""A run as flat figures: what every experiment tracker understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.measurement.result import Evaluation, Part
from nemo_skills_specdec.measurement.run import load_result
from nemo_skills_specdec.measurement.run_directory import METRICS, Manifest
from nemo_skills_specdec.statistics import Interval

_COUNTS = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
_TIMES = ("ttft_seconds", "tpot_seconds", "end_to_end_seconds", "user_tokens_per_second")


class FlatRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        name: of its directory.
        settings: what was asked of what, as far as it is known; texts and numbers.
        figures: of the whole run, by their names in `metrics.json` and beside it `_low` and `_high`.
        categories: the same of each category.
        valid: whether no finding says that the figures must not be used.
        findings: `severity:code`.
        result: the path of `metrics.json`.
    """

    name: str
    settings: dict[str, str | int | float]
    figures: dict[str, float]
    categories: dict[str, dict[str, float]]
    valid: bool
    findings: list[str]
    started_at: str
    ended_at: str
    result: Path


def flat_run(directory: Path) -> FlatRun:
    """Reads a run directory.

    Raises:
        DataError: it is no finished run, or a file of it cannot be read.
    """
    manifest, evaluation = load_result(directory)
    return FlatRun(
        name=directory.resolve().name,
        settings=_settings(manifest, evaluation),
        figures={**figures_of_part(evaluation.overall), **_averages(evaluation)},
        categories={name: figures_of_part(part) for name, part in evaluation.categories.items()},
        valid=evaluation.valid,
        findings=[f"{finding.severity}:{finding.code}" for finding in evaluation.overall.acceptance.findings],
        started_at=manifest.started_at,
        ended_at=manifest.ended_at or manifest.started_at,
        result=directory / METRICS,
    )


def figures_of_part(part: Part) -> dict[str, float]:
    """The figures of a category or of everything; unknown ones are left out."""
    acceptance, speed = part.acceptance, part.speed
    found: dict[str, float | None] = {
        "num_prompts": part.num_prompts,
        "num_requests": part.num_requests,
        "num_failed": part.num_failed,
        **{name: getattr(acceptance, name) for name in _COUNTS},
    }
    intervals = acceptance.intervals
    for name, bounds in (
        ("acceptance_length", acceptance.acceptance_length_bounds),
        ("acceptance_rate", acceptance.acceptance_rate_bounds),
    ):
        interval = bounds or (getattr(intervals, name) if intervals is not None else None)
        found |= {name: getattr(acceptance, name), **_ends(name, interval)}
    for position, rate in enumerate(acceptance.per_position_acceptance_rates or (), 1):
        found[f"acceptance_rate_position_{position}"] = rate
    found |= {
        "tokens_per_step": acceptance.tokens_per_step,
        "wall_seconds": speed.wall_seconds,
        "completion_tokens": speed.completion_tokens,
        "output_tokens_per_second": speed.output_tokens_per_second,
    }
    for name in _TIMES:
        percentiles = getattr(speed, name)
        for which in ("mean", "p50", "p90", "p99"):
            found[f"{name}_{which}"] = getattr(percentiles, which) if percentiles is not None else None
    return {name: value for name, value in found.items() if value is not None}


def _averages(evaluation: Evaluation) -> dict[str, float]:
    named = {"request_mean": evaluation.averages.request_mean, "category_macro": evaluation.averages.category_macro}
    found: dict[str, float | None] = {}
    for name, average in named.items():
        key = f"acceptance_length_{name}"
        found |= {key: average.acceptance_length, **_ends(key, average.acceptance_length_interval)}
    return {name: value for name, value in found.items() if value is not None}


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high} if interval is not None else {}


def _settings(manifest: Manifest, evaluation: Evaluation) -> dict[str, str | int | float]:
    server, arguments = manifest.server, manifest.arguments
    request, load = arguments.get("request") or {}, arguments.get("load") or {}
    told: dict[str, Any] = {
        "benchmark": evaluation.benchmark,
        "status": evaluation.status,
        "engine": server.engine,
        "engine_version": server.version,
        "model": request.get("model"),
        "method": "none" if server.speculation == "off" else server.method,
        "draft_length": server.draft_length,
        "source": evaluation.overall.acceptance.source,
        **{name: request.get(name) for name in ("temperature", "top_p", "max_tokens", "seed", "api", "stream", "n")},
        **{name: load.get(name) for name in ("concurrency", "request_rate")},
        "ns_specdec_version": manifest.tool_version,
    }
    return {name: value for name, value in told.items() if isinstance(value, str | int | float)}
