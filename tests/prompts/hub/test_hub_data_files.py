from __future__ import annotations

from pathlib import Path

import pytest
from standin_hub import StandIn

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.data_files import SplitFiles, split_files
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.repository import open_repository


def found(
    hub: StandIn, cache: Path, names: list[str], readme: str | None, config: str | None, split: str | None
) -> SplitFiles:
    for name in names:
        hub.add("a/b", name, b"x")
    if readme is not None:
        hub.add("a/b", "README.md", f"---\n{readme}---\n".encode())
    reader = Fetcher(endpoint=hub.url)
    return split_files(reader, open_repository(reader, Cache(cache), "a/b"), config, split)


def files(hub: StandIn, cache: Path, names: list[str], config: str | None, readme: str | None = None) -> list[str]:
    return [file.path for file in found(hub, cache, names, readme, config, "test").files]


def test_the_readme_says_which_files_are_a_config(hub: StandIn, tmp_path: Path) -> None:
    readme = """configs:
- config_name: sqa
  data_files:
  - split: test
    path: data/sqa/part*.json
- config_name: other
  data_files:
  - split: test
    path: other/*.json
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


CARD = """configs:
- config_name: small
  default: true
  data_files:
  - split: train
    path: small/train-*
  - split: test
    path: small/test-*
- config_name: large
  data_files:
    validation: large/part-*
"""
SHARDS = ["small/test-00000-of-00002.parquet", "small/test-00001-of-00002.parquet"]
NAMES = [*SHARDS, "small/train-0.parquet", "large/part-0.parquet"]


@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [
        (None, None, ("small", "test", SHARDS)),
        (None, "train", ("small", "train", ["small/train-0.parquet"])),
        ("large", None, ("large", "validation", ["large/part-0.parquet"])),
    ],
)
def test_config_and_split_are_those_of_the_card_with_all_shards(
    hub: StandIn, tmp_path: Path, config: str | None, split: str | None, expected: tuple[str, str, list[str]]
) -> None:
    made = found(hub, tmp_path, NAMES, CARD, config, split)
    assert (made.config, made.split, [file.path for file in made.files]) == expected


def test_several_configs_without_a_default_must_be_chosen_from(hub: StandIn, tmp_path: Path) -> None:
    card = CARD.replace("  default: true\n", "")
    with pytest.raises(UsageError, match="a/b has the configs small, large and no default; choose one with --config"):
        found(hub, tmp_path, NAMES, card, None, None)


def test_several_splits_of_other_names_must_be_chosen_from(hub: StandIn, tmp_path: Path) -> None:
    card = "configs:\n- config_name: c\n  data_files:\n  - {split: one, path: 1.json}\n  - {split: two, path: 2.json}\n"
    with pytest.raises(UsageError, match="a/b has the splits one, two; choose one with --split"):
        found(hub, tmp_path, ["1.json", "2.json"], card, None, None)


@pytest.mark.parametrize("config", ["huge", None])
def test_an_unknown_split_or_config_lists_what_there_is(hub: StandIn, tmp_path: Path, config: str | None) -> None:
    with pytest.raises(
        DataError, match=r"split 'dev'; it has: large/part-0.parquet, .*; its configs are: small, large"
    ):
        found(hub, tmp_path, NAMES, CARD, config, "dev")


def test_a_config_may_name_a_folder_alone(hub: StandIn, tmp_path: Path) -> None:
    card = "configs:\n- config_name: c\n  data_dir: deep/er\n"
    made = found(hub, tmp_path, ["deep/er/test.json", "deep/er/train.json"], card, None, None)
    assert (made.config, made.split, [file.path for file in made.files]) == ("c", "test", ["deep/er/test.json"])


def test_files_whose_names_tell_no_split_are_one(hub: StandIn, tmp_path: Path) -> None:
    made = found(hub, tmp_path, ["part1.jsonl", "part2.jsonl"], None, None, None)
    assert (made.config, made.split, len(made.files)) == (None, "train", 2)


def test_a_shard_that_is_not_there_is_missed(hub: StandIn, tmp_path: Path) -> None:
    names = ["data/test-00000-of-00003.parquet", "data/test-00002-of-00003.parquet"]
    with pytest.raises(DataError, match=r"of 3 shards like data/test-00000-of-00003.parquet only 2 are known"):
        found(hub, tmp_path, names, None, None, None)
