"""Live progress of a run: a bar on stderr with the running acceptance length."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nemo_skills_specdec.acceptance import NO_STEPS
from nemo_skills_specdec.measurement.hooks import Hooks
from nemo_skills_specdec.records import RequestRecord

LINE_SECONDS = 10.0
"""Between two plain lines where there is no terminal to draw in."""


@contextlib.contextmanager
def live_progress(console: Console, *, prompts: int, requests: int) -> Iterator[Hooks]:
    """Yields the hooks that draw the bar; without a terminal, one line every few seconds."""
    counts = NO_STEPS
    done = failed = 0
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = bar.add_task("starting", total=requests, note="")
    last_line = time.monotonic()

    def note() -> str:
        length = counts.acceptance_length
        told = f"AL {length:.2f}" if length is not None else ""
        return f"{told}  {failed} failed" if failed else told

    def stage(name: str) -> None:
        bar.update(task, description=name)

    def record(finished: RequestRecord) -> None:
        nonlocal counts, done, failed, last_line
        done += 1
        failed += finished.error is not None
        if finished.counts is not None:
            counts = counts + finished.counts
        bar.update(task, advance=1, note=note())
        if not console.is_terminal and time.monotonic() - last_line > LINE_SECONDS:
            last_line = time.monotonic()
            console.print(f"{done} of {requests} requests  {note()}", style="dim")

    with bar:
        yield Hooks(stage=stage, record=record)
