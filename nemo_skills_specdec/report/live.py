"""A run while it goes on: what has been answered so far, and how that looks in a terminal or as a line."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts
from nemo_skills_specdec.measurement.measure import ALL_PROMPTS
from nemo_skills_specdec.records import RequestRecord
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.statistics.ratio import ratio_interval, ratio_of

FEWEST_SECONDS = 2.0
"""Before this, rates and the time left would be guesses."""
_OTHER_LINES = 4
"""Lines of the screen that the view leaves to others."""


class LivePart(msgspec.Struct, kw_only=True):
    """A category, or everything."""

    requests: int
    prompts: int = 0
    done: int = 0
    counts: AcceptanceCounts = NO_STEPS


class LiveRun(msgspec.Struct, kw_only=True):
    """What is known of a run so far. Times are seconds of one clock.

    Attributes:
        turns: by question id, the requests of a prompt that have not ended; prompts that are over are left out.
        starts: when prompts start, in seconds after the beginning, in order; empty if each starts once there is room.
        places: how many prompts may be in flight.
        began: when the first window was opened.
        window_began: when the present one was.
        prompts: how many prompts the present window sends.
        over: how many of them are over.
        sums: by question id, accepted tokens and steps: what the interval is made of.
    """

    stage: str = "starting"
    whole: LivePart
    categories: dict[str, LivePart]
    turns: dict[str, int]
    starts: Sequence[float] = ()
    places: int
    began: float | None = None
    window_began: float = 0.0
    prompts: int = 0
    over: int = 0
    tokens: int = 0
    failed: int = 0
    sums: dict[str, tuple[int, int]] = {}


def begin(run: LiveRun, stage: str, now: float) -> None:
    """Takes note of what comes next; if it is a window, of all prompts or of a category, sending begins."""
    run.stage = stage
    window = run.whole if stage == ALL_PROMPTS else run.categories.get(stage)
    if window is not None:
        run.began = now if run.began is None else run.began
        run.window_began, run.prompts, run.over = now, window.prompts, 0


def take(run: LiveRun, record: RequestRecord) -> None:
    """Takes in a request that ended."""
    part = run.categories.setdefault(record.category, LivePart(requests=0))
    run.failed += record.error is not None
    run.tokens += record.completion_tokens or 0
    for one in (run.whole, part):
        one.done += 1
        if record.counts is not None:
            one.counts = one.counts + record.counts
    if record.counts is not None and record.counts.num_drafts is not None:
        accepted, steps = run.sums.get(record.question_id, (0, 0))
        run.sums[record.question_id] = (
            accepted + record.counts.num_accepted_tokens,
            steps + record.counts.num_drafts,
        )
    left = run.turns.get(record.question_id, 1) - 1
    run.turns[record.question_id] = left
    if left <= 0:
        run.turns.pop(record.question_id)
        run.over += 1


def length_interval_so_far(run: LiveRun) -> Interval | None:
    """The 95 % interval of AL over the prompts so far; for a conversation, over the turns that have ended."""
    import numpy as np

    positions = len(run.whole.counts.accepted_per_position or ())
    sums = np.array(list(run.sums.values()), dtype=np.float64).reshape(-1, 2)
    most = float(positions) or float("inf")
    found = ratio_interval(ratio_of(sums[:, 0], sums[:, 1], most=most), None)
    return None if found is None else Interval(1 + found.low, 1 + found.high)


def in_flight(run: LiveRun, now: float) -> int:
    """Prompts that have begun and are not over, of which each has one request in flight.

    Told by the schedule that the client keeps: a prompt starts as soon as it is due and there is room for it.
    """
    if run.began is None:
        return 0
    due = min(bisect_right(run.starts, now - run.window_began), run.prompts) if run.starts else run.prompts
    return max(min(run.places, due - run.over), 0)


def seconds_left(run: LiveRun, now: float) -> float | None:
    """At the pace so far; None where that is not known yet."""
    done, left = run.whole.done, run.whole.requests - run.whole.done
    if run.began is None or not done or now - run.began < FEWEST_SECONDS:
        return None
    return (now - run.began) * left / done


def line(run: LiveRun, now: float) -> str:
    """All of it in a line, for a log."""
    return f"{run.whole.done} of {run.whole.requests} requests, {_told(run, now)}"


def view(run: LiveRun, now: float, height: int) -> RenderableType:
    """All of it as a block of lines, at most as many as there is room for."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column(width=20)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    room = max(height - _OTHER_LINES, 1)
    names = list(run.categories)
    if len(names) > room:
        # Those at work are what one wants to see.
        names = sorted(names, key=lambda name: _finished(run.categories[name]))[: room - 1]
    for name in names if len(run.categories) > 1 else ():
        part = run.categories[name]
        table.add_row(name, _bar(part), f"{part.done}/{part.requests}", _length(part))
    if len(names) < len(run.categories):
        table.add_row(f"{len(run.categories) - len(names)} more", "", "", "")
    table.add_row(Text(run.stage, style="bold"), _bar(run.whole), f"{run.whole.done}/{run.whole.requests}", "")
    return Group(table, Text(_told(run, now), overflow="ellipsis", no_wrap=True))


def _finished(part: LivePart) -> bool:
    return part.done >= part.requests


def _bar(part: LivePart) -> ProgressBar:
    return ProgressBar(total=max(part.requests, 1), completed=part.done, width=20)


def _length(part: LivePart) -> str:
    length = part.counts.acceptance_length
    return "" if length is None else f"AL {length:.2f}"


def _told(run: LiveRun, now: float) -> str:
    told = []
    length = run.whole.counts.acceptance_length
    if length is not None:
        interval = length_interval_so_far(run)
        told.append(f"AL {length:.2f}" + (f" ({interval.low:.2f} to {interval.high:.2f})" if interval else ""))
    elapsed = now - run.began if run.began is not None else 0.0
    if run.tokens and elapsed >= FEWEST_SECONDS:
        told.append(f"{run.tokens / elapsed:.0f} tok/s")
    told += [f"{in_flight(run, now)} in flight", f"{run.failed} failed"]
    left = seconds_left(run, now)
    if left is not None:
        told.append(f"{_duration(left)} left")
    return ", ".join(told)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def new_run(turns: Mapping[str, tuple[str, int]], *, starts: Sequence[float], places: int) -> LiveRun:
    """A run that is about to start.

    Args:
        turns: by question id, the category and the number of requests of every prompt.
    """
    categories: dict[str, LivePart] = {}
    for category, number in turns.values():
        part = categories.setdefault(category, LivePart(requests=0))
        part.requests, part.prompts = part.requests + number, part.prompts + 1
    return LiveRun(
        whole=LivePart(requests=sum(number for _, number in turns.values()), prompts=len(turns)),
        categories=categories,
        turns={name: number for name, (_, number) in turns.items()},
        starts=starts,
        places=places,
    )
