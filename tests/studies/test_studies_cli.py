"""`experiment` and `sweep` from the command line."""

import json

import pytest
import typer
from typer.testing import CliRunner

from nemo_skills_specdec.cli.experiment import experiment
from nemo_skills_specdec.cli.sweep import sweep
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.studies.study import find_runs

app = typer.Typer()
app.command()(experiment)
app.command()(sweep)

OWN = {"model": "default", "engine": {"name": "embedded"}, "benchmark": {"categories": ["coding"]}, "warmup": 1}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments):
    result = run(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


@pytest.fixture
def files(tmp_path):
    for name, method in (("baseline", "none"), ("ngram", "ngram")):
        content = {**OWN, "method": method, "generation": {"max_tokens": 8}}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path / "baseline.json", tmp_path / "ngram.json"


def test_several_files_are_one_study_with_one_summary(files, tmp_path):
    result = run("experiment", "--configs", *files, "--output-dir", tmp_path / "s", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert {row["method"] for row in summary["rows"]} == {"none", "ngram"}
    assert {path.name for path in (tmp_path / "s").iterdir()} >= {"summary.csv", "summary.md", "report.html", "runs"}


def test_options_go_over_what_files_say(files, tmp_path):
    result = run(
        "experiment", *files, "--skip-baseline", "--max-tokens", 5, "--draft-length", 2, "--output-dir", tmp_path / "s"
    )
    assert result.exit_code == 0, result.output
    (found,) = find_runs(tmp_path / "s")
    assert (found.config.sampling.max_tokens, found.config.method.draft_length) == (5, 2)


def test_a_run_that_failed_makes_the_exit_code_1(tmp_path):
    content = {**OWN, "method": "suffix"}
    (tmp_path / "a.json").write_text(json.dumps(content))
    result = run("experiment", tmp_path / "a.json", "--output-dir", tmp_path / "s")
    assert result.exit_code == 1
    assert "1 failed" in result.output
    assert run("experiment", tmp_path / "a.json", "--output-dir", tmp_path / "s").exit_code == 1


def test_a_dry_run_prints_the_commands_of_both_engines(tmp_path):
    result = run("experiment", "--model", "org/model", "--draft-model", "org/draft", "--dry-run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len([line for line in lines if "vllm serve org/model" in line]) == 3
    assert len([line for line in lines if "sglang.launch_server --model-path org/model" in line]) == 3
    assert sum("org/draft" in line for line in lines) == 2


def test_of_files_in_any_order_the_baseline_is_run_first(tmp_path):
    for name, method in (("a", "ngram"), ("b", "none")):
        engine = {"name": "vllm", "method": method}
        (tmp_path / f"{name}.json").write_text(json.dumps({"model": "org/model", "engine": engine}), encoding="utf-8")
    lines = run("experiment", "--configs", tmp_path / "a.json", tmp_path / "b.json", "--dry-run").stdout.splitlines()
    assert ["--speculative-config" in line for line in lines] == [False, True]


def test_engine_options_reach_the_engine():
    result = run(
        *("experiment", "--model", "org/model", "--engine", "vllm", "--method", "ngram", "--dry-run"),
        *("--tensor-parallel-size", 2, "--max-num-seqs", 9, "--engine-args", "--seed 3", "--engine-env", "A=b c"),
    )
    (line,) = result.stdout.splitlines()
    assert line.startswith("VLLM_SERVER_DEV_MODE=1 ")
    assert " A='b c' " in line
    assert "--tensor-parallel-size 2 --max-num-seqs 9" in line
    assert line.endswith("--seed 3")


def test_a_sweep_has_a_baseline_at_every_load_and_one_server_for_a_draft_length(tmp_path):
    result = run(
        *("sweep", "--model", "org/model", "--method", "none", "--method", "ngram", "--dry-run"),
        *("--draft-length", "1..2", "--concurrency", "1,4"),
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert len(set(lines)) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["experiment"], "nothing to run"),
        (["experiment", "no_such_study"], "no study 'no_such_study'"),
        (["experiment", "a.json"], "cannot read a.json"),
        (["experiment", "model=own", "embedded"], "do not mix"),
        (["experiment", "model=own", "--max-tokens", "3"], "do not mix"),
        (["experiment", "--model", "m", "--engine-env", "A"], "NAME=VALUE"),
        (["experiment", "--model", "m", "--engine-args", "'"], "cannot be split"),
        (["experiment", "llamacpp", "--draft-model", "d"], "no run takes a drafter"),
        (["sweep"], "exactly one"),
        (["sweep", "embedded", "--server-url", "http://x"], "exactly one"),
        (["sweep", "--server-url", "http://x", "--draft-length", "1..3"], "running server"),
        (["sweep", "--server-url", "http://x", "--max-num-seqs", "3"], "engine options apply"),
        (["sweep", "--model", "m", "--concurrency", "x"], "--concurrency"),
    ],
)
def test_wrong_use_is_refused_in_one_line(arguments, said):
    if "embedded" in arguments or "no_such_study" in arguments:
        pytest.importorskip("yaml")
    if "model=own" in arguments and "--max-tokens" not in arguments:
        pytest.importorskip("hydra")
    message = refusal(*arguments)
    assert said in message
    assert "\n" not in message
