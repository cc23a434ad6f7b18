"""Progress bars on stderr, where there is a terminal to draw in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nemo_skills_specdec.prompts.hub.http import DownloadProgress, no_progress


@contextmanager
def progress_bars() -> Iterator[DownloadProgress]:
    """Yields what draws a bar for each transfer and for the building of rows; a bar goes when its work is over."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield no_progress
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[done]}"),
    )
    bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)

    @contextmanager
    def bar(name: str, total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
        task = bars.add_task(name, total=total, done="")
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bars.update(task, completed=done, done=amount(done, total, unit))

        try:
            yield advance
        finally:
            bars.remove_task(task)

    with bars:
        yield bar


def amount(done: int, total: int | None, unit: str) -> str:
    """How much is done, in words: `1.5 of 3.0 MB`, `7 rows`."""
    if unit == "bytes":
        of = f" of {total / 1e6:.1f}" if total is not None else ""
        return f"{done / 1e6:.1f}{of} MB"
    return f"{done}{f' of {total}' if total is not None else ''} {unit}"
