"""`serve` from the command line: what it starts."""

import pytest
import typer
from typer.testing import CliRunner

from nemo_skills_specdec.cli.serve import serve
from nemo_skills_specdec.embedded import launch

app = typer.Typer()
app.command()(serve)


@pytest.fixture
def started(monkeypatch):
    options = []
    monkeypatch.setattr(launch, "serve_here", options.append)
    return options


def test_without_options_it_speaks_as_vllm_and_drafts_three_tokens_with_the_draft_model(started):
    assert CliRunner().invoke(app, []).exit_code == 0
    (options,) = started
    assert (options.dialect, options.method, options.draft_length, options.tree) == ("vllm", "draft_model", 3, None)


def test_a_tree_is_given_by_its_shape_or_by_a_file(started, tmp_path):
    (tmp_path / "tree.json").write_text("[[0], [1], [0, 0]]", encoding="utf-8")
    for tree in ("2x1", str(tmp_path / "tree.json")):
        assert CliRunner().invoke(app, ["--dialect", "sglang", "--draft-tree", tree]).exit_code == 0
    assert [options.tree.parents for options in started] == [(0, 0, 1, 2), (0, 0, 1)]


def test_the_key_comes_from_the_environment(started, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    CliRunner().invoke(app, ["--api-key-env", "MY_KEY"])
    assert started[0].api_key == "secret"
