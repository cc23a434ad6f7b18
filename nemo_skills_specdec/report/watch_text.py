"""A watch for people: a table of replicas, sparklines, and plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nemo_skills_specdec.report.sparkline import sparkline
from nemo_skills_specdec.watch.alarm import Breach
from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.replica import EventKind, WatchEvent
from nemo_skills_specdec.watch.run import WatchResult
from nemo_skills_specdec.watch.session import Round

SHOWN_POSITIONS = 3
"""Rates per position in the table; more do not fit into 80 columns, and the summary has all of them."""
_SHOWN_EVENTS = 5
_UNKNOWN = "-"
EVENTS: dict[EventKind, tuple[str, str]] = {
    "joined": ("is watched", "green"),
    "restarted": ("restarted", "bold yellow"),
    "replaced": ("is another process", "bold yellow"),
    "unusable": ("has counters that cannot be compared", "bold yellow"),
    "unreachable": ("is unreachable", "bold red"),
    "back": ("is back", "green"),
    "left": ("is gone", "bold yellow"),
}
_BOUNDS = "low..high: SGLang's counters only bracket the value; the truth lies between."
_ESTIMATE = "~: only an estimate by SGLang's gauge; it is left out of everything that is added up."


def live_view(latest: Round, result: WatchResult, history: Sequence[Round], *, every: float) -> RenderableType:
    """What a terminal shows: each replica for the last interval and since the start, sparklines, the latest events."""
    in_flight = [interval.in_flight for interval in latest.intervals if interval.in_flight is not None]
    head = f"watching for {_duration(result.seconds)}, every {every:g} s"
    lengths = [_middle(past.total) for past in history]
    speeds = [throughput(past) for past in history]
    return Group(
        Text(f"{head}; in flight: {sum(in_flight)}" if in_flight else head),
        *_table(latest, result),
        *_spark("AL", lengths, "{:.2f}"),
        *_spark("tok/s", speeds, "{:.0f}"),
        *_notes(result),
        *(event_line(event) for event in result.events[-_SHOWN_EVENTS:]),
    )


def round_lines(latest: Round, result: WatchResult) -> list[Text]:
    """The same in plain lines: events, then the total of the last interval."""
    lines = [event_line(event) for event in latest.events]
    if not latest.intervals:
        return lines
    figures = latest.total
    parts = [
        f"AL {_length(figures)} (since start {_length(result.total)})",
        f"AR {_percent(figures)} %",
        f"p {' '.join(f'{rate:.2f}' for rate in figures.per_position_acceptance_rates or ()) or _UNKNOWN}",
        f"{_steps(figures)} tok/step",
        f"{_count(figures.requests)} requests",
        f"{_number(throughput(latest))} tok/s",
        f"cache {_share(figures.cache_hit_rate)}",
    ]
    return [*lines, Text(f"{_clock(latest.at)}  {'  '.join(parts)}")]


def summary_view(result: WatchResult) -> RenderableType:
    """The end of a watch: every replica and all together, with all positions."""
    table = _new_table()
    for one in result.replicas:
        table.add_row(one.replica, *_cells(one.figures, one.seconds, 0))
    seconds = max((one.seconds for one in result.replicas), default=0.0)
    if len(result.replicas) != 1:
        table.add_row("total", *_cells(result.total, seconds, 0), style="bold")
    rates = result.total.per_position_acceptance_rates
    positions = [Text("per position  p1.. " + " ".join(f"{rate:.3f}" for rate in rates))] if rates else []
    lost = [event for event in result.events if event.kind != "joined"]
    counts = result.total
    return Group(
        Text(f"watched for {_duration(result.seconds)}, counted {_duration(seconds)}"),
        table,
        Text(
            f"steps D {_count(counts.num_drafts)}, draft tokens T {_count(counts.num_draft_tokens)}, "
            f"accepted A {_accepted(counts)}, generated tokens {_count(counts.generation_tokens)}"
        ),
        *positions,
        *_notes(result),
        *(event_line(event) for event in lost),
    )


def breach_line(breach: Breach) -> str:
    """What an alarm says."""
    return (
        f"acceptance length {breach.acceptance_length:.3f} over {_duration(breach.seconds)} "
        f"({breach.num_drafts} verification steps) is below {breach.min_al:g}"
    )


def event_line(event: WatchEvent) -> Text:
    """One event with its time."""
    told, style = EVENTS[event.kind]
    message = f": {event.message}" if event.message else ""
    return Text.assemble(f"{_clock(event.at)}  {event.replica} ", (told, style), message)


def throughput(latest: Round) -> float | None:
    """Generated tokens per second of all replicas together in one round; None where one does not say."""
    speeds = [
        interval.figures.generation_tokens / interval.seconds
        for interval in latest.intervals
        if interval.figures.generation_tokens is not None and interval.seconds > 0
    ]
    return sum(speeds) if speeds and len(speeds) == len(latest.intervals) else None


def _table(latest: Round, result: WatchResult) -> list[Text]:
    """Each replica's name on a line of its own, since names are long, and below it its figures in columns."""
    positions = min(SHOWN_POSITIONS, len(result.total.per_position_acceptance_rates or ()))
    now = {interval.replica: interval for interval in latest.intervals}
    named: list[tuple[str, list[list[str]]]] = []
    for one in result.replicas:
        interval = now.get(one.replica)
        rows = [["  since start", *_cells(one.figures, one.seconds, positions)]]
        if interval is not None:
            rows.insert(0, [_last(interval.seconds), *_cells(interval.figures, interval.seconds, positions)])
        named.append((one.replica, rows))
    if len(result.replicas) > 1:
        seconds = max((interval.seconds for interval in latest.intervals), default=0.0)
        counted = max((one.seconds for one in result.replicas), default=0.0)
        rows = [[_last(seconds), *_cells(latest.total, seconds, positions)]]
        named.append(("total", [*rows, ["  since start", *_cells(result.total, counted, positions)]]))
    head = ["", *_heads(positions)]
    widths = [max(map(len, column)) for column in zip(head, *(row for _, rows in named for row in rows), strict=True)]
    lines = [Text(_aligned(head, widths), style="bold")]
    for name, rows in named:
        lines += [Text(name, style="bold"), *(Text(_aligned(row, widths)) for row in rows)]
    return lines


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    )


