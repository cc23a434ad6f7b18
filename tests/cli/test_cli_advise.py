"""`ns-specdec advise` as a user types it."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nemo_skills_specdec.cli import app

sys.path.append(str(Path(__file__).parent.parent / "compare"))
from compared_runs import write
from test_compare_advice import run_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    for length in (0, 2, 7):
        write(run_of(length), path / f"k{length}")
    return path


def test_a_folder_of_runs_gives_a_best_length_with_its_range(folder):
    done = CliRunner().invoke(app, ["advise", str(folder), "--run-noise", "0.02"])
    assert done.exit_code == 0, done.output
    assert "predicted best draft length: " in done.stdout
    assert "are within 2%" in done.stdout
    assert "(assumed)" in done.stdout
    assert "for more certainty, measure next:" in done.stdout


def test_the_file_holds_what_json_prints(folder, tmp_path):
    done = CliRunner().invoke(app, ["advise", str(folder), "--json", "--output-dir", str(tmp_path)])
    assert json.loads(done.stdout) == json.loads((tmp_path / "advice.json").read_text())
    (method,) = json.loads(done.stdout)["methods"]
    assert [one["draft_length"] for one in method["loads"][0]["measured"]] == [0, 2, 7]
