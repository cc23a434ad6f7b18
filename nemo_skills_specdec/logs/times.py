"""Times without a year: the lines of a log between two of them, also across New Year."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.logs.vllm_log import LogInterval

_TIME = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):([0-5]\d):([0-5]\d)")
# Months of 31 days keep the order of times, and no date needs a year to exist.
_DAY = 86_400
_YEAR = 12 * 31 * _DAY


def moments(intervals: Sequence[LogInterval]) -> list[int | None]:
    """Seconds on one line of time for all intervals, from the start of the first one's year; None without a time.

    A server's line lies in the year that brings it nearest to the line before, so that a log may cross New Year.
    """
    found: list[int | None] = []
    latest: dict[str, int] = {}
    first: int | None = None
    for interval in intervals:
        seconds = None if interval.time is None else _seconds(interval.time)
        if seconds is not None:
            before = latest.get(interval.server, seconds if first is None else first)
            seconds += round((before - seconds) / _YEAR) * _YEAR
            latest[interval.server] = seconds
            first = seconds if first is None else first
        found.append(seconds)
    return found


def between(intervals: Sequence[LogInterval], since: str | None, until: str | None) -> list[LogInterval]:
    """The intervals printed from `since` to `until`, both included.

    Args:
        intervals: of a log; those without a time are left out if there is a bound.
        since: `month-day hour:minute:second`, in the year that brings it nearest to the log; None is no bound.
        until: likewise.

    Raises:
        UsageError: a bound is not such a time.
    """
    low, high = _bound("--since", since), _bound("--until", until)
    if low is None and high is None:
        return list(intervals)
    times = moments(intervals)
    known = [time for time in times if time is not None]
    if not known:
        return []
    span = min(known), max(known)
    low = span[0] if low is None else _nearest(low, *span)
    high = span[1] if high is None else _nearest(high, *span)
    return [line for line, time in zip(intervals, times, strict=True) if time is not None and low <= time <= high]


def _nearest(time: int, first: int, last: int) -> int:
    """The time in the year in which it lies in the span, or nearest to it."""
    years = range(first // _YEAR - 1, last // _YEAR + 2)
    return min((time + year * _YEAR for year in years), key=lambda moment: max(first - moment, moment - last, 0))


def _seconds(time: str) -> int | None:
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    month, day, hour, minute, second = map(int, match.groups())
    return ((month - 1) * 31 + day - 1) * _DAY + hour * 3600 + minute * 60 + second


def _bound(option: str, text: str | None) -> int | None:
    seconds = None if text is None else _seconds(text.strip())
    if text is not None and seconds is None:
        raise UsageError(f"{option} is {text!r}; write month-day hour:minute:second, e.g. '11-22 19:16:20'")
    return seconds
