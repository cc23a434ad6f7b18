"""`--draft-model` repeated: which runs a study makes, and the ranking it ends with."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nemo_skills_specdec
from nemo_skills_specdec.cli._study_plan import Wanted, plan
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.measurement.run import load_run

DRAFT = Path(nemo_skills_specdec.__file__).parent / "embedded" / "models" / "draft"
COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]


def drafters_of(**wanted):
    runs, refused = plan(Wanted(**wanted))
    assert refused == []
    return [(run.method.name, run.method.draft_model, run.method.drafter, run.method.drafter_order) for run in runs]


def test_every_drafter_has_runs_of_its_own_and_the_others_have_one():
    found = drafters_of(model="target", drafters=["out/step-1", "out/step-2"], engines=["vllm"])
    assert found == [
        ("none", None, None, None),
        ("ngram", None, None, None),
        ("draft_model", "out/step-1", "step-1", 0),
        ("draft_model", "out/step-2", "step-2", 1),
    ]


def test_a_study_by_name_takes_drafters_in_place_of_its_own():
    found = drafters_of(names=["small"], drafters=["a/final", "b/final"], engines=["vllm"], methods=["draft_model"])
    assert found == [("draft_model", "a/final", "a/final", 0), ("draft_model", "b/final", "b/final", 1)]


def test_one_drafter_needs_no_name():
    found = drafters_of(model="target", drafters=["out/step-1"], engines=["vllm"], methods=["eagle3"])
    assert found == [("eagle3", "out/step-1", None, None)]


def test_a_drafter_given_twice_is_refused():
    with pytest.raises(UsageError, match="given twice"):
        plan(Wanted(model="target", drafters=["a", "a"], engines=["vllm"]))


def test_eval_takes_one():
    done = subprocess.run(
        [*COMMAND, "eval", "--draft-model", "a", "--draft-model", "b"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "eval measures one drafter" in done.stderr


def test_a_study_of_two_drafters_ends_in_their_ranking(tmp_path):
    for name in ("step-1", "step-2"):
        shutil.copytree(DRAFT, tmp_path / name)
    study = tmp_path / "study"
    done = subprocess.run(
        [
            *COMMAND, "experiment", "embedded", "--engine", "embedded", "--method", "draft_model", "--skip-baseline",
            "--draft-model", str(tmp_path / "step-1"), "--draft-model", str(tmp_path / "step-2"),
            "--limit-per-category", "1", "--max-tokens", "8", "--output-dir", str(study),
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (ranking,) = json.loads((study / "drafters.json").read_text())["rankings"]
    assert [(one["drafter"], one["rank"]) for one in ranking["overall"]] == [("step-1", 1), ("step-2", 1)]
    assert "step-1, step-2 cannot be told apart" in (study / "drafters.md").read_text()
    for path in study.glob("runs/*/metrics.json"):
        (file,) = load_run(path.parent).manifest.arguments["weights"]["drafter"]
        assert file["name"] == "model.safetensors"
        assert len(file["sha256"]) == 64
