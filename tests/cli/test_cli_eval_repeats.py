"""`ns-specdec eval --repeats`: a fresh window each, another order each, and the spread between them."""

import json
import subprocess
import sys

import pytest

from nemo_skills_specdec.measurement.run import load_run

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]


def ns_specdec(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    study = tmp_path_factory.mktemp("repeats") / "out"
    done = ns_specdec(
        "eval", "--repeats", "2", "--limit-per-category", "1", "--max-tokens", "8", "--temperature", "1", "--seed", "5",
        "--concurrency", "4", "--output-dir", str(study), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = [load_run(path.parent) for path in sorted(study.glob("runs/*/metrics.json"))]
    return json.loads(done.stdout), study, runs


def test_every_repeat_is_a_run_of_its_own(repeated):
    spread, study, runs = repeated
    assert [run.evaluation.overall.num_prompts for run in runs] == [11, 11]
    assert json.loads((study / "repeats.json").read_text()) == spread
    lengths = next(one for one in spread["figures"] if one["figure"] == "acceptance_length")
    assert lengths["values"] == [run.evaluation.overall.acceptance.acceptance_length for run in runs]


def test_every_repeat_sends_the_prompts_in_another_order_and_stores_them_in_theirs(repeated):
    _, _, (first, second) = repeated
    assert [row.question_id for row in first.rows] == [row.question_id for row in second.rows]
    sent = [sorted(run.rows, key=lambda row: row.requests[0].start_time) for run in (first, second)]
    assert [row.question_id for row in sent[0]] != [row.question_id for row in sent[1]]


def test_sampled_repeats_have_seeds_of_their_own(repeated):
    _, _, runs = repeated
    assert [run.manifest.arguments["request"]["seed"] for run in runs] == [5, 6]


def test_a_shuffled_run_can_be_computed_again(repeated):
    _, _, runs = repeated
    assert runs[0].recompute() == runs[0].evaluation


def test_comparing_the_study_finds_the_repeats(repeated):
    _, study, _ = repeated
    done = ns_specdec("compare", str(study), str(study))
    assert done.returncode == 2
    assert "the runs are those of the baseline" in done.stderr
