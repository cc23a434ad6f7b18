"""The report on one run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.measurement.result import Evaluation, Part
from nemo_skills_specdec.measurement.run import load_result, output_lines
from nemo_skills_specdec.measurement.run_directory import Manifest
from nemo_skills_specdec.records import Acceptance
from nemo_skills_specdec.report.answers import PromptLine, read_answers
from nemo_skills_specdec.report.configurations import benchmark_of, length_interval
from nemo_skills_specdec.report.page import Headline, Page, PageTable, Section, ShellLine
from nemo_skills_specdec.report.plot import UNKNOWN, Kind, value_text
from nemo_skills_specdec.report.run_plots import acceptance_plots
from nemo_skills_specdec.report.speed_plots import speed_plots
from nemo_skills_specdec.report.speed_tables import speed_tables
from nemo_skills_specdec.report.terminal import reached_rates
from nemo_skills_specdec.statistics import Average, Interval

SOURCES = {
    "response": "per-request statistics in the responses (exact)",
    "request_file": "SGLang's request-metric files (exact)",
    "counters": "difference of the server's counters (exact)",
    "bounds": "difference of the server's counters (only bounds)",
    "gauge_estimate": "a gauge (only an estimate)",
    None: "none: the server reports no acceptance",
}
"""Where acceptance comes from, in words."""

CONFIG = "config.yaml"


def run_page(directory: Path) -> Page:
    """Reads a run directory and says what there is to see.

    Raises:
        DataError: it is none, or a file of it cannot be read.
    """
    manifest, evaluation = load_result(directory)
    answers = read_answers(output_lines(directory, PromptLine))
    overall = evaluation.overall
    return Page(
        title=f"{benchmark_of(manifest, evaluation)}: {_what(manifest)}",
        subtitle=_subtitle(manifest),
        verdict=_verdict(evaluation),
        headlines=_headlines(overall),
        findings=overall.acceptance.findings,
        sections=[
            section
            for section in (
                Section(title="Acceptance", plots=acceptance_plots(evaluation, manifest.server, answers)),
                Section(title="Speed", plots=speed_plots(overall.speed, answers)),
                _numbers(evaluation),
                _repeat(directory, manifest),
            )
            if section.plots or section.tables or section.commands
        ],
        made_by=f"ns-specdec {__version__}",
    )


def interval_text(interval: Interval | None, kind: Kind = "number") -> str:
    """An interval as `1.98 to 2.08`; empty where there is none."""
    return "" if interval is None else f"{value_text(interval.low, kind)} to {value_text(interval.high, kind)}"


def _what(manifest: Manifest) -> str:
    server = manifest.server
    model = (manifest.arguments.get("request") or {}).get("model") or next(iter(server.models), "unknown model")
    method = "no speculation" if server.speculation == "off" else server.method or "speculation"
    length = f", draft length {server.draft_length}" if server.draft_length and server.speculation != "off" else ""
    return f"{model}, {method}{length}"


def _subtitle(manifest: Manifest) -> str:
    server, load = manifest.server, manifest.arguments.get("load") or {}
    request = manifest.arguments.get("request") or {}
    parts = [f"{server.engine or 'unknown engine'} {server.version or ''}".strip()]
    if load.get("concurrency"):
        parts.append(f"concurrency {load['concurrency']}")
    if load.get("request_rate"):
        parts.append(f"{load['request_rate']:g} prompts/s")
    if request.get("temperature") is not None:
        parts.append(f"temperature {request['temperature']:g}")
    if request.get("max_tokens"):
        parts.append(f"at most {request['max_tokens']} tokens")
    return f"{', '.join(parts)}. Started {manifest.started_at[:19].replace('T', ' ')} UTC."


def _verdict(evaluation: Evaluation) -> str:
    overall = evaluation.overall
    acceptance, speed = overall.acceptance, overall.speed
    told = []
    if not evaluation.valid:
        told.append("These numbers must not be used: see the findings.")
    if evaluation.status == "interrupted":
        told.append("The run was interrupted; this is what it measured until then.")
    if acceptance.acceptance_length is not None:
        interval = length_interval(acceptance)
        within = f" ({'95 % interval ' if acceptance.acceptance_length_bounds is None else 'between '}"
        within += f"{interval_text(interval)})" if interval is not None else ""
        told.append(
            f"On average {acceptance.acceptance_length:.2f} tokens come out of a verification step"
            f"{within if interval is not None else ''}."
        )
    elif acceptance.source is None:
        told.append("The server reports no acceptance.")
    if speed.output_tokens_per_second is not None:
        told.append(f"All users together get {value_text(speed.output_tokens_per_second, 'speed')} tokens per second.")
    return " ".join(told)


def _headlines(overall: Part) -> list[Headline]:
    acceptance, speed = overall.acceptance, overall.speed
    found = []
    if acceptance.acceptance_length is not None:
        interval = length_interval(acceptance)
        kind = "bounds" if acceptance.acceptance_length_bounds is not None else "95 % interval"
        found.append(
            Headline(
                name="acceptance length",
                value=f"{acceptance.acceptance_length:.3f}",
                detail=f"{kind} {interval_text(interval)}" if interval else "no interval",
            )
        )
    if acceptance.acceptance_rate is not None:
        ends = acceptance.intervals.acceptance_rate if acceptance.intervals is not None else None
        ends = ends or acceptance.acceptance_rate_bounds
        found.append(
            Headline(
                name="acceptance rate",
                value=value_text(acceptance.acceptance_rate, "share"),
                detail=interval_text(ends, "share"),
            )
        )
    if acceptance.tokens_per_step is not None:
        found.append(
            Headline(
                name="tokens per step",
                value=f"{acceptance.tokens_per_step:.3f}",
                detail="steps without drafts included",
            )
        )
    if speed.output_tokens_per_second is not None:
        detail = f"tokens/s in {speed.wall_seconds:.1f} s"
        value = value_text(speed.output_tokens_per_second, "speed")
        found.append(Headline(name="throughput", value=value, detail=detail))
    if speed.user_tokens_per_second is not None:
        user = speed.user_tokens_per_second
        detail = f"p50; p90 {value_text(user.p90, 'speed')}, p99 {value_text(user.p99, 'speed')}"
        found.append(Headline(name="tok/s per user", value=value_text(user.p50, "speed"), detail=detail))
    if speed.ttft_seconds is not None:
        ttft = speed.ttft_seconds
        detail = f"p50; p90 {value_text(ttft.p90, 'seconds')}, p99 {value_text(ttft.p99, 'seconds')}"
        found.append(Headline(name="TTFT", value=value_text(ttft.p50, "seconds"), detail=detail))
    failed = f", {overall.num_failed:,} failed" if overall.num_failed else ", none failed"
    found.append(
        Headline(name="prompts", value=f"{overall.num_prompts:,}", detail=f"{overall.num_requests:,} requests{failed}")
    )
    return found


def _numbers(evaluation: Evaluation) -> Section:
    return Section(
        title="Numbers",
        tables=[
            _category_table(evaluation),
            _averages_table(evaluation),
            *speed_tables(evaluation.overall),
            _sources_table(evaluation),
        ],
    )


def _category_table(evaluation: Evaluation) -> PageTable:
    parts = {**evaluation.categories, "all, pooled": evaluation.overall}
    positions = max((len(p.acceptance.conditional_acceptance_rates or ()) for p in parts.values()), default=0)
    letter = "c" if reached_rates(evaluation.overall.acceptance) is None else "r"
    rows = []
    for name, part in parts.items():
        acceptance, conditional = part.acceptance, _conditional(part.acceptance, letter)
        user, ttft = part.speed.user_tokens_per_second, part.speed.ttft_seconds
        rows.append(
            [
                name,
                f"{part.num_prompts:,}",
                f"{part.num_failed:,}",
                value_text(acceptance.num_drafts, "count"),
                value_text(acceptance.acceptance_length, "number"),
                interval_text(length_interval(acceptance)) or UNKNOWN,
                value_text(acceptance.acceptance_rate, "share"),
                *(value_text(conditional[i] if i < len(conditional) else None, "number") for i in range(positions)),
                value_text(user.p50 if user else None, "speed"),
                value_text(ttft.p50 if ttft else None, "seconds"),
            ]
        )
    head = ["category", "prompts", "failed", "D", "AL", "95 % interval", "AR"]
    head += [*(f"{letter}{i + 1}" for i in range(positions)), "tok/s per user", "TTFT"]
    note = f"Source: {SOURCES[evaluation.overall.acceptance.source]}. Speeds and TTFT are medians."
    return PageTable(title="By category", head=head, rows=rows, note=note)


def _conditional(acceptance: Acceptance, letter: str) -> Sequence[float | None]:
    """c_i, or r_i of the steps that drafted the position."""
    reached = acceptance.reached_conditional_acceptance_rates if letter == "r" else None
    return reached or acceptance.conditional_acceptance_rates or ()


def _averages_table(evaluation: Evaluation) -> PageTable:
    averages = evaluation.averages
    named = [
        ("pooled", averages.pooled),
        ("request mean", averages.request_mean),
        ("category macro", averages.category_macro),
    ]
    return PageTable(
        title="Three averages",
        head=["average", "acceptance length", "95 % interval", "acceptance rate"],
        rows=[_average_row(name, average) for name, average in named],
        note="Published figures use all three, often without saying which; compare like with like.",
    )


def _average_row(name: str, average: Average) -> list[str]:
    return [
        name,
        value_text(average.acceptance_length, "number"),
        interval_text(average.acceptance_length_interval) or UNKNOWN,
        value_text(average.acceptance_rate, "share"),
    ]


def _sources_table(evaluation: Evaluation) -> PageTable:
    rows = [
        [
            SOURCES.get(name, name),
            value_text(told.num_drafts, "count"),
            value_text(told.num_draft_tokens, "count"),
            value_text(told.num_accepted_tokens, "count"),
            value_text(told.acceptance_length, "number"),
            interval_text(told.acceptance_length_bounds) or UNKNOWN,
        ]
        for name, told in evaluation.sources.items()
    ]
    return PageTable(
        title="The same figure from every source",
        head=["source", "verification steps", "draft tokens", "accepted tokens", "acceptance length", "bounds"],
        rows=rows,
    )


def _repeat(directory: Path, manifest: Manifest) -> Section:
    commands = []
    if (directory / CONFIG).is_file():
        line = shlex.join(["ns-specdec", "experiment", str(directory / CONFIG)])
        commands.append(ShellLine(title="Measure again, with all of these settings", line=line))
    server_command = manifest.arguments.get("command")
    if isinstance(server_command, Sequence) and server_command and not isinstance(server_command, str):
        line = shlex.join(str(word) for word in server_command)
        commands.append(ShellLine(title="The server was started with", line=line))
    settings = dict(_flattened(manifest.arguments, skip={"command", "remarks"}))
    server = manifest.server
    told = {
        "engine": server.engine,
        "version": server.version,
        "models": ", ".join(server.models),
        "speculation": server.speculation,
        "method": server.method,
        "draft_length": server.draft_length,
        **{f"settings.{name}": value for name, value in _flattened(server.settings)},
    }
    versions = {
        "ns-specdec": manifest.tool_version,
        "Python": manifest.python_version,
        "platform": manifest.platform,
        **manifest.package_versions,
        "prompts": f"{len(manifest.prompts_sha256):,}, their SHA-256 in manifest.json",
    }
    return Section(
        title="Repeat this run",
        commands=commands,
        tables=[
            _settings_table("What the server said about itself", told),
            _settings_table("Settings", settings),
            _settings_table("Versions", versions),
        ],
    )


def _settings_table(title: str, values: dict[str, Any]) -> PageTable:
    rows = [[name, _setting(value)] for name, value in values.items() if value not in (None, "", [], {})]
    return PageTable(title=title, head=["setting", "value"], rows=rows, folded=True)


def _setting(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _flattened(values: dict[str, Any], *, skip: Iterable[str] = (), prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if name in skip:
            continue
        if isinstance(value, dict):
            yield from _flattened(value, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
