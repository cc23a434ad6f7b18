"""`ns-specdec compare` as a user types it."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nemo_skills_specdec.cli import app
from nemo_skills_specdec.errors import UsageError

sys.path.append(str(Path(__file__).parent.parent / "compare"))
from compared_runs import make_run, record, row, write


def rows(accepted, tpot=0.01):
    return [row(record(str(n), accepted=accepted + n % 5, tpot=tpot * (1 + 0.1 * (n % 3)))) for n in range(20)]


@pytest.fixture
def folder(tmp_path):
    write(make_run(rows(12)), tmp_path / "base")
    write(make_run(rows(10)), tmp_path / "worse")
    write(make_run(rows(12), load={"concurrency": 9}), tmp_path / "other")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_the_table_fits_a_terminal_and_says_the_verdict(folder):
    done = run(folder / "base", folder / "worse")
    assert done.exit_code == 0
    line = next(line for line in done.stdout.splitlines() if line.startswith("AL "))
    assert line.split() == ["AL", "2.400", "2.200", "0.917x", "0.914", "to", "0.919", "lower"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--max-al-drop", "0.05"], 1),
        (["--max-al-drop", "0.2"], 0),
        (["--min-speedup", "1.0"], 0),
        (["--min-speedup", "1.0", "--undecided", "fail"], 1),
    ],
)
def test_the_exit_code_is_that_of_the_thresholds(folder, options, code):
    assert run(folder / "base", folder / "worse", *options).exit_code == code


def test_runs_that_were_not_measured_alike_are_refused(folder):
    done = run(folder / "base", folder / "other")
    assert isinstance(done.exception, UsageError)
    assert "load.concurrency (4 and 9)" in str(done.exception)
    assert run(folder / "base", folder / "other", "--allow", "concurrency").exit_code == 0


def test_the_files_hold_what_is_printed(folder):
    out = folder / "out"
    done = run(folder / "base", folder / "worse", "--json", "--output-dir", out, "--junit", out / "junit.xml")
    assert json.loads(done.stdout) == json.loads((out / "comparison.json").read_text())
    (comparison,) = json.loads(done.stdout)["comparisons"]
    length = next(change for change in comparison["overall"] if change["figure"] == "acceptance_length")
    assert length["verdict"] == "lower"
    assert (out / "comparison.md").read_text().startswith("### vllm 0.30.0, eagle3 k3")
    assert (out / "junit.xml").read_text().startswith("<?xml")


def texts(*given):
    return [row(record(str(n), accepted=12, text=text)) for n, text in enumerate(given)]


def test_changed_answers_are_told_with_the_baselines_own_and_exit_with_one(folder):
    write(make_run(texts(*["abcdef"] * 9), speculation="off"), folder / "answers")
    write(make_run(texts(*["abcdef"] * 8, "abcdeX"), speculation="off"), folder / "again")
    write(make_run(texts(*["abXdef"] * 9)), folder / "changed")
    done = run("--outputs", folder / "answers", folder / "changed", "--self", folder / "again")
    assert done.exit_code == 1
    told = " ".join(done.stdout.split())
    assert "0.0% of 9 prompts identical" in told
    assert "more different than the baseline from itself" in told
    same = run("--outputs", folder / "answers", folder / "again", "--allow", "sampling")
    assert same.exit_code == 0
    assert "verdict on the answers: undecided" in same.stdout


def test_sampled_answers_of_single_runs_are_said_to_be_untested(folder):
    warm = {"temperature": 0.8}
    write(make_run(texts("a b", "c d"), speculation="off", request=warm), folder / "warm")
    write(make_run(texts("a b", "c e"), request=warm), folder / "warmer")
    (found,) = json.loads(run("--outputs", folder / "warm", folder / "warmer", "--json").stdout)["comparisons"]
    assert "outputs_untested" in [finding["code"] for finding in found["findings"]]
