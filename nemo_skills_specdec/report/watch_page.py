"""The report on a recording of `watch`."""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.report.page import Headline, Page, PageTable, Section
from nemo_skills_specdec.report.plot import UNKNOWN, Column, Kind, Plot, PlotRow, value_text, with_tips
from nemo_skills_specdec.report.shapes import SERIES_COLOURS, lines
from nemo_skills_specdec.report.watch_text import EVENTS
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.watch.figures import WatchFigures, add_up
from nemo_skills_specdec.watch.recording import Recording, read_recording
from nemo_skills_specdec.watch.replica import EventKind, WatchInterval

MOST_SLICES = 240
"""Points of a line; intervals of a longer recording are added up, so that none is lost."""
TOTAL = "total"
_BREAKS: tuple[EventKind, ...] = ("restarted", "replaced", "unusable", "unreachable", "left")

TIME = Column(key="time", title="seconds since the start", kind="clock")
REPLICA = Column(key="replica", title="replica", kind="text")

Cells = Callable[[Sequence[WatchInterval]], PlotRow]
"""What a plot shows of some intervals."""

Course = dict[str, dict[int, list[WatchInterval]]]
"""The intervals of each replica by the number of the slice of time that they ended in; `total` has all."""


def watch_page(path: Path) -> Page:
    """Reads a recording and says what there is to see.

    Raises:
        DataError: it is none, or cannot be read.
    """
    recording = read_recording(path)
    sums = _sums(recording)
    total = sums[TOTAL]
    length = total.acceptance_length
    return Page(
        title=f"Watch of {', '.join(sorted({url for start in recording.starts for url in start.urls}))}",
        subtitle=_subtitle(recording),
        verdict="No draft was verified in this time."
        if length is None
        else f"On average {_between(length, 'number')} tokens come out of a verification step, over "
        f"{total.num_drafts:,} steps of all traffic.",
        headlines=_headlines(total),
        sections=[
            Section(title="Over time", plots=_plots(recording)),
            Section(title="Numbers", tables=[_table(sums, _seconds(recording))]),
            Section(title="Events", tables=[_events(recording)]),
        ],
        made_by=f"ns-specdec {__version__}",
    )


def watch_csv(path: Path) -> str:
    """Every interval of a recording: a line for each replica and reading, in whole numbers."""
    recording = read_recording(path)
    names = [name for name in WatchFigures.__struct_fields__ if name != "accepted_per_position"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["at", "seconds", "replica", "engine", "in_flight", *names, "accepted_per_position"])
    for one in recording.intervals:
        positions = " ".join(str(accepted) for accepted in one.figures.accepted_per_position or ())
        figures = [getattr(one.figures, name) for name in names]
        writer.writerow([one.at, one.seconds, one.replica, one.engine, one.in_flight, *figures, positions])
    return file.getvalue()


def _sums(recording: Recording) -> dict[str, WatchFigures]:
    parts: dict[str, list[WatchFigures]] = defaultdict(list)
    for one in recording.intervals:
        parts[one.replica].append(one.figures)
    sums = {replica: add_up(figures) for replica, figures in sorted(parts.items())}
    return {**sums, TOTAL: add_up(sums.values()) if sums else WatchFigures()}


def _seconds(recording: Recording) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for one in recording.intervals:
        seconds[one.replica] += one.seconds
    return {**seconds, TOTAL: max(seconds.values(), default=0.0)}


def _subtitle(recording: Recording) -> str:
    first = min(start.at for start in recording.starts)
    last = max((one.at for one in recording.intervals), default=first)
    torn = f" {recording.torn} half-written line(s) left out." if recording.torn else ""
    begun = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(first))
    return f"From {begun} on, {value_text(last - first, 'clock')}; no prompt was sent.{torn}"


