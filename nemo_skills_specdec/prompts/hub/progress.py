"""Progress bars with bytes, on stderr, where there is a terminal to draw in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nemo_skills_specdec.prompts.hub.http import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yields what draws a bar for each transfer; a bar goes when its transfer is over."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bars:
        yield _Drawn(bars)


class _Drawn:
    """Rich's bars behind the names that a reader of files knows."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def begin(self, name: str, total: int | None) -> int:
        return int(self._bars.add_task(name, total=total))

    def advance(self, handle: int, count: int) -> None:
        from rich.progress import TaskID

        self._bars.advance(TaskID(handle), count)

    def end(self, handle: int) -> None:
        from rich.progress import TaskID

        self._bars.remove_task(TaskID(handle))
