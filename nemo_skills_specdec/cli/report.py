"""`ns-specdec report`: what a run has measured, as one file to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nemo_skills_specdec.cli._report_page import open_page
from nemo_skills_specdec.cli._streams import write_line
from nemo_skills_specdec.option_groups import one_of

Picture = Literal["png", "svg"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, studies, folders of runs, or a recording of watch."),
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for the files. Default: the run or study itself, or here if there are several."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Also write every plot as a picture; repeatable. Needs [images].", **one_of(Picture)),
    ] = None,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
) -> None:
    """Write a report: one HTML file that needs no network, the same as Markdown, and the figures as CSV."""
    from typing import cast

    from nemo_skills_specdec.report.files import report_on
    from nemo_skills_specdec.report.images import ImageFormat

    path = report_on(runs, output_dir, [cast("ImageFormat", kind) for kind in images or ()])
    write_line(str(path))
    if open_report:
        open_page(path)