def _headlines(total: WatchFigures) -> list[Headline]:
    detail = "bounds: SGLang's counters tell no more" if total.source == "bounds" else "exact, of all traffic"
    found = [
        ("acceptance length", _between(total.acceptance_length, "number"), detail),
        ("acceptance rate", _between(total.acceptance_rate, "share"), ""),
        ("tokens per step", value_text(total.tokens_per_step, "number"), "steps without drafts included"),
        ("requests", value_text(total.requests, "count"), ""),
        ("prompt tokens from the cache", value_text(total.cache_hit_rate, "share"), ""),
    ]
    return [Headline(name=name, value=value, detail=text) for name, value, text in found if value != UNKNOWN]


def _table(sums: Mapping[str, WatchFigures], seconds: Mapping[str, float]) -> PageTable:
    head = ["replica", "AL", "AR", "per position", "tokens per step", "requests", "tokens/s", "from cache", "D", "T"]
    rows = []
    for replica, one in sums.items():
        tokens, counted = one.generation_tokens, seconds[replica]
        rates = " ".join(f"{rate:.3f}" for rate in one.per_position_acceptance_rates or ())
        rows.append(
            [
                replica,
                _between(one.acceptance_length, "number"),
                _between(one.acceptance_rate, "share"),
                rates or UNKNOWN,
                value_text(one.tokens_per_step, "number"),
                value_text(one.requests, "count"),
                value_text(tokens / counted if tokens is not None and counted > 0 else None, "speed"),
                value_text(one.cache_hit_rate, "share"),
                value_text(one.num_drafts, "count"),
                value_text(one.num_draft_tokens, "count"),
            ]
        )
    return PageTable(title="All intervals added up", head=head, rows=rows)


def _events(recording: Recording) -> PageTable:
    first = min(start.at for start in recording.starts)
    rows = [
        [value_text(event.at - first, "clock"), event.replica, EVENTS[event.kind][0], event.message]
        for event in recording.events
    ]
    note = "A restart costs the interval that it happened in; a gap without one costs nothing."
    return PageTable(title="What happened", head=["at", "replica", "event", "detail"], rows=rows, note=note)


def _plots(recording: Recording) -> list[Plot]:
    if not recording.intervals:
        return []
    first = min(start.at for start in recording.starts)
    intervals = [msgspec.structs.replace(one, at=one.at - first) for one in recording.intervals]
    breaks = [(event.replica, event.at - first) for event in recording.events if event.kind in _BREAKS]
    width = max(
        max(one.at for one in intervals) / MOST_SLICES, max(start.interval_seconds for start in recording.starts)
    )
    course = _course(intervals, width)
    caption = f"A point stands for what was counted in the {width:.3g} seconds before it."
    bracketed = any(one.figures.accepted_low != one.figures.accepted_high for one in intervals)
    length = Column(key="al", title="acceptance length", interval=bracketed)
    speed = Column(key="speed", title="tokens per second", kind="speed")
    flying = Column(key="in_flight", title="requests in flight", kind="speed")
    cached = Column(key="cached", title="prompt tokens from the cache", kind="share")
    figures = [
        ("Acceptance length over time", length, _length_cells, caption),
        ("Throughput over time", speed, lambda parts: {"speed": _speed(parts)}, caption),
        ("Requests in flight", flying, lambda parts: {"in_flight": _in_flight(parts)}, ""),
        ("Prefix cache over time", cached, lambda parts: {"cached": _sum(parts).cache_hit_rate}, caption),
    ]
    plots = [
        _over_time(title, value, _rows(course, breaks, value, cells), text) for title, value, cells, text in figures
    ]
    return [plot for plot in [plots[0], _positions(course[TOTAL]), *plots[1:]] if plot is not None]


