"""`ns-specdec tree`."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from nemo_skills_specdec.cli.tree import tree
from nemo_skills_specdec.errors import UsageError


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(tree)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def rates(tmp_path: Path) -> str:
    path = tmp_path / "rates.json"
    path.write_text('{"rates": [[0.6, 0.15, 0.08, 0.05], [0.75, 0.1, 0.04]]}')
    return str(path)


def test_trees_of_every_size_stand_beside_chain_and_named_tree(rates: str, tmp_path: Path) -> None:
    named = tmp_path / "named.json"
    named.write_text('{"name": "mine", "nodes": [[0], [1], [0, 0]]}')
    result = run("--rates", rates, "--nodes", "12,63,512", "--compare", str(named), "--json", "--steps", "20000")
    body = json.loads(result.stdout)
    found = {item["name"]: item for item in body["trees"]}
    assert result.stdout.count("\n") == 1
    assert list(found) == ["best-12", "best-63", "best-512", "chain-12", "chain-24", "mine"]
    assert [found[f"best-{n}"]["num_nodes"] for n in (12, 63, 512)] == [12, 63, 512]
    assert found["best-12"]["expected_acceptance_length"] > found["chain-12"]["expected_acceptance_length"]
    assert found["mine"]["expected_acceptance_length"] == pytest.approx(1 + 0.6 + 0.15 + 0.45)
    for item in found.values():
        gap = abs(item["expected_acceptance_length"] - item["simulated_acceptance_length"])
        assert gap < 5 * item["simulated_standard_error"]
        assert item["num_levels"] <= 24
    assert "tree_levels_extrapolated" in {finding["code"] for finding in body["findings"]}


def test_a_person_sees_the_tree_and_the_arguments(rates: str) -> None:
    shown = run("--rates", rates, "--nodes", "4", "--levels", "3", "--steps", "100").stdout
    assert "root\n├─ 0  0.600\n" in shown
    assert "--speculative-num-draft-tokens 5" in shown
    assert "best-4" in shown


def test_the_folder_holds_figures_rates_and_pictures(rates: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert run("--rates", rates, "--nodes", "5", "--output", str(folder), "--steps", "100").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["best-5.svg", "chain-5.svg", "rates.json", "trees.json"]
    assert json.loads((folder / "rates.json").read_text())["rates"][0] == [0.6, 0.15, 0.08, 0.05]
    again = run("--rates", str(folder / "rates.json"), "--nodes", "5", "--steps", "100", "--json")
    assert again.exit_code == 0


def test_without_rates_the_embedded_engine_measures_and_checks(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"id": str(i), "prompt": f"Tell me about the number {i}."} for i in range(6)]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    how = ("--prompts", str(prompts), "--max-tokens", "16", "--probe", "3x1x1", "--steps", "100")
    body = json.loads(run(*how, "--nodes", "3", "--levels", "3", "--check", "--json").stdout)
    assert body["rates"]["source"] == "embedded engine, 6 prompts, greedy"
    for item in body["trees"]:
        found = item["prediction"]
        assert found["predicted"] == pytest.approx(item["expected_acceptance_length"])
        assert found["measured_interval"][0] <= found["measured"] <= found["measured_interval"][1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "few"], "whole numbers"),
        (["--nodes", "0"], "nodes must be"),
        (["--check"], "leave --rates out"),
        (["--compare", "none.json"], "cannot read none.json"),
    ],
)
def test_wrong_use_gives_one_line(rates: str, arguments: list[str], words: str) -> None:
    error = run("--rates", rates, *arguments).exception
    assert isinstance(error, UsageError)
    assert words in str(error)
    assert "\n" not in str(error)
