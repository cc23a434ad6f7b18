from __future__ import annotations

import base64
import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from standin_hub import StandIn

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.parquet import RemoteParquet, concatenated, merged
from nemo_skills_specdec.prompts.hub.parquet_pages import empty_values

URL = "https://huggingface.co/datasets/a/b/resolve/main/x.parquet"


def opened(hub: StandIn, cache: Path, table: pa.Table, **options: object) -> RemoteParquet:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    hub.add("a/b", "x.parquet", buffer.getvalue())
    return RemoteParquet(Fetcher(endpoint=hub.url, sleep=lambda _: None), Cache(cache), URL)


def table(rows: int = 1000, blob: int = 2000) -> pa.Table:
    rng = random.Random(1)
    return pa.table(
        {
            "id": [f"id{n}" for n in range(rows)],
            "blob": [rng.randbytes(blob) for _ in range(rows)],
            "text": [f"text {n}" for n in range(rows)],
            "turns": [[f"a{n}", "b"] for n in range(rows)],
        }
    )


def test_only_the_needed_columns_are_read(hub: StandIn, tmp_path: Path) -> None:
    file = opened(hub, tmp_path, table(), row_group_size=100)
    assert file.num_rows == 1000
    assert file.rows([0, 999, 500], ["text"]) == {
        0: {"text": "text 0"},
        500: {"text": "text 500"},
        999: {"text": "text 999"},
    }
    assert hub.bytes_sent < file.size / 20


def test_nested_columns_are_read_whole(hub: StandIn, tmp_path: Path) -> None:
    file = opened(hub, tmp_path, table(), row_group_size=100)
    assert file.rows([7], ["turns"]) == {7: {"turns": ["a7", "b"]}}


def test_a_key_is_found_at_its_first_row(hub: StandIn, tmp_path: Path) -> None:
    twice = pa.table({"id": ["x", "y", "x"], "text": ["first", "other", "second"]})
    file = opened(hub, tmp_path, twice, row_group_size=1)
    assert file.find("id", {"x", "z"}, ["text"]) == {"x": {"text": "first"}}


def test_what_was_read_is_not_read_again(hub: StandIn, tmp_path: Path) -> None:
    opened(hub, tmp_path, table()).rows([3], ["text"])
    before = len(hub.log)
    offline = Fetcher(endpoint=hub.url, offline=True)
    file = RemoteParquet(offline, Cache(tmp_path), URL, (hub.root / "datasets/a/b/x.parquet").stat().st_size)
    assert file.rows([3], ["text"]) == {3: {"text": "text 3"}}
    assert len(hub.log) == before


def test_a_row_beyond_the_end_is_refused(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 1000 rows, number 1000 is asked for"):
        opened(hub, tmp_path, table()).rows([1000], ["text"])


def test_a_missing_column_is_named(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'answer'; it has: id, blob, text, turns"):
        opened(hub, tmp_path, table()).rows([1], ["answer"])


def test_a_file_of_another_kind_is_refused(hub: StandIn, tmp_path: Path) -> None:
    hub.add("a/b", "x.parquet", b"version https://git-lfs.github.com/spec/v1\n" * 10)
    with pytest.raises(DataError, match="is not a Parquet file"):
        RemoteParquet(Fetcher(endpoint=hub.url), Cache(tmp_path), URL)


def test_numbers_count_through_several_files(hub: StandIn, tmp_path: Path) -> None:
    file = opened(hub, tmp_path, table(10), row_group_size=4)
    assert concatenated([file, file], [9, 10], ["text"]) == {9: {"text": "text 9"}, 10: {"text": "text 0"}}
    with pytest.raises(DataError, match="have 20 rows, number 20"):
        concatenated([file, file], [20], ["text"])


def test_ranges_close_together_are_joined() -> None:
    assert merged([(30, 40), (0, 10), (12, 20)], 2) == [(0, 20), (30, 40)]


def images(rows: int, first: str, rng: random.Random) -> list[str]:
    made = [base64.b64encode(rng.randbytes(3000)).decode() if rng.random() < 0.2 else "" for _ in range(rows)]
    made[0] = first
    return made


@pytest.mark.parametrize("compression", ["snappy", "none"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("first", ["", "data:image/png;base64," + "QUJD" * 3000])
def test_empty_texts_are_told_from_the_page_indices(
    hub: StandIn, tmp_path: Path, compression: str, version: str, nullable: bool, first: str
) -> None:
    values: list[str | None] = [*images(600, first, random.Random(5))]
    if nullable:
        values[3] = values[77] = None
    schema = pa.schema([pa.field("image", pa.string(), nullable=nullable)])
    file = opened(
        hub,
        tmp_path,
        pa.table({"image": values}, schema=schema),
        compression=compression,
        data_page_version=version,
        row_group_size=300,
    )
    told = [flag for group in range(2) for flag in empty_values(file, group, "image") or []]
    assert told == [value == "" for value in values]
    assert hub.bytes_sent < file.size / 2


def test_without_an_empty_text_every_value_is_full(hub: StandIn, tmp_path: Path) -> None:
    file = opened(hub, tmp_path, pa.table({"image": ["x", "y", "x"]}))
    assert empty_values(file, 0, "image") == [False, False, False]


@pytest.mark.parametrize("options", [{"use_dictionary": False}, {"compression": "zstd"}])
def test_another_layout_is_left_to_the_caller(hub: StandIn, tmp_path: Path, options: dict[str, object]) -> None:
    assert empty_values(opened(hub, tmp_path, pa.table({"image": ["x", ""]}), **options), 0, "image") is None


def test_a_dictionary_that_ran_over_is_left_to_the_caller(hub: StandIn, tmp_path: Path) -> None:
    values = images(4000, "", random.Random(2))
    file = opened(hub, tmp_path, pa.table({"image": values}), dictionary_pagesize_limit=100_000, write_batch_size=100)
    assert empty_values(file, 0, "image") is None
