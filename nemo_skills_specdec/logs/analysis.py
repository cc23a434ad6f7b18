"""What a vLLM log says about acceptance: figures in all, per server, and beside the counters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import Snapshot
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.logs.figures import LogAcceptance, log_acceptance
from nemo_skills_specdec.logs.vllm_log import Absence, LogInterval, VllmLog, read_vllm_log
from nemo_skills_specdec.records import Finding

_REASONS: dict[Absence, str] = {
    "api_servers": "it ran with api_server_count > 1 (the default with data parallelism), where vLLM writes no "
    "statistics to the log; use /metrics (ns-specdec diff or eval), or --api-server-count 1",
    "log_stats": "it ran with --disable-log-stats; remove that flag, or use statistics inside the responses "
    "(ns-specdec eval)",
    "no_speculation": "the server ran without --speculative-config, so nothing was drafted",
    "old_engine": "its lines (`Speculative metrics:`) are those of vLLM's old engine, cumulative and without steps; "
    "use vLLM 0.8.5 or newer",
    "sglang": "this looks like a log of SGLang, which prints averages of the last iterations and no counts; use "
    "ns-specdec eval",
    "unknown": "likely causes: --disable-log-stats, api_server_count > 1 (the default with data parallelism), no "
    "speculation, no traffic for an interval (10 s), or not the log of a vLLM server",
}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the log beside that of the counters; None where one of them does not know it."""

    log: float | None
    counters: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The log beside the counters of one window.

    Attributes:
        figures: by name: `num_draft_tokens`, `num_accepted_tokens`, `num_drafts`, `acceptance_length`,
            `acceptance_rate`, and the per-position rates p1, p2, ...
        same_steps: T and A agree to the integer, so both describe the same steps.
        explanation: why they differ, or how far rounding alone moves the rates.
    """

    figures: dict[str, Difference]
    same_steps: bool
    explanation: str


class LogAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """A log, analysed.

    Attributes:
        acceptance: all intervals together.
        servers: each process that printed intervals, where there are several.
        torn_lines: numbers of the lines left out, because they are incomplete or contradict themselves.
        engines: data-parallel engines that the log names.
        comparison: None where no counters were given.
    """

    acceptance: LogAcceptance
    servers: dict[str, LogAcceptance]
    torn_lines: list[int]
    engines: int
    comparison: Comparison | None = None


def analyse_log(
    path: Path,
    *,
    since: str | None = None,
    until: str | None = None,
    before: Path | None = None,
    after: Path | None = None,
) -> LogAnalysis:
    """Reads and analyses a log.

    Args:
        path: the log of one or several vLLM servers.
        since: leave out lines printed before this `month-day hour:minute:second`.
        until: leave out lines printed after it.
        before: /metrics text at the start of the window to compare with; None takes counters that start at 0.
        after: /metrics text at its end; None compares with nothing.

    Raises:
        DataError: a file cannot be read, or the log holds no usable interval; the message says why.
    """
    log = read_vllm_log(_text(path))
    intervals = [line for line in log.intervals if _within(line, since, until)]
    if not intervals:
        raise DataError(_nothing(path, log, filtered=bool(log.intervals)))
    acceptance, refused = log_acceptance(intervals)
    if not acceptance.num_intervals:
        raise DataError(_nothing(path, log, filtered=False))
    torn = sorted({*log.torn_lines, *(line.line for line in refused)})
    refused_lines = {line.line for line in refused}
    by_server: dict[str, list[LogInterval]] = {}
    for line in intervals:
        if line.line not in refused_lines:
            by_server.setdefault(line.server, []).append(line)
    servers = {name: log_acceptance(lines)[0] for name, lines in by_server.items()} if len(by_server) > 1 else {}
    remarks = _findings(torn, log, acceptance, by_server)
    return LogAnalysis(
        acceptance=msgspec.structs.replace(acceptance, findings=[*acceptance.findings, *remarks]),
        servers=servers,
        torn_lines=torn,
        engines=log.engines,
        comparison=None if after is None else compare_with_counters(acceptance, _counters(before, after)),
    )


def compare_with_counters(log: LogAcceptance, counters: AcceptanceCounts) -> Comparison:
    """The log's figures beside exact ones, and why they differ."""
    positions = counters.per_position_acceptance_rates or ()
    ours = log.per_position_acceptance_rates or ()
    figures = {
        name: Difference(log=getattr(log, name), counters=getattr(counters, name))
        for name in (
            "num_draft_tokens",
            "num_accepted_tokens",
            "num_drafts",
            "acceptance_length",
            "acceptance_rate",
        )
    }
    for i in range(max(len(positions), len(ours))):
        figures[f"p{i + 1}"] = Difference(
            log=ours[i] if i < len(ours) else None, counters=positions[i] if i < len(positions) else None
        )
    more = log.num_draft_tokens - (counters.num_draft_tokens or 0)
    same = more == 0 and log.num_accepted_tokens == counters.num_accepted_tokens
    return Comparison(figures=figures, same_steps=same, explanation=_explanation(log, counters, same, more))


