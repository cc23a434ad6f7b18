"""`ns-specdec advise --run-next`: the runs that the advice asks for."""

import json
import subprocess
import sys

import pytest

from nemo_skills_specdec.cli._advise_next import measure_next
from nemo_skills_specdec.compare.next_runs import NextRun
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.measurement.run import load_run

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]


def ns_specdec(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=180)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One run with a draft length of 2."""
    study = tmp_path_factory.mktemp("advised") / "study"
    done = ns_specdec(
        "sweep", "embedded", "--engine", "embedded", "--method", "draft_model", "--skip-baseline", "--draft-length",
        "2", "--concurrency", "8", "--max-tokens", "4", "--limit-per-category", "1", "--output-dir", str(study),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return study


def run_of(study):
    return load_run(next(study.glob("runs/*k2*/metrics.json")).parent)


def test_a_server_that_runs_elsewhere_cannot_be_given_another_length(study, tmp_path, monkeypatch):
    run = run_of(study)
    run.directory = tmp_path
    (tmp_path / "config.yaml").write_text("server: {engine: running, url: 'http://127.0.0.1:1'}\nmethod: as_served\n")
    wanted = [NextRun(why="one draft length", draft_length=5, concurrency=8, message="", label="x")]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="none of the runs"):
        measure_next([RunGroup(label="x", runs=[run])], wanted)


def test_nothing_to_ask_for_is_said(study):
    with pytest.raises(UsageError, match="no further run"):
        measure_next([RunGroup(label="x", runs=[run_of(study)])], [])


def test_a_baseline_another_length_and_repeats_are_added_to_the_study(study):
    done = ns_specdec("advise", str(study), "--run-next", "--json")
    assert done.returncode == 0, done.stderr
    (method,) = json.loads(done.stdout)["methods"]
    measured = {one["draft_length"]: one["runs"] for one in method["loads"][0]["measured"]}
    assert measured == {0: 1, 2: 3, 5: 1}
    assert len(list(study.glob("runs/*/metrics.json"))) == 5
