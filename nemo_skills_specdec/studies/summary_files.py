"""The summary of a study as files: `summary.csv` for programs, `summary.md` for people, `summary.json` for both."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.compare.speedup import Speedup
from nemo_skills_specdec.engines.remarks import ENGINE_SPECIFIC
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.shown import csv_cell, markdown
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.studies.study import find_runs
from nemo_skills_specdec.studies.summary import OVERALL, Row, Summary, summarize

FEW_STEPS = 100
"""Verification steps below which a category's acceptance length is shown with their number."""
NOISE_UNKNOWN = (
    "Runs were made once, so the noise from run to run is unknown and in no interval of a speedup, though it may be "
    "larger than they are; give --repeats 3."
)
CSV, MARKDOWN, JSON = "summary.csv", "summary.md", "summary.json"

_DEFINITIONS = """\
AL is the acceptance length 1 + A/D, the bonus token included, with its 95 % interval over prompts. AR is the acceptance
rate A/T, also called draft efficiency. Verification efficiency is (D + A)/(D + T), tokens that came out of verification
steps per token verified. tok/s is the throughput, completion tokens of all answers over wall time; ms/token is the mean
time per output token after the first; TTFT is the median.

Speedups compare with the study's own run without speculation, on the prompts that both answered, only where prompts,
sampling, load, server and engine version are the same. "user" is tokens per second while an answer is being written;
"total" is tokens per second of request time, waiting and prompt processing included, which in a closed loop of equal
concurrency is the throughput. Intervals are 95 % bootstrap intervals over prompts, paired: they hold the noise between
prompts, not that from run to run. Those over all repetitions hold both. Below five prompts there is no speedup.

tokens/step is the number of tokens per decode step, steps without a draft included: what a user feels. AL beside a
number of steps D rests on that few.
"""


def write_summary(study: Path) -> Summary:
    """Sums up a study directory and writes the three files into it.

    Raises:
        DataError: a finished run cannot be read.
    """
    summary = summarize(find_runs(study))
    write_atomically(study / CSV, to_csv(summary).encode())
    write_atomically(study / JSON, pretty(to_json(summary, study)))
    write_atomically(study / MARKDOWN, to_markdown(summary, study).encode())
    return summary


def record_of(row: Row) -> dict[str, Any]:
    """A row as flat fields; unknown values are None, lists stay lists. Times are in the units of their names."""
    config, part, acceptance, speed = row.run.config, row.part, row.part.acceptance, row.part.speed
    length = acceptance.intervals.acceptance_length if acceptance.intervals is not None else None
    user, ttft, tpot = speed.user_tokens_per_second, speed.ttft_seconds, speed.tpot_seconds
    return {
        "model": config.model.label,
        "engine": config.server.engine,
        "engine_version": row.run.manifest.server.version if row.run.manifest is not None else None,
        "method": config.method.name,
        "draft_length": config.method.length,
        "drafter": config.method.drafter,
        "benchmark": config.benchmark.label,
        "temperature": config.sampling.temperature,
        "max_tokens": config.sampling.max_tokens,
        "concurrency": config.load.in_flight,
        "request_rate": config.load.request_rate,
        "repeat": config.repeat,
        "category": row.category,
        "prompts": part.num_prompts,
        "requests": part.num_requests,
        "failed": part.num_failed,
        "wall_seconds": speed.wall_seconds,
        "completion_tokens": speed.completion_tokens,
        "output_tokens_per_second": speed.output_tokens_per_second,
        "user_tokens_per_second_mean": user.mean if user else None,
        "ms_per_token_mean": tpot.mean * 1000 if tpot else None,
        "ttft_ms_mean": ttft.mean * 1000 if ttft else None,
        "ttft_ms_p50": ttft.p50 * 1000 if ttft else None,
        "ttft_ms_p99": ttft.p99 * 1000 if ttft else None,
        "source": acceptance.source,
        "num_drafts": acceptance.num_drafts,
        "num_draft_tokens": acceptance.num_draft_tokens,
        "num_accepted_tokens": acceptance.num_accepted_tokens,
        "acceptance_length": acceptance.acceptance_length,
        "acceptance_length_low": length.low if length else None,
        "acceptance_length_high": length.high if length else None,
        "acceptance_rate": acceptance.acceptance_rate,
        "tokens_per_step": acceptance.tokens_per_step,
        "per_position_acceptance_rates": acceptance.per_position_acceptance_rates,
        "conditional_acceptance_rates": acceptance.conditional_acceptance_rates,
        "draft_efficiency": acceptance.acceptance_rate,
        "verification_efficiency": row.verification_efficiency,
        **_speedup_fields(row.speedup),
        "findings": [f"{finding.severity}:{finding.code}" for finding in acceptance.findings],
        "run": row.run.directory.name,
    }


