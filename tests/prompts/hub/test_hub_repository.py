from __future__ import annotations

from pathlib import Path

import pytest
from standin_hub import Repo, StandIn

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.repository import GatedError, TokenError, check_access, data_files, open_repository

SHA = "a" * 40


def fetcher(hub: StandIn, **options: object) -> Fetcher:
    return Fetcher(endpoint=hub.url, sleep=lambda _: None, attempts=2, **options)  # type: ignore[arg-type]


@pytest.fixture
def gated(hub: StandIn) -> StandIn:
    hub.add("cais/hle", "data/test-00000-of-00001.parquet", b"x")
    hub.repos["cais/hle"] = Repo(sha=SHA, gated=True)
    hub.tokens = {"granted": {"cais/hle"}, "stranger": set()}
    return hub


def test_access_that_is_granted_passes(gated: StandIn) -> None:
    check_access(fetcher(gated, token="granted"), "cais/hle")


def test_without_a_token_a_gated_set_says_where_to_accept_and_how_to_log_in(gated: StandIn) -> None:
    with pytest.raises(GatedError, match=r"https://huggingface.co/datasets/cais/hle .* hf auth login"):
        check_access(fetcher(gated), "cais/hle")


def test_an_account_without_access_is_sent_to_the_terms(gated: StandIn) -> None:
    with pytest.raises(GatedError, match="your account has no access yet; accept its terms at https"):
        check_access(fetcher(gated, token="stranger"), "cais/hle")


def test_a_bad_token_is_not_taken_for_a_missing_set(gated: StandIn) -> None:
    with pytest.raises(TokenError, match="refuses the access token"):
        check_access(fetcher(gated, token="wrong"), "cais/hle")


def test_an_unknown_revision_is_named(gated: StandIn, tmp_path: Path) -> None:
    gated.add("a/b", "x.parquet", b"x")
    with pytest.raises(UsageError, match="a/b has no revision 'v9'"):
        open_repository(fetcher(gated), Cache(tmp_path), "a/b", "v9")


def test_an_unknown_set_is_named(gated: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set a/none"):
        open_repository(fetcher(gated), Cache(tmp_path), "a/none")


def test_what_a_branch_meant_the_first_time_stays(hub: StandIn, tmp_path: Path) -> None:
    hub.add("a/b", "test.parquet", b"x")
    hub.repos["a/b"].sha = SHA
    cache = Cache(tmp_path)
    open_repository(fetcher(hub), cache, "a/b")
    hub.repos["a/b"].sha = "b" * 40
    assert open_repository(fetcher(hub, offline=True), cache, "a/b").sha == SHA


def files(hub: StandIn, cache: Path, names: list[str], config: str | None, readme: str | None = None) -> list[str]:
    for name in names:
        hub.add("a/b", name, b"x")
    if readme is not None:
        hub.add("a/b", "README.md", readme.encode())
    reader = fetcher(hub)
    repository = open_repository(reader, Cache(cache), "a/b")
    return [file.path for file in data_files(reader, Cache(cache), repository, config, "test")]


def test_the_readme_says_which_files_are_a_config(hub: StandIn, tmp_path: Path) -> None:
    readme = """---
configs:
- config_name: sqa
  data_files:
  - split: test
    path: data/sqa/part*.json
- config_name: other
  data_files:
  - split: test
    path: other/*.json
---
"""
    names = ["data/sqa/part1.json", "data/sqa/part2.json", "other/test.json"]
    assert files(hub, tmp_path, names, "sqa", readme) == ["data/sqa/part1.json", "data/sqa/part2.json"]


@pytest.mark.parametrize(
    ("names", "config", "expected"),
    [
        (["data/test-0-of-1.parquet", "data/train-0-of-1.parquet"], None, ["data/test-0-of-1.parquet"]),
        (["3.0.0/test-0.parquet", "2.0.0/test-0.parquet"], "3.0.0", ["3.0.0/test-0.parquet"]),
        (["data/sqa/test.json", "data/hybridial/test.json"], "sqa", ["data/sqa/test.json"]),
        (["test.jsonl", "train.jsonl"], None, ["test.jsonl"]),
        (["data/test-0.parquet", "data/test-0.json"], None, ["data/test-0.parquet"]),
        (["de-en/test-00000-of-00001.parquet"], "de-en", ["de-en/test-00000-of-00001.parquet"]),
    ],
)
def test_without_a_readme_the_usual_places_are_searched(
    hub: StandIn, tmp_path: Path, names: list[str], config: str | None, expected: list[str]
) -> None:
    assert files(hub, tmp_path, names, config) == expected


def test_a_set_without_fitting_files_lists_what_it_has(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data file for config 'x', split 'test'; it has: train.parquet"):
        files(hub, tmp_path, ["train.parquet"], "x")