def _last(seconds: float) -> str:
    return f"  last {seconds:.0f} s"


def _heads(positions: int) -> list[str]:
    return ["AL", "AR%", *(f"p{i + 1}" for i in range(positions)), "tok/step", "requests", "tok/s", "cache%"]


def _new_table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("replica", overflow="fold")
    for name in _heads(0):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(figures: WatchFigures, seconds: float, positions: int) -> list[str]:
    rates = figures.per_position_acceptance_rates or ()
    tokens = figures.generation_tokens
    return [
        _length(figures),
        _percent(figures),
        *(f"{rates[i]:.2f}" if i < len(rates) else _UNKNOWN for i in range(positions)),
        _steps(figures),
        _count(figures.requests),
        _number(tokens / seconds if tokens is not None and seconds > 0 else None),
        _share(figures.cache_hit_rate),
    ]


def _notes(result: WatchResult) -> list[Text]:
    sources = {one.figures.source for one in result.replicas}
    notes = [_BOUNDS] * ("bounds" in sources) + [_ESTIMATE] * ("gauge_estimate" in sources)
    return [Text(note, style="dim") for note in notes]


def _spark(name: str, values: Sequence[float | None], form: str) -> list[Text]:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return []
    return [Text(f"{name:>5} {sparkline(values)} {form.format(min(known))} to {form.format(max(known))}")]


def _middle(figures: WatchFigures) -> float | None:
    length = figures.acceptance_length
    return (length.low + length.high) / 2 if length is not None else None


def _length(figures: WatchFigures) -> str:
    length = figures.acceptance_length
    if length is None:
        return f"~{figures.estimate:.2f}" if figures.estimate is not None else _UNKNOWN
    return f"{length.low:.2f}" if length.low == length.high else f"{length.low:.2f}..{length.high:.2f}"


def _percent(figures: WatchFigures) -> str:
    rate = figures.acceptance_rate
    if rate is None:
        return _UNKNOWN
    low, high = 100 * rate.low, 100 * rate.high
    return f"{low:.1f}" if low == high else f"{low:.0f}..{high:.0f}"


def _accepted(figures: WatchFigures) -> str:
    low, high = figures.accepted_low, figures.accepted_high
    return _count(low) if low == high else f"{low}..{high}"


def _steps(figures: WatchFigures) -> str:
    steps = figures.tokens_per_step
    return _UNKNOWN if steps is None else f"{steps:.2f}"


def _share(rate: float | None) -> str:
    return _UNKNOWN if rate is None else f"{100 * rate:.0f}"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _count(value: int | None) -> str:
    return _UNKNOWN if value is None else str(value)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
