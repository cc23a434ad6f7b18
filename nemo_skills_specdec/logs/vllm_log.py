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

import msgspec

from nemo_skills_specdec.logs.absence import Absence, absence
from nemo_skills_specdec.logs.origin import FILE_HEADING, LEVEL, origin

MARK = "SpecDecoding metrics:"
_COLOUR = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ENGINE = re.compile(r"Engine (\d{3,}):")
# No engine drafts 10^15 tokens in an interval: longer numbers are damage, and would not be exact as floats.
_ACCEPTED = re.compile(r"\bAccepted: (\d{1,15}) tokens\b")
_DRAFTED = re.compile(r"\bDrafted: (\d{1,15}) tokens\b")
_LENGTH = re.compile(r"\bMean acceptance length: (\d{1,6}\.\d\d|nan)(?![\d.])")
_SHARE = re.compile(r"\bDraft acceptance rate: (\d{1,3}\.\d|nan)%")
_POSITIONS = re.compile(r"\bPer-position acceptance rate: (\d\.\d{3}(?:, \d\.\d{3}){0,999})(, Avg Draft\b|(?=\s|$))")
_FOLDED = re.compile(r"\[repeated (\d{1,9})x across cluster\]")
_DROPPED = re.compile(r"Suppressed (\d{1,9}) messages from\b")
_MODEL = re.compile(r"with config: model='([^']{1,300})'")
_WRAPPED_LINES = 8
"""Physical lines that one record can be spread over by a terminal or a pager."""


class LogInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What one line says.

    Attributes:
        line: its number in the file, from 1.
        time: its time, `month-day hour:minute:second` (vLLM writes no year); None where cut off.
        server: who printed it (`origin`), with the file's name where `tail` printed one; empty where nothing is said.
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
        torn_lines: numbers of the lines that hold a record which is incomplete or contradicts itself.
        lost_lines: lines that Ray or journald left out, as far as they say so: any lines, not only those of interest.
        engines: data-parallel engines that the throughput lines name.
        models: models that engines were started with.
        absence: why there may be no intervals.
    """

    intervals: list[LogInterval]
    torn_lines: list[int]
    lost_lines: int
    engines: int
    models: list[str]
    absence: Absence


def read_vllm_log(text: str) -> VllmLog:
    """Reads a whole log: several servers, data-parallel engines, colour codes, wrapped and torn lines."""
    text = _COLOUR.sub("", text) if "\x1b" in text else text
    lines = [line.rstrip("\r") for line in text.split("\n")]
    intervals: list[LogInterval] = []
    torn: list[int] = []
    file = ""
    for index, line in enumerate(lines):
        if line.startswith("==>") and (heading := FILE_HEADING.match(line)):
            file = _printable(heading[1])
        for found in _intervals(lines, index):
            if found is None:
                torn.append(index + 1)
            elif found.num_draft_tokens:
                server = f"{file} {found.server}".strip()
                intervals.append(msgspec.structs.replace(found, server=server))
    return VllmLog(
        intervals=intervals,
        torn_lines=torn,
        # Of the lines that Ray folds into one, that one is there.
        lost_lines=sum(int(count) - 1 for count in _FOLDED.findall(text)) + sum(map(int, _DROPPED.findall(text))),
        engines=len(set(_ENGINE.findall(text))),
        models=[_printable(model) for model in dict.fromkeys(_MODEL.findall(text))],
        absence=absence(text),
    )


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, text))


def _intervals(lines: list[str], index: int) -> Iterator[LogInterval | None]:
    """Every record that begins on a line; None for a torn one."""
    line, after = lines[index], index + 1
    if MARK not in line:
        # A terminal may have wrapped the mark itself.
        following = "".join(lines[after : after + 1])
        if MARK in following or MARK not in line[-len(MARK) :] + following[: len(MARK)]:
            return
        line, after = line + following, after + 1
    # Two processes that write at once can put two records on one line.
    head, *records = line.split(MARK)
    for number, record in enumerate(records):
        followers = lines[after : after + _WRAPPED_LINES] if number == len(records) - 1 else []
        found = next((f for f in map(_fields, _readings(record, followers)) if f is not None), None)
        if found is None:
            yield None
            continue
        where = head if number == 0 else records[number - 1]
        times = [match[1] for match in LEVEL.finditer(where) if match[1]]
        yield msgspec.structs.replace(
            found, line=index + 1, time=times[-1] if times else None, server=origin(line, where)
        )


def _readings(record: str, followers: list[str]) -> Iterator[str]:
    """The record as it stands, then with the lines after it, as long as they are no lines of their own."""
    yield record
    tight = spaced = record
    for line in followers:
        if MARK in line or LEVEL.search(line):
            return
        tight, spaced = tight + line, f"{spaced.rstrip()} {line.lstrip()}"
        yield tight
        yield spaced


def _fields(record: str) -> LogInterval | None:
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
    return LogInterval(
        line=0,
        time=None,
        server="",
        num_draft_tokens=proposed,
        num_accepted_tokens=tokens,
        length=None if length is None or length[1] == "nan" else length[1],
        rates=rates,
    )
