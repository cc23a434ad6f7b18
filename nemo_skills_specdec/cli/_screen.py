"""Tables and texts on a terminal, none of which may steer it."""

from __future__ import annotations

import sys

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from nemo_skills_specdec.shown import plain

PIPED_WIDTH = 100
"""Columns where nobody can say how wide the screen is."""


def screen(*, stderr: bool = False, width: int | None = PIPED_WIDTH) -> Console:
    """A console that takes texts as they are and lets none of them steer the terminal.

    Args:
        width: in columns, where the output is no terminal; None for rich's own choice.
    """
    stream = sys.stderr if stderr else sys.stdout
    made = Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if stream.isatty() else width,
    )
    made.push_render_hook(_Harmless())
    return made


class _Harmless(RenderHook):
    """Cleans the texts of whatever is printed; what rich itself adds stays."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Cleaned(one) for one in renderables]


class _Cleaned:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)