def to_csv(summary: Summary) -> str:
    """One line a row. Lists are separated by spaces, an undefined entry in them is `null`; unknown values are empty."""
    records = [record_of(row) for row in summary.rows]
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in record.items()} for record in records)
    return text.getvalue()


def to_json(summary: Summary, study: Path) -> dict[str, Any]:
    """All of the summary as plain data; paths are relative to the study."""
    return {
        "rows": [record_of(row) for row in summary.rows],
        "repeated": msgspec.to_builtins(summary.repeated),
        "noise_unknown": summary.noise_unknown,
        "not_done": [
            {"run": str(run.directory.relative_to(study)), "state": run.state, "error": run.error}
            for run in summary.not_done
        ],
    }


def to_markdown(summary: Summary, study: Path) -> str:
    """Tables for people: runs, speedups and acceptance by category, repetitions, what is missing."""
    overall = [row for row in summary.rows if row.category == OVERALL]
    lines = [f"# {markdown(study.name)}", ""]
    for title, rows in _groups(overall).items():
        lines += [f"## {markdown(title)}", "", *_runs_table(rows), ""]
        inner = {id(row.run): row for row in rows}
        parts = [row for row in summary.rows if row.category != OVERALL and id(row.run) in inner]
        if len({row.category for row in parts}) > 1:
            lines += ["By category: acceptance length", "", *_category_table(parts, rows, _length_and_steps), ""]
            if any(row.speedup.user is not None for row in parts):
                lines += ["By category: speedup (user)", "", *_category_table(parts, rows, _user), ""]
            if any(row.speedup.total is not None for row in parts):
                lines += ["By category: speedup (total)", "", *_category_table(parts, rows, _total), ""]
    if summary.repeated:
        lines += ["## From run to run", "", *_repeat_table(summary), ""]
        if any(repeated.speedup is not None for repeated in summary.repeated):
            lines += ["Speedup over all repetitions:", "", *_repeated_speedups(summary), ""]
    if summary.noise_unknown:
        lines += [NOISE_UNKNOWN, ""]
    if summary.not_done:
        lines += ["## Not done", "", *_table(["run", "state", "why"], _missing(summary)), ""]
    engines = {row.run.config.server.engine for row in overall}
    remarks = sorted(
        {
            (finding.severity, finding.message)
            for row in overall
            for finding in row.part.acceptance.findings
            if finding.severity != "info" or (len(engines) > 1 and finding.code in ENGINE_SPECIFIC)
        }
    )
    serious = [f"* {severity}: {markdown(message)}" for severity, message in remarks]
    if serious:
        lines += ["## Remarks", "", *serious, ""]
    return "\n".join([*lines, "## What the figures mean", "", _DEFINITIONS])


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        config = row.run.config
        load = f"concurrency {config.load.in_flight}" if config.load.in_flight else "no concurrency limit"
        if config.load.request_rate is not None:
            load += f", {config.load.request_rate:g} prompts/s"
        version = row.run.manifest.server.version if row.run.manifest is not None else None
        title = (
            f"{config.model.label} on {config.server.engine} {version or ''}, {config.benchmark.label}, "
            f"temperature {config.sampling.temperature:g}, at most {config.sampling.max_tokens} tokens, {load}"
        )
        groups.setdefault(" ".join(title.split()).replace(" ,", ","), []).append(row)
    return groups


def _label(row: Row) -> str:
    """The method, and the number of a repetition after the first."""
    config = row.run.config
    return config.method.label + (f" #{config.repeat}" if config.repeat else "")


def _runs_table(rows: Sequence[Row]) -> list[str]:
    header = [
        *("method", "prompts", "failed", "wall s", "tok/s", "ms/token", "TTFT ms", "AL", "tokens/step", "AR %"),
        *("verification eff.", "per position", "conditional", "speedup (user)", "speedup (total)"),
    ]
    body = []
    for row in rows:
        record, acceptance = record_of(row), row.part.acceptance
        body.append(
            [
                _label(row),
                str(record["prompts"]),
                str(record["failed"]),
                _number(record["wall_seconds"], 1),
                _number(record["output_tokens_per_second"], 1),
                _number(record["ms_per_token_mean"], 2),
                _number(record["ttft_ms_p50"], 0),
                _length(row),
                _number(acceptance.tokens_per_step, 2),
                _number(_times(acceptance.acceptance_rate, 100), 1),
                _number(row.verification_efficiency, 3),
                _list(acceptance.per_position_acceptance_rates),
                _list(acceptance.conditional_acceptance_rates),
                _user(row),
                _total(row),
            ]
        )
    notes = dict.fromkeys(
        f"{_label(row)}: no speedup, because {row.speedup.reason}."
        for row in rows
        if row.speedup.reason is not None and row.run.config.method.name != "none"
    )
    notes |= dict.fromkeys(
        f"{_label(row)}: {row.speedup.left_out} prompts count in no speedup, since one of the two runs "
        "did not answer them completely."
        for row in rows
        if row.speedup.left_out and row.speedup.prompts
    )
    notes |= dict.fromkeys(
        f"{_label(row)}: no speedup (user), because {row.speedup.user_reason}."
        for row in rows
        if row.speedup.user_reason is not None
    )
    notes |= dict.fromkeys(
        f"{_label(row)}: {100 * row.speedup.same_text:.0f} % of the answers are the baseline's, character by character."
        for row in rows
        if row.speedup.same_text is not None and row.run.config.sampling.temperature == 0
    )
    return [*_table(header, body), *(["", *(f"* {markdown(note)}" for note in notes)] if notes else [])]


