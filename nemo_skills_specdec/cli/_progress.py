"""A run while it goes on: a view that is drawn anew in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from nemo_skills_specdec.client.body import count_turns
from nemo_skills_specdec.client.exchange import LoadOptions
from nemo_skills_specdec.client.schedule import arrivals
from nemo_skills_specdec.measurement.hooks import Hooks
from nemo_skills_specdec.records import PromptRow, RequestRecord
from nemo_skills_specdec.report.live import LiveRun, begin, line, new_run, take, view

LINE_SECONDS = 10.0
"""Between two plain lines where there is no terminal to draw in."""
_DRAWINGS_PER_SECOND = 2.0
"""Seldom, because drawing takes time from the client that sends."""


@contextlib.contextmanager
def live_progress(console: Console, rows: Sequence[PromptRow], load: LoadOptions) -> Iterator[Hooks]:
    """Yields the hooks that show how far it is."""
    turns = {row.question_id: (row.category, count_turns(row.messages)) for row in rows}
    starts: Sequence[float] = ()
    if load.request_rate is not None:
        starts = arrivals(len(rows), load.request_rate, poisson=load.arrival == "poisson", seed=load.seed)
    run = new_run(turns, starts=starts, places=load.concurrency or len(rows))
    lock = threading.Lock()
    drawing = console.is_terminal and not console.is_dumb_terminal and not console.quiet
    told_at = time.monotonic()

    def stage(name: str) -> None:
        with lock:
            begin(run, name, time.monotonic())

    def record(finished: RequestRecord) -> None:
        nonlocal told_at
        now = time.monotonic()
        with lock:
            take(run, finished)
        if not drawing and now - told_at > LINE_SECONDS:
            told_at = now
            console.print(line(run, now), style="dim", soft_wrap=True)

    with contextlib.ExitStack() as stack:
        if drawing:
            shown = _Drawn(run, lock)
            stack.enter_context(Live(shown, console=console, refresh_per_second=_DRAWINGS_PER_SECOND, transient=True))
        yield Hooks(stage=stage, record=record)


class _Drawn:
    """The view as it is at the moment of drawing."""

    def __init__(self, run: LiveRun, lock: threading.Lock, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._lock, self._clock = run, lock, clock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            drawn = view(self._run, self._clock(), console.size.height)
        yield drawn
