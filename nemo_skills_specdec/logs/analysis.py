"""What a vLLM log says about acceptance: figures in all, per server, and beside the counters."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.logs.absence import REASONS
from nemo_skills_specdec.logs.figures import LogAcceptance, log_acceptance
from nemo_skills_specdec.logs.remarks import remarks
from nemo_skills_specdec.logs.times import between
from nemo_skills_specdec.logs.vllm_log import LogInterval, VllmLog, read_vllm_log


class LogDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the log beside that of the counters; None where one of them does not know it."""

    log: float | None
    counters: float | None


class CounterComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The log beside the counters of one window.

    Attributes:
        figures: by name: `num_draft_tokens`, `num_accepted_tokens`, `num_drafts`, `acceptance_length`,
            `acceptance_rate`, and the per-position rates p1, p2, ...
        same_steps: T and A agree to the integer, so both describe the same steps.
        explanation: why they differ, or how far rounding alone moves the rates.
    """

    figures: dict[str, LogDifference]
    same_steps: bool
    explanation: str


class LogAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """A log, analysed.

    Attributes:
        servers: each server or process that printed intervals, where there are several.
        torn_lines: numbers of the lines left out, because they are incomplete or contradict themselves.
        engines: data-parallel engines that the log names.
        comparison: None where no counters were given.
    """

    acceptance: LogAcceptance
    servers: dict[str, LogAcceptance]
    torn_lines: list[int]
    engines: int
    comparison: CounterComparison | None = None


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
        UsageError: `since` or `until` is not a time.
    """
    log = read_vllm_log(read_text(path))
    intervals = between(log.intervals, since, until)
    acceptance, refused = log_acceptance(intervals)
    torn = sorted({*log.torn_lines, *(line.line for line in refused)})
    if not acceptance.num_intervals:
        raise DataError(_nothing(path, log, torn, filtered=bool(log.intervals) and not intervals))
    unusable = set(refused)
    by_server: dict[str, list[LogInterval]] = {}
    for line in intervals:
        if line not in unusable:
            by_server.setdefault(line.server, []).append(line)
    untimed = sum(line.time is None for line in log.intervals) if since or until else 0
    found = remarks(log, acceptance, by_server, torn=torn, untimed=untimed)
    return LogAnalysis(
        acceptance=msgspec.structs.replace(acceptance, findings=[*acceptance.findings, *found]),
        servers={name: log_acceptance(lines)[0] for name, lines in by_server.items()} if len(by_server) > 1 else {},
        torn_lines=torn,
        engines=log.engines,
        comparison=None if after is None else compare_with_counters(acceptance, _counters(before, after)),
    )


def compare_with_counters(log: LogAcceptance, counters: AcceptanceCounts) -> CounterComparison:
    """The log's figures beside exact ones, and why they differ."""
    names = ("num_draft_tokens", "num_accepted_tokens", "num_drafts", "acceptance_length", "acceptance_rate")
    figures = {name: LogDifference(log=getattr(log, name), counters=getattr(counters, name)) for name in names}
    ours, positions = log.per_position_acceptance_rates or (), counters.per_position_acceptance_rates or ()
    for i in range(max(len(positions), len(ours))):
        figures[f"p{i + 1}"] = LogDifference(
            log=ours[i] if i < len(ours) else None, counters=positions[i] if i < len(positions) else None
        )
    more = log.num_draft_tokens - (counters.num_draft_tokens or 0)
    same = more == 0 and log.num_accepted_tokens == counters.num_accepted_tokens
    return CounterComparison(figures=figures, same_steps=same, explanation=_explanation(log, counters, same, more))


def read_text(path: Path) -> str:
    """The text of a file: UTF-8 or, as PowerShell's `>` writes it, UTF-16; what is neither is replaced.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give the path of a saved text") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        # Latin text has a zero in every second byte.
        zeros = [data[start:4096:2].count(0) > len(data[:4096]) // 5 for start in (0, 1)]
        encoding = {(False, True): "utf-16-le", (True, False): "utf-16-be"}.get((zeros[0], zeros[1]), "utf-8-sig")
    return data.decode(encoding, errors="replace")


def _explanation(log: LogAcceptance, counters: AcceptanceCounts, same: bool, more: int) -> str:
    if same:
        text = "Log and counters describe the same steps; what differs is the rounding of the log's figures"
        bounds, drafts = log.num_drafts_bounds, counters.num_drafts
        if bounds and drafts is not None and not bounds[0] <= drafts <= bounds[1]:
            text += f", but D = {drafts} lies outside what the log allows ({bounds[0]} to {bounds[1]})"
        return f"{text}."
    if more > 0:
        return (
            f"The log holds {more} more draft tokens than the window of the counters (warm-up and other traffic "
            "outside it); cut the log with --since and --until, or trust the counters."
        )
    if more < 0:
        return (
            f"The log holds {-more} fewer draft tokens than the window of the counters (an interval not yet printed "
            "when the log ended, torn lines, or a log of another server); trust the counters."
        )
    return "Draft tokens agree but accepted tokens do not, so log and counters are of different traffic."


def _counters(before: Path | None, after: Path) -> AcceptanceCounts:
    first = Snapshot(url="the text before", taken_at=0.0, text="" if before is None else read_text(before))
    reading = read_window([first], [Snapshot(url=str(after), taken_at=0.0, text=read_text(after))])
    if reading.counts is None:
        reason = reading.findings[0].message if reading.findings else "they hold no acceptance counters"
        raise DataError(f"cannot compare with the counters: {reason}")
    return reading.counts


def _nothing(path: Path, log: VllmLog, torn: Sequence[int], *, filtered: bool) -> str:
    if filtered:
        times = [line.time for line in log.intervals if line.time]
        span = f"; the log's run from {times[0]} to {times[-1]}" if times else ", and its lines have no times"
        return f"{path}: no interval lies between --since and --until{span}"
    if torn:
        return f"{path}: all {len(torn)} speculation lines are torn; give the whole log as the server wrote it"
    return f"{path} has no interval of speculation: {REASONS[log.absence]}"
