"""Studies composed by Hydra on this machine."""

import pytest

pytest.importorskip("hydra", reason="needs the extra [experiments]")

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.studies.hydra_app import run_hydra
from nemo_skills_specdec.studies.study import find_runs

QUICK = ["model=own", "benchmark.categories=[coding]", "sampling.max_tokens=8", "load.concurrency=2", "warmup=1"]


def test_several_values_make_a_run_each_in_one_study_and_a_second_time_none(tmp_path):
    study = tmp_path / "a study"
    overrides = [*QUICK, "method=none,ngram,eagle"]
    outcome = run_hydra(overrides, study)
    assert (outcome.done, outcome.failed) == (2, 1)
    assert {run.config.method.name: run.state for run in find_runs(study)} == {
        "none": "finished",
        "ngram": "finished",
        "eagle": "failed",
    }
    outcome = run_hydra(overrides, study)
    assert (outcome.done, outcome.skipped, outcome.held_back) == (0, 2, 1)


def test_a_key_that_no_part_mentions_can_be_overridden_too(tmp_path):
    run_hydra([*QUICK, "method=ngram", "method.draft_length=2", "benchmark.limit_per_category=1"], tmp_path)
    (run,) = find_runs(tmp_path)
    assert (run.config.method.draft_length, run.config.benchmark.limit_per_category) == (2, 1)


def test_a_dry_run_prints_commands_and_makes_nothing(tmp_path, capfd):
    run_hydra(["model=qwen2_7b", "server=vllm,sglang", "method=ngram"], tmp_path, dry_run=True)
    printed = capfd.readouterr().out
    assert "vllm serve Qwen/Qwen2-7B-Instruct" in printed
    assert "sglang.launch_server --model-path Qwen/Qwen2-7B-Instruct" in printed
    assert find_runs(tmp_path) == []


@pytest.mark.parametrize("wrong", ["benchmark.limt=1", "method=nonsense", "a=["])
def test_what_hydra_cannot_compose_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="Hydra"):
        run_hydra([*QUICK, wrong], tmp_path)
    assert find_runs(tmp_path) == []


def test_a_value_of_the_wrong_kind_fails_that_job_and_is_named(tmp_path, capfd):
    assert run_hydra([*QUICK, "sampling.max_tokens=many,8"], tmp_path).failed == 1
    assert "sampling.max_tokens" in capfd.readouterr().err
    assert [run.state for run in find_runs(tmp_path)] == ["finished"]