def _explanation(log: LogAcceptance, counters: AcceptanceCounts, same: bool, more: int) -> str:
    if same:
        text = "log and counters describe the same steps: what differs is the rounding of the log's figures"
        bounds, drafts = log.num_drafts_bounds, counters.num_drafts
        if bounds and drafts is not None and not bounds[0] <= drafts <= bounds[1]:
            text += f", but D = {drafts} lies outside what the log allows [{bounds[0]}, {bounds[1]}]"
        return text
    if more > 0:
        return (
            f"the log holds {more} drafted tokens more than the window of the counters: warm-up and other traffic "
            "outside it; cut the log with --since and --until, or trust the counters"
        )
    if more < 0:
        return (
            f"the log lacks {-more} drafted tokens of the window of the counters: an interval not yet printed when the "
            "log ended, torn lines, or a log of another server; trust the counters"
        )
    return "as many drafted, but not as many accepted tokens: log and counters are of different traffic"


def _findings(
    torn: Sequence[int], log: VllmLog, acceptance: LogAcceptance, by_server: dict[str, list[LogInterval]]
) -> list[Finding]:
    found = [
        Finding(
            code="log_covers_everything",
            severity="info",
            message="a log knows no window: warm-up and every other request are included, and the last interval is "
            "missing if the log ends before it is printed",
        )
    ]
    bounds = acceptance.num_drafts_bounds
    if acceptance.draft_length_fixed and bounds and bounds[0] != bounds[1]:
        found.append(
            Finding(
                code="log_steps_inferred",
                severity="info",
                message=f"D is T / K, with which every line agrees; the rounding of the lines alone leaves "
                f"{bounds[0]} to {bounds[1]}",
                numbers={"least": bounds[0], "most": bounds[1]},
            )
        )
    elif bounds and bounds[0] != bounds[1]:
        found.append(
            Finding(
                code="log_steps_rounded",
                severity="info",
                message=f"the log does not print D; its rounded figures leave {bounds[0]} to {bounds[1]}",
                numbers={"least": bounds[0], "most": bounds[1]},
            )
        )
    if torn:
        found.append(
            Finding(
                code="log_lines_torn",
                severity="warning",
                message=f"{len(torn)} lines are torn and left out (line {', '.join(map(str, torn[:5]))}"
                f"{', ...' if len(torn) > 5 else ''}): totals are too low by them",
                numbers={"lines": len(torn)},
            )
        )
    if len(by_server) > 1:
        lengths = {len(line.rates) for lines in by_server.values() for line in lines}
        alike = len(lengths) == 1
        found.append(
            Finding(
                code="log_several_servers",
                severity="info" if alike else "warning",
                message=f"the log is of {len(by_server)} server processes, summed here"
                + ("" if alike else "; their draft lengths differ, so read each by itself"),
                numbers={"servers": len(by_server)},
            )
        )
    if log.engines > 1:
        found.append(
            Finding(
                code="log_several_engines",
                severity="info",
                message=f"{log.engines} data-parallel engines print in turn; their intervals are summed",
                numbers={"engines": log.engines},
            )
        )
    return found


def _counters(before: Path | None, after: Path) -> AcceptanceCounts:
    first = Snapshot(url="the text before", taken_at=0.0, text="" if before is None else _text(before))
    reading = read_window([first], [Snapshot(url=str(after), taken_at=0.0, text=_text(after))])
    if reading.counts is None:
        reason = reading.findings[0].message if reading.findings else "they hold no counters of acceptance"
        raise DataError(f"cannot compare with the counters: {reason}")
    return reading.counts


def _within(interval: LogInterval, since: str | None, until: str | None) -> bool:
    if since is None and until is None:
        return True
    time = interval.time
    return time is not None and (since is None or time >= since) and (until is None or time <= until)


def _nothing(path: Path, log: VllmLog, *, filtered: bool) -> str:
    if filtered:
        return f"{path}: no interval lies between --since and --until; they read like 11-22 19:16:20"
    if log.torn_lines:
        return (
            f"{path}: all {len(log.torn_lines)} speculation lines are torn; give the whole log as the server wrote it"
        )
    return f"{path} has no line with `SpecDecoding metrics:`: {_REASONS[log.absence]}"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give the path of a saved text") from error
