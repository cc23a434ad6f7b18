"""Runs in Weights & Biases and MLflow, without a network; each needs its extra."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from finished_run import write_run

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.publish.figures import flat_run
from nemo_skills_specdec.publish.trackers import to_mlflow, to_wandb


@pytest.mark.parametrize(("write", "name"), [(to_wandb, "wandb"), (to_mlflow, "mlflow")])
def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"{name} is not installed; .*nemo-skills-specdec\[{name}\]"):
        write(flat_run(write_run(tmp_path / "r")), "p")  # type: ignore[operator]


def test_wandb_keeps_figures_and_the_table_of_categories_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    where = Path(to_wandb(flat_run(write_run(tmp_path / "r")), "p"))
    (table,) = where.glob("files/media/table/*.json")
    told = json.loads(table.read_text())
    rows = {row[0]: dict(zip(told["columns"], row, strict=True)) for row in told["data"]}
    assert rows["coding"]["acceptance_length"] == 2.0
    assert (where / "files" / "metrics.json").resolve().read_bytes() == (tmp_path / "r" / "metrics.json").read_bytes()
    (log,) = where.glob("run-*.wandb")
    assert b"acceptance_length_category_macro" in log.read_bytes()


def test_mlflow_keeps_figures_settings_and_the_file_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/mlruns")
    run_id = to_mlflow(flat_run(write_run(tmp_path / "r")), "p", "named").split()[-1]
    told = mlflow.get_run(run_id)
    assert told.info.run_name == "named"
    assert told.data.metrics["acceptance_length"] == 1.6
    assert told.data.metrics["category/coding/acceptance_length"] == 2.0
    assert told.data.params["concurrency"] == "8"
    assert told.data.tags["valid"] == "True"
    assert [file.path for file in mlflow.artifacts.list_artifacts(run_id=run_id)] == ["metrics.json"]