def _category_table(parts: Sequence[Row], runs: Sequence[Row], cell: Callable[[Row], str]) -> list[str]:
    """Categories down, runs across."""
    cells = {(row.category, id(row.run)): cell(row) for row in parts}
    shown = [row for row in runs if row.run.config.method.name != "none"]
    header = ["category", *map(_label, shown)]
    categories = list(dict.fromkeys(row.category for row in parts))
    return _table(header, [[name, *(cells.get((name, id(row.run)), "-") for row in shown)] for name in categories])


def _repeat_table(summary: Summary) -> list[str]:
    body = [
        [
            repeated.label,
            name,
            str(told.runs),
            f"{told.mean:.3f}",
            _number(told.deviation, 3),
            f"{told.low:.3f} to {told.high:.3f}",
        ]
        for repeated in summary.repeated
        for name, told in repeated.figures.items()
    ]
    return _table(["run", "figure", "runs", "mean", "standard deviation", "range"], body)


def _repeated_speedups(summary: Summary) -> list[str]:
    body = []
    for repeated in summary.repeated:
        if (found := repeated.speedup) is not None:
            runs = f"{found.runs} against {found.baseline_runs}"
            user = "-" if found.user is None else _with_interval(found.user, found.user_interval)
            total = "-" if found.total is None else _with_interval(found.total, found.total_interval)
            body.append([repeated.label, runs, user, total])
    return _table(["run", "runs", "speedup (user)", "speedup (total)"], body)


def _missing(summary: Summary) -> list[list[str]]:
    return [[run.config.label, run.state, (run.error or "-").splitlines()[0]] for run in summary.not_done]


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [list(map(markdown, header)), ["---"] * len(header), *(list(map(markdown, line)) for line in body)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _speedup_fields(speedup: Speedup) -> dict[str, Any]:
    user, total = speedup.user_interval, speedup.total_interval
    return {
        "speedup_user": speedup.user,
        "speedup_user_low": user.low if user else None,
        "speedup_user_high": user.high if user else None,
        "speedup_total": speedup.total,
        "speedup_total_low": total.low if total else None,
        "speedup_total_high": total.high if total else None,
        "speedup_prompts": speedup.prompts,
        "speedup_left_out": speedup.left_out,
        "speedup_untimed": speedup.untimed,
        "same_text": speedup.same_text,
        "speedup_reason": speedup.reason or speedup.user_reason or speedup.total_reason,
    }


def _length(row: Row) -> str:
    acceptance = row.part.acceptance
    if acceptance.acceptance_length is None:
        return "-"
    interval = acceptance.intervals.acceptance_length if acceptance.intervals is not None else None
    return _with_interval(acceptance.acceptance_length, interval or acceptance.acceptance_length_bounds)


def _length_and_steps(row: Row) -> str:
    """The acceptance length; with few verification steps also their number D, which says what it rests on."""
    drafts = row.part.acceptance.num_drafts
    return _length(row) + (f", D {drafts}" if drafts is not None and drafts < FEW_STEPS else "")


def _user(row: Row) -> str:
    return _speedup(row.speedup.user, row.speedup.user_interval)


def _total(row: Row) -> str:
    return _speedup(row.speedup.total, row.speedup.total_interval)


def _speedup(value: float | None, interval: Interval | None) -> str:
    """A speedup without an interval rests on less than five prompts, and is none to show."""
    return "-" if value is None or interval is None else _with_interval(value, interval)


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.2f}" if interval is None else f"{value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _list(values: Sequence[float | None] | None) -> str:
    return "-" if not values else " ".join("-" if value is None else f"{value:.2f}" for value in values)


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return csv_cell(" ".join("null" if item is None else str(item) for item in value))
    return "" if value is None else csv_cell(value)
