"""A run in an experiment tracker. Where and as whom is the tracker's own business: its settings, its environment."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.publish.figures import FlatRun

_CATEGORY = "category"


def to_wandb(run: FlatRun, project: str, name: str | None = None) -> str:
    """Writes a run to Weights & Biases; offline with `WANDB_MODE=offline`.

    Returns:
        Where it can be seen, or the folder of an offline run.

    Raises:
        UsageError: the package is not installed, or refuses.
    """
    wandb = _package("wandb", "wandb")
    try:
        with wandb.init(
            project=project, name=name or run.name, config=run.settings, tags=[] if run.valid else ["invalid"]
        ) as tracked:
            tracked.summary.update({**run.figures, "valid": run.valid, "findings": run.findings})
            columns = list(dict.fromkeys(key for figures in run.categories.values() for key in figures))
            rows = [[category, *map(figures.get, columns)] for category, figures in run.categories.items()]
            tracked.log({"categories": wandb.Table(columns=[_CATEGORY, *columns], data=rows)})
            tracked.save(str(run.result.resolve()), base_path=str(run.result.resolve().parent), policy="now")
            where = tracked.url or Path(tracked.dir).parent
    except wandb.errors.Error as error:
        raise UsageError(f"Weights & Biases refused the run: {error}; log in, or set WANDB_MODE=offline") from error
    return str(where)


def to_mlflow(run: FlatRun, project: str, name: str | None = None) -> str:
    """Writes a run to the MLflow that `MLFLOW_TRACKING_URI` names, by default to a database in the current folder.

    Returns:
        The tracking URI and the run's id.

    Raises:
        UsageError: the package is not installed, or refuses.
    """
    mlflow = _package("mlflow", "mlflow")
    try:
        mlflow.set_experiment(project)
        with mlflow.start_run(run_name=name or run.name) as tracked:
            mlflow.log_params(run.settings)
            mlflow.log_metrics(run.figures)
            for category, figures in run.categories.items():
                mlflow.log_metrics({f"{_CATEGORY}/{_plain(category)}/{key}": value for key, value in figures.items()})
            mlflow.set_tags({"valid": run.valid, "findings": " ".join(run.findings)})
            mlflow.log_artifact(str(run.result))
            told = f"{mlflow.get_tracking_uri()} {tracked.info.run_id}"
    except mlflow.exceptions.MlflowException as error:
        raise UsageError(f"MLflow refused the run: {error}; is MLFLOW_TRACKING_URI right?") from error
    return told


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{name} is not installed; install it with: pip install 'nemo-skills-specdec[{extra}]'"
        ) from error


def _plain(text: str) -> str:
    """A name as MLflow takes it: letters, digits and some marks."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-. ") else "_" for letter in text)
