"""`ns-specdec export`: prepared prompts in other tools' shapes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Kind(str, Enum):
    """Whose shape."""

    vllm = "vllm"
    aiperf = "aiperf"
    sglang = "sglang"
    specdec_bench = "specdec_bench"
    speculators = "speculators"
    gym = "gym"
    prompts = "prompts"


def export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A prepared folder or file.")],
    to: Annotated[Kind, typer.Option("--to", help="Whose shape.")],
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "--output_dir", help="Default: PATH with the kind behind its name.")
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="Only this prepared file; may be repeated. Default: all.")
    ] = None,
) -> None:
    """Write prepared prompts in the shape that another tool reads; prints the files written."""
    from nemo_skills_specdec.prompts.prepared.export import export as export_files

    folder = path if path.is_dir() else path.parent
    out = output_dir or folder.with_name(f"{folder.resolve().name}-{to.value}")
    for written in export_files(path, to.value, out, list(config) if config else None):
        typer.echo(str(written))
