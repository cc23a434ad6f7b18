"""`ns-specdec publish`: a finished run for Weights & Biases, MLflow or Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nemo_skills_specdec.cli._streams import write_line
from nemo_skills_specdec.errors import UsageError

Target = Literal["wandb", "mlflow", "openmetrics"]


def publish(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    to: Annotated[Target, typer.Option("--to", help="Weights & Biases, MLflow, or text for Prometheus.")],
    project: Annotated[str, typer.Option(help="Project (wandb) or experiment (mlflow).")] = "ns-specdec",
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: that of its directory.")] = None,
    output: Annotated[Path | None, typer.Option(help="openmetrics: write this file instead of stdout.")] = None,
) -> None:
    """Publish a finished run: figures with intervals, settings and categories."""
    from nemo_skills_specdec.publish.figures import flat_run

    flat = flat_run(run)
    if to == "openmetrics":
        from nemo_skills_specdec.files import write_atomically
        from nemo_skills_specdec.publish.openmetrics import to_openmetrics

        text = to_openmetrics(flat)
        if output is not None:
            write_atomically(output, text.encode("utf-8", "replace"))
        write_line(str(output) if output is not None else text.rstrip("\n"))
        return
    from nemo_skills_specdec.publish.trackers import to_mlflow, to_wandb

    if output is not None:
        raise UsageError(f"--output is for --to openmetrics; {to} knows where it stores runs")
    write_line((to_wandb if to == "wandb" else to_mlflow)(flat, project, name))
