"""Runs as flat figures, and as OpenMetrics text."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from finished_run import write_run
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from nemo_skills_specdec.cli import app
from nemo_skills_specdec.publish.figures import flat_run
from nemo_skills_specdec.publish.openmetrics import to_openmetrics
from nemo_skills_specdec.records import Finding


def test_figures_have_the_names_of_metrics_json_and_their_ends(tmp_path: Path) -> None:
    run = flat_run(write_run(tmp_path / "r"))
    told = {name: run.figures[name] for name in ("acceptance_length", "num_drafts", "ttft_seconds_p99", "wall_seconds")}
    assert told == {"acceptance_length": 1.6, "num_drafts": 10, "ttft_seconds_p99": 0.4, "wall_seconds": 4.0}
    macro = [run.figures[f"acceptance_length_category_macro{end}"] for end in ("", "_low", "_high")]
    assert macro == [1.7, 1.5, 1.9]
    assert "tpot_seconds_p50" not in run.figures
    assert run.categories["coding"]["acceptance_length"] == 2.0


def test_settings_are_what_is_known(tmp_path: Path) -> None:
    settings = flat_run(write_run(tmp_path / "r")).settings
    assert settings["concurrency"] == 8
    assert (settings["engine"], settings["method"], settings["source"]) == ("vllm", "ngram", "response")
    assert "top_p" not in settings


def test_a_run_that_must_not_be_used_says_so(tmp_path: Path) -> None:
    finding = Finding(code="foreign_traffic", severity="invalid", message="Others.")
    run = flat_run(write_run(tmp_path / "r", finding))
    assert (run.valid, run.findings) == (False, ["invalid:foreign_traffic"])


def test_the_text_is_read_back_with_its_values_and_its_time(tmp_path: Path) -> None:
    text = to_openmetrics(flat_run(write_run(tmp_path / "r")))
    samples = {
        (sample.name, sample.labels.get("category")): (sample.value, sample.timestamp)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    value, at = samples["specdec_run_acceptance_length", None]
    assert (value, float(at)) == (1.6, 1795611604.5)
    assert samples["specdec_run_category_num_accepted_tokens", 'say "hi"\\'][0] == 2.0
    assert samples["specdec_run_valid", None][0] == 1.0


def test_the_command_prints_the_text_or_writes_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r")
    printed = CliRunner().invoke(app, ["publish", str(run), "--to", "openmetrics"])
    assert printed.output == to_openmetrics(flat_run(run))
    written = CliRunner().invoke(app, ["publish", str(run), "--to", "openmetrics", "--output", str(tmp_path / "o")])
    assert (written.output, (tmp_path / "o").read_text()) == (f"{tmp_path / 'o'}\n", printed.output)


@pytest.mark.real_prometheus
def test_prometheus_takes_the_text(tmp_path: Path) -> None:
    folder = os.environ.get("SPECDEC_PROMETHEUS", "")
    tool = str(Path(folder) / "promtool") if folder else shutil.which("promtool")
    if tool is None or not Path(tool).is_file():
        pytest.skip("no Prometheus; name its folder in SPECDEC_PROMETHEUS")
    text = to_openmetrics(flat_run(write_run(tmp_path / "r")))
    (tmp_path / "o").write_text(text)
    command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "o"), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "data" / "wal").mkdir()
    asked = [tool, "tsdb", "dump", "--match", '{__name__="specdec_run_acceptance_length"}', str(tmp_path / "data")]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert told.split("} ")[1] == "1.6 1795611604500\n"
