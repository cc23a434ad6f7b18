"""Progress bars on stderr, where there is a terminal to draw in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nemo_skills_specdec.prompts.hub.http import DownloadProgress

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress_bars() -> Iterator[DownloadProgress]:
    """Yields what draws a bar for each transfer and for the building of rows; a bar goes when its work is over."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bars:
        yield _Drawn(bars)


class _Drawn:
    """Rich's bars behind the names that a reader of files knows."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._done: dict[int, tuple[int, int | None, str]] = {}

    def begin(self, name: str, total: int | None, *, unit: str = "bytes") -> int:
        handle = int(self._bars.add_task(name, total=total, done=""))
        self._done[handle] = (0, total, unit)
        return handle

    def advance(self, handle: int, count: int) -> None:
        from rich.progress import TaskID

        done, total, unit = self._done[handle]
        self._done[handle] = (done + count, total, unit)
        self._bars.update(TaskID(handle), advance=count, done=_amount(done + count, total, unit))

    def end(self, handle: int) -> None:
        from rich.progress import TaskID

        self._bars.remove_task(TaskID(handle))


def _amount(done: int, total: int | None, unit: str) -> str:
    if unit == "bytes":
        of = f" of {total / 1e6:.1f}" if total is not None else ""
        return f"{done / 1e6:.1f}{of} MB"
    return f"{done}{f' of {total}' if total is not None else ''} {unit}"
