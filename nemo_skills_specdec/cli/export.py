"""`ns-specdec export`: prepared prompts in other tools' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nemo_skills_specdec.cli._streams import write_line
from nemo_skills_specdec.prompts.prepared.kinds import READ_WITH, ExportKind


def export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A prepared folder or file.")],
    to: Annotated[ExportKind, typer.Option("--to", help="Target format.")],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "--output_dir", help="Output folder. Default: PATH with the format appended."),
    ] = None,
    config: Annotated[list[str] | None, typer.Option(help="Only this prepared file; repeatable. Default: all.")] = None,
) -> None:
    """Write prepared prompts in another tool's format; prints the files written."""
    from nemo_skills_specdec.prompts.prepared.export import export as export_files

    folder = path if path.is_dir() else path.parent
    out = output_dir or folder.with_name(f"{folder.resolve().name}-{to}")
    for written in export_files(path, to, out, list(config) if config else None):
        write_line(str(written))
        if to in READ_WITH:
            write_line(f"read with: {READ_WITH[to].format(folder=out, name=written.stem)}", stderr=True)
