"""`summary.csv`: the figures of a report's runs, a line for each run and one for each of its categories."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from nemo_skills_specdec.measurement.result import Evaluation, Part
from nemo_skills_specdec.measurement.speed import Percentiles
from nemo_skills_specdec.records import Acceptance
from nemo_skills_specdec.shown import csv_cell

OVERALL = "overall"


def summary_csv(runs: Mapping[str, Evaluation]) -> str:
    """Unknown values are empty; lists are separated by spaces, with `null` for what is undefined.

    Args:
        runs: by the name of its run.
    """
    rows = [
        {"run": name, "category": category, **_fields(part)}
        for name, evaluation in runs.items()
        for category, part in {OVERALL: evaluation.overall, **evaluation.categories}.items()
    ]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _fields(part: Part) -> dict[str, Any]:
    speed = part.speed
    return {
        "prompts": part.num_prompts,
        "requests": part.num_requests,
        "failed": part.num_failed,
        **_acceptance(part.acceptance),
        "wall_seconds": speed.wall_seconds,
        "completion_tokens": speed.completion_tokens,
        "output_tokens_per_second": speed.output_tokens_per_second,
        **_percentiles("user_tokens_per_second", speed.user_tokens_per_second),
        **_percentiles("ttft_seconds", speed.ttft_seconds),
        **_percentiles("tpot_seconds", speed.tpot_seconds),
        **_percentiles("end_to_end_seconds", speed.end_to_end_seconds),
        "findings": [f"{finding.severity}:{finding.code}" for finding in part.acceptance.findings],
    }


def _acceptance(acceptance: Acceptance) -> dict[str, Any]:
    length = acceptance.intervals.acceptance_length if acceptance.intervals is not None else None
    names = ("source", "num_drafts", "num_draft_tokens", "num_accepted_tokens", "acceptance_length")
    return {
        **{name: getattr(acceptance, name) for name in names},
        "acceptance_length_low": length.low if length else None,
        "acceptance_length_high": length.high if length else None,
        "acceptance_rate": acceptance.acceptance_rate,
        "per_position_acceptance_rates": acceptance.per_position_acceptance_rates,
        "conditional_acceptance_rates": acceptance.conditional_acceptance_rates,
        "tokens_per_step": acceptance.tokens_per_step,
    }


def _percentiles(name: str, found: Percentiles | None) -> dict[str, float | None]:
    return {f"{name}_{which}": getattr(found, which) if found else None for which in ("mean", "p50", "p90", "p99")}


def _cell(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join("null" if item is None else str(item) for item in value)
    return csv_cell(value)