def _course(intervals: Sequence[WatchInterval], width: float) -> Course:
    course: Course = defaultdict(lambda: defaultdict(list), {TOTAL: defaultdict(list)})
    for one in intervals:
        # An interval belongs to the slice that it ended in; one that ends with a slice does not begin the next.
        number = max(int(one.at / width - 1e-6), 0)
        course[one.replica][number].append(one)
        course[TOTAL][number].append(one)
    if len(course) == 2 or len(course) > len(SERIES_COLOURS):
        return {TOTAL: course[TOTAL]}
    return course


def _rows(course: Course, breaks: Sequence[tuple[str, float]], value: Column, cells: Cells) -> list[PlotRow]:
    """A row for each replica and slice, and one without a value where something broke the replica's line."""
    rows: list[PlotRow] = []
    for replica, slices in course.items():
        own: list[PlotRow] = [{"replica": replica, "time": _end(parts), **cells(parts)} for parts in slices.values()]
        # What happens to an endpoint happens to all its replicas.
        own += [
            {"replica": replica, "time": at, value.key: None}
            for name, at in breaks
            if replica == name or replica.startswith(f"{name} ")
        ]
        rows += sorted(own, key=lambda row: row["time"])
    return rows


def _over_time(title: str, value: Column, rows: Sequence[PlotRow], caption: str) -> Plot | None:
    known = [row[value.key] for row in rows if row[value.key] is not None]
    if not known:
        return None
    several = len({row["replica"] for row in rows}) > 1
    end = max(row["time"] for row in rows)
    columns = [TIME, *([REPLICA] if several else []), value]
    return Plot(
        name=title.lower().replace(" ", "-"),
        title=title,
        alt=f"Lines over {value_text(end, 'clock')}, between {value_text(min(known), value.kind)} and "
        f"{value_text(max(known), value.kind)}.",
        caption=caption,
        spec=lines(TIME, value, REPLICA if several else None, dots=False),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def _positions(slices: Mapping[int, Sequence[WatchInterval]]) -> Plot | None:
    which = Column(key="position", title="draft position", kind="text")
    rate = Column(key="rate", title="unconditional acceptance rate", kind="share")
    rows: list[PlotRow] = [
        {"position": f"p{place}", "time": _end(parts), "rate": share}
        for _, parts in sorted(slices.items())
        for place, share in enumerate(_sum(parts).per_position_acceptance_rates or (), 1)
    ]
    if not rows:
        return None
    columns = [TIME, which, rate]
    return Plot(
        name="positions-over-time",
        title="Acceptance by draft position over time",
        alt="A line for each draft position: the share of verification steps that accepted it.",
        caption="All replicas together.",
        spec=lines(TIME, rate, which, dots=False),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def _sum(parts: Iterable[WatchInterval]) -> WatchFigures:
    return add_up(part.figures for part in parts)


def _end(parts: Sequence[WatchInterval]) -> float:
    return max(part.at for part in parts)


def _length_cells(parts: Sequence[WatchInterval]) -> PlotRow:
    length = _sum(parts).acceptance_length
    if length is None:
        return {"al": None}
    bounds = {} if length.low == length.high else {"al_low": length.low, "al_high": length.high}
    return {"al": (length.low + length.high) / 2, **bounds}


def _speed(parts: Sequence[WatchInterval]) -> float | None:
    """The sum over replicas of what each generated in its own time."""
    tokens: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for part in parts:
        if part.figures.generation_tokens is None:
            return None
        tokens[part.replica] += part.figures.generation_tokens
        seconds[part.replica] += part.seconds
    return sum(tokens[replica] / seconds[replica] for replica in tokens if seconds[replica] > 0)


def _in_flight(parts: Sequence[WatchInterval]) -> int | None:
    latest = {part.replica: part.in_flight for part in parts}
    known = [value for value in latest.values() if value is not None]
    return sum(known) if known else None


def _between(bounds: Interval | None, kind: Kind) -> str:
    if bounds is None:
        return UNKNOWN
    low, high = value_text(bounds.low, kind), value_text(bounds.high, kind)
    return low if low == high else f"{low} to {high}"
