from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.json_records import records, records_of_file

RECORDS = [{"b": 'ä]}\\"\u2028', "a": [1, {"x": None}]}, {}, {"long": "y" * 50}]


def blocks(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_whatever_the_blocks(size: int, indent: int | None) -> None:
    data = json.dumps(RECORDS, ensure_ascii=False, indent=indent).encode()
    assert list(records(blocks(data, size), "f")) == RECORDS


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_lines_are_read_whatever_the_blocks(size: int) -> None:
    data = "\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS).encode()
    assert list(records(blocks(data, size), "f")) == RECORDS


def test_keys_keep_their_order() -> None:
    assert list(next(records([b'[{"z": 1, "a": 2}]'], "f"))) == ["z", "a"]


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans())), st.integers(1, 40))
def test_every_list_of_objects_survives(values: list[dict[str, object]], size: int) -> None:
    assert list(records(blocks(json.dumps(values).encode(), size), "f")) == values


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert list(records_of_file(path)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": ', "record 1 is not JSON"),
        (b"[1]", "record 0 is not a JSON object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"<html>", "record 0 is not JSON"),
    ],
)
def test_other_content_is_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(records([data], "f"))
