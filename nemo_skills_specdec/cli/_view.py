"""How a measurement is shown: while it goes on, and as a report in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from nemo_skills_specdec.cli._report_page import open_page
from nemo_skills_specdec.cli._screen import screen

OUTPUT = "Output"


class ViewFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about what is shown."""

    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print the result only, nothing on the way.", rich_help_panel=OUTPUT),
    ] = False
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser.", rich_help_panel=OUTPUT)
    ] = False

    def console(self) -> Console:
        """Where to tell what goes on: standard error, or nowhere."""
        console = screen(stderr=True, width=None)
        console.quiet = self.quiet
        return console


def end_with_report(paths: Sequence[Path], view: ViewFlags) -> None:
    """Writes the report on what was measured and says where it is. A report that cannot be made fails nothing."""
    from nemo_skills_specdec.report.files import report_on

    console = view.console()
    try:
        page = report_on(paths)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        console.print(f"no report could be made ({reason}); see `ns-specdec report`", style="yellow")
        return
    console.print(f"report: {page}", style="dim", soft_wrap=True)
    if view.open_report:
        open_page(page)
