"""A vLLM server log to its speculation intervals: pure text to data, tolerant of what happens to logs.

Every `VLLM_LOG_STATS_INTERVAL` seconds (10 by default) an engine that verified drafts prints one line and starts to
count anew. Three forms exist:

    0.8.0 - 0.8.4    Draft acceptance rate, Accepted, Drafted (printed when idle too, with nan)
    0.8.5 - 0.10.1   the same and Mean acceptance length (before 0.9 without the bonus token), Per-position ... rate
    since 0.10.2     Mean acceptance length first, two throughputs, Accepted, Drafted, Per-position ..., Avg Draft ...

Accepted and Drafted are exact integers. The lengths have 2 decimals, the per-position rates 3, the acceptance rate, in
percent, 1. The last two are the check that a line is whole: a line that contradicts itself was torn, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import msgspec

MARK = "SpecDecoding metrics:"
_COLOUR = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_HEADER = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b:?(?:\s+(\d\d-\d\d \d\d:\d\d:\d\d)\b|\s)")
_PROCESS = re.compile(r"\(\w+ pid=\d+\)")
_CONTAINER = re.compile(r"^\s*([\w.-]+)\s*\|")
_ENGINE = re.compile(r"\bEngine (\d{3,}):")
_ACCEPTED = re.compile(r"\bAccepted: (\d+) tokens\b")
_DRAFTED = re.compile(r"\bDrafted: (\d+) tokens\b")
_LENGTH = re.compile(r"\bMean acceptance length: (\d+\.\d\d|nan)(?![\d.])")
_SHARE = re.compile(r"\bDraft acceptance rate: (\d+\.\d|nan)%")
_POSITIONS = re.compile(r"\bPer-position acceptance rate: (\d\.\d{3}(?:, \d\.\d{3})*)(, Avg Draft\b|(?=\s|$))")
_WRAPPED_LINES = 8
"""Physical lines that one record can be spread over by a terminal or a pager."""

Absence = Literal["api_servers", "log_stats", "no_speculation", "old_engine", "sglang", "unknown"]
"""Why a log has no intervals, as far as the log itself says."""


class LogInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What one line says.

    Attributes:
        line: its number in the file, from 1.
        time: its time, `month-day hour:minute:second` (vLLM writes no year); None where cut off.
        server: the process that printed it, with its container's name where there is one; empty where nothing is said.
        num_draft_tokens: T, exact.
        num_accepted_tokens: A, exact.
        length: the printed mean acceptance length, as text, since its rounding matters; None before 0.8.5.
        rates: the printed per-position rates, as texts; empty before 0.8.5.
    """

    line: int
    time: str | None
    server: str
    num_draft_tokens: int
    num_accepted_tokens: int
    length: str | None
    rates: tuple[str, ...]


class VllmLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log, read.

    Attributes:
        intervals: in the file's order.
        torn_lines: numbers of the lines that hold a record which is incomplete or contradicts itself.
        engines: data-parallel engines that the throughput lines name.
        absence: why there may be no intervals.
    """

    intervals: list[LogInterval]
    torn_lines: list[int]
    engines: int
    absence: Absence


def read_vllm_log(text: str) -> VllmLog:
    """Reads a whole log: several servers, data-parallel engines, colour codes, wrapped and torn lines."""
    lines = [_COLOUR.sub("", line).rstrip("\r") for line in text.split("\n")]
    intervals: list[LogInterval] = []
    torn: list[int] = []
    for number, line in enumerate(lines):
        after = number + 1
        if MARK not in line:
            # A terminal may have wrapped the mark itself.
            if MARK in "".join(lines[after : after + 1]) or MARK not in line + "".join(lines[after : after + 1]):
                continue
            line, after = line + lines[after], after + 1
        # Two processes that write at once can put two records on one line.
        head, *records = line.split(MARK)
        for index, record in enumerate(records):
            followers = lines[after : after + _WRAPPED_LINES] if index == len(records) - 1 else []
            found = next((f for f in map(_fields, _readings(record, followers)) if f is not None), None)
            if found is None:
                torn.append(number + 1)
            elif found.num_draft_tokens:
                where = head if index == 0 else records[index - 1]
                intervals.append(
                    LogInterval(
                        line=number + 1,
                        time=_time(where),
                        server=_server(where, line),
                        num_draft_tokens=found.num_draft_tokens,
                        num_accepted_tokens=found.num_accepted_tokens,
                        length=found.length,
                        rates=found.rates,
                    )
                )
    engines = {match[1] for line in lines for match in _ENGINE.finditer(line)}
    return VllmLog(intervals=intervals, torn_lines=torn, engines=len(engines), absence=_absence(text))


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    num_draft_tokens: int
    num_accepted_tokens: int
    length: str | None
    rates: tuple[str, ...]


def _readings(record: str, followers: list[str]) -> Iterator[str]:
    """The record as it stands, then with the lines after it, as long as they are no lines of their own."""
    yield record
    tight = spaced = record
    for line in followers:
        if MARK in line or _HEADER.search(line):
            return
        tight, spaced = tight + line, f"{spaced.rstrip()} {line.lstrip()}"
        yield tight
        yield spaced


def _fields(record: str) -> _Fields | None:
    """The fields of a record, whatever their order; None unless it is complete and agrees with itself."""
    accepted, drafted, share = _ACCEPTED.search(record), _DRAFTED.search(record), _SHARE.search(record)
    if accepted is None or drafted is None or share is None:
        return None
    tokens, proposed = int(accepted[1]), int(drafted[1])
    if tokens > proposed:
        return None
    length, positions = _LENGTH.search(record), _POSITIONS.search(record)
    if proposed and (share[1] == "nan" or abs(float(share[1]) - 100 * tokens / proposed) > 0.0501):
        return None
    if proposed and (length is None) != (positions is None):
        return None
    rates: tuple[str, ...] = ()
    if positions is not None:
        # Behind the last rate stands the acceptance rate since 0.10.2, and nothing before; else a rate was cut off.
        if bool(positions[2]) != (record.find("Draft acceptance rate") > positions.start()):
            return None
        rates = tuple(positions[1].split(", "))
        if any(float(later) > float(earlier) for earlier, later in pairwise(rates)):
            return None
    return _Fields(
        num_draft_tokens=proposed,
        num_accepted_tokens=tokens,
        length=None if length is None or length[1] == "nan" else length[1],
        rates=rates,
    )


def _time(head: str) -> str | None:
    times = [match[1] for match in _HEADER.finditer(head) if match[1]]
    return times[-1] if times else None


def _server(head: str, line: str) -> str:
    container, process = _CONTAINER.match(line), _PROCESS.findall(head)
    return " ".join([*([container[1]] if container else []), *process[-1:]])


def _absence(text: str) -> Absence:
    if "disabling stats logging" in text or re.search(r"Defaulting api_server_count to .*\(([2-9]|\d\d+)\)", text):
        return "api_servers"
    if re.search(r"disable_log_stats'?[=:] ?True|--disable-log-stats", text):
        return "log_stats"
    if "Speculative metrics: Draft acceptance rate" in text:
        return "old_engine"
    if "accept len:" in text or "sglang" in text.lower():
        return "sglang"
    if "speculative_config=None" in text:
        return "no_speculation"
    return "unknown"
