"""How many requests were on their way at a time: pure functions of when requests were sent and when they ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from nemo_skills_specdec.records import RequestRecord


class Span(msgspec.Struct, frozen=True):
    """A stretch of time, in seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def span_of(records: Sequence[RequestRecord]) -> Span | None:
    """From the first request sent to the end of the last one; None if none was sent."""
    sent = [record for record in records if record.sent]
    if not sent:
        return None
    return Span(min(record.start_time for record in sent), max(record.end_time for record in sent))


def changes(records: Sequence[RequestRecord]) -> list[tuple[float, int]]:
    """When the number of requests in flight changed, and what it was from then on; in order of time.

    Where one ends as another is sent, they were not in flight together.
    """
    sent = [record for record in records if record.sent and record.end_time > record.start_time]
    events = sorted([(r.start_time, 1) for r in sent] + [(r.end_time, -1) for r in sent])
    counts = accumulate(change for _, change in events)
    return [(time, count) for (time, _), count in zip(events, counts, strict=True)]


def peak_in_flight(records: Sequence[RequestRecord]) -> int:
    """The largest number of requests that were in flight together."""
    import numpy as np

    sent = [record for record in records if record.sent and record.end_time > record.start_time]
    if not sent:
        return 0
    times = np.array([[record.start_time for record in sent], [record.end_time for record in sent]]).ravel()
    steps = np.repeat([1, -1], len(sent))
    # Where one ends as another is sent, the end comes first.
    return int(np.cumsum(steps[np.lexsort((steps, times))]).max())


def mean_in_flight(records: Sequence[RequestRecord], span: Span | None, seconds: float) -> float | None:
    """The mean number of requests in flight, weighted by time.

    Args:
        span: only time within it counts; None for all.
        seconds: the time to divide by.
    """
    if seconds <= 0:
        return None
    return sum(overlap(record, span) for record in records if record.sent) / seconds


def overlap(record: RequestRecord, span: Span | None) -> float:
    """For how many seconds of a span a request was in flight."""
    if span is None:
        return record.end_time - record.start_time
    return max(min(record.end_time, span.end) - max(record.start_time, span.start), 0.0)


def steady_span(records: Sequence[RequestRecord], concurrency: int) -> Span | None:
    """From when the asked number of requests was in flight for the first time until it was for the last time.

    The moments in between in which a request had ended and the next one was not yet sent belong to it.
    """
    found = changes(records)
    full = [number for number, (_, count) in enumerate(found) if count >= concurrency]
    if not full or full[-1] + 1 == len(found):
        return None
    span = Span(found[full[0]][0], found[full[-1] + 1][0])
    return span if span.seconds > 0 else None


def start_rate(times: Sequence[float]) -> float | None:
    """Starts per second: the gaps between them over the time from the first to the last."""
    if len(times) < 2 or max(times) <= min(times):
        return None
    return (len(times) - 1) / (max(times) - min(times))
