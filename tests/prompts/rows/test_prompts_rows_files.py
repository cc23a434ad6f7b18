from __future__ import annotations

import builtins
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.rows import is_prompt_file, prompt_file_stem, read_rows

LINES = '{"prompt": "a"}\n{"prompt": "bä"}\n'
ARRAY = json.dumps([{"prompt": "a"}, {"prompt": "bä"}], indent=1)
CSV = 'id,prompt\n,a\n,"bä"\n'


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def texts(tmp_path: Path, name: str, content: bytes | str, column: str | None = None) -> list[str]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row.messages[-1].content for row in read_rows(path, column=column).rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", LINES),
        ("p.ndjson", LINES),
        ("P.JSONL", LINES),
        ("p.other", LINES),
        ("p.jsonl", LINES.replace("\n", "\r\n\r\n")),
        ("p.jsonl", ARRAY),
        ("p.json", ARRAY),
        ("p.json", LINES),
        ("p.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("p.json", b"\xef\xbb\xbf" + ARRAY.encode()),
        ("p.jsonl", LINES.replace("\n{", "\n\ufeff{")),
        ("p.jsonl", LINES.encode("utf-16")),
        ("p.json", ARRAY.encode("utf-16")),
        ("p.csv", CSV.encode("utf-16")),
        ("p.jsonl", LINES.encode("utf-32")),
        ("p.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("p.json.gz", gzip.compress(ARRAY.encode(), mtime=0)),
        ("p.jsonl", gzip.compress(LINES.encode(), mtime=0)),
        ("p.jsonl.zst", zstd(LINES.encode())),
        ("p.csv", CSV),
        ("p.CSV", b"\xef\xbb\xbf" + CSV.encode()),
        ("p.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("p.tsv", CSV.replace(",", "\t")),
        ("p.txt", "a\n\nbä\n"),
        ("p.parquet", parquet([{"prompt": "a", "n": 1}, {"prompt": "bä", "n": 2}])),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 12 else "",
)
def test_one_content_gives_the_same_prompts_in_every_format(tmp_path: Path, name: str, content: bytes | str) -> None:
    assert texts(tmp_path, name, content) == ["a", "bä"]


def test_a_single_object_over_several_lines_is_a_row(tmp_path: Path) -> None:
    assert texts(tmp_path, "p.json", json.dumps({"prompt": "a", "id": "1"}, indent=2)) == ["a"]


def test_the_shape_is_decided_row_by_row(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "x"}]},
        {"id": "2", "conversations": [{"role": "user", "content": "two"}]},
        {"id": "3", "prompt": "three", "conversations": None},
        {"id": "4", "messages": [{"role": "user", "content": "four"}]},
    ]
    assert texts(tmp_path, "p.json", json.dumps(rows)) == ["one", "two", "three", "four"]


def test_a_value_that_is_not_a_number_is_no_obstacle(tmp_path: Path) -> None:
    assert texts(tmp_path, "p.jsonl", '{"prompt": "a", "score": NaN, "id": NaN}') == ["a"]


def test_a_line_separator_inside_a_text_does_not_split_the_row(tmp_path: Path) -> None:
    assert texts(tmp_path, "p.jsonl", '{"prompt": "a\u2028b\u0085c"}') == ["a\u2028b\u0085c"]


def test_a_cell_may_hold_lines_and_be_as_long_as_a_prompt(tmp_path: Path) -> None:
    long = "word " * 60_000
    assert texts(tmp_path, "p.csv", f'prompt\n"two\nlines"\n"{long}"\n') == ["two\nlines", long]


def test_a_column_is_chosen_in_every_format(tmp_path: Path) -> None:
    rows = [{"ask": "yes", "prompt": "no"}]
    for name, content in (
        ("p.jsonl", json.dumps(rows[0]).encode()),
        ("p.json", json.dumps(rows).encode()),
        ("p.csv", b"ask,prompt\nyes,no\n"),
        ("p.parquet", parquet(rows)),
    ):
        assert texts(tmp_path, name, content, column="ask") == ["yes"]
        with pytest.raises(UsageError, match=r"no column 'none'; choose with --column from: ask, prompt"):
            texts(tmp_path, name, content, column="none")


def test_rows_without_a_prompt_are_left_out_and_counted_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    rows = [
        {"id": "a", "conversations": [{"from": "human", "value": None}, {"from": "gpt", "value": "x"}]},
        {"id": "b", "conversations": [{"from": "human", "value": "real"}, {"from": "gpt", "value": "x"}]},
        {"id": "c", "conversations": [{"from": "gpt", "value": "alone"}]},
        {"prompt": ""},
    ]
    path.write_text(json.dumps(rows))
    read = read_rows(path)
    assert [row.question_id for row in read.rows] == ["b"]
    assert [(finding.code, finding.numbers) for finding in read.findings] == [
        ("conversations_left_out", {"rows": 1}),
        ("prompts_left_out", {"rows": 2}),
        ("answers_left_out", {"rows": 1}),
    ]
    assert "record 1 (message 1 has no text), record 4 (there is no text in `prompt`)" in read.findings[1].message


def test_equal_prompts_without_ids_get_numbered_ids(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "a"}\n')
    read = read_rows(path)
    first = read.rows[0].question_id
    assert [row.question_id for row in read.rows if row.messages[0].content == "a"] == [
        first,
        f"{first}#2",
        f"{first}#3",
    ]
    assert [(finding.code, finding.numbers) for finding in read.findings] == [("ids_numbered", {"rows": 2})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", "", "holds no prompt"),
        ("p.json", "[]", "holds no prompt"),
        ("p.jsonl", "\n \n", "holds no prompt"),
        ("p.csv", "prompt\n", "holds no prompt"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2 is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n[1]', "line 2 is not a JSON object"),
        ("p.json", '[{"prompt": "a"}, 3]', "record 2 is not a JSON object"),
        ("p.json", '[{"prompt": "a"}', "p.json is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n{"answer": "a"}', "line 2 has none of the keys .* it has answer"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": 7}', "line 2: `prompt` is a number"),
        ("p.jsonl", '{"prompt": "  "}', "line 1: there is no text in `prompt`"),
        (
            "p.jsonl",
            '\n{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}',
            r"line 3: duplicate id 'x' \(first used on line 2\)",
        ),
        ("p.jsonl", b'{"prompt": "\xff"}', r"line 1 is not UTF-8 \(byte 12\)"),
        ("p.jsonl", b"\xff\xfe{", "cannot read .*p.jsonl: .*truncated"),
        ("p.csv", "prompt\na,b\n", "line 2 has more cells than the header"),
        ("p.csv", "answer\na\n", "line 2 has none of the keys"),
        ("p.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], "cannot read .*p.jsonl.gz"),
        ("p.jsonl.zst", zstd(LINES.encode())[:9], "cannot read .*p.jsonl.zst"),
        ("p.parquet", b"PAR1 no", "cannot read .*p.parquet"),
        ("p.jsonl", "[" * 100_000, "p.jsonl is not JSON"),
        ("p.jsonl", '{"prompt": "a", "n": ' + "9" * 5000 + "}", "line 1 is not JSON"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_cure(
    tmp_path: Path, name: str, content: bytes | str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        texts(tmp_path, name, content)


def test_what_is_no_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nothing\.jsonl: No such file"):
        read_rows(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        read_rows(tmp_path)


def test_a_missing_pyarrow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.parquet").write_bytes(parquet([{"prompt": "a"}]))
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"Parquet files need pyarrow; install .* 'nemo-skills-specdec\[prepare\]'"):
        read_rows(tmp_path / "p.parquet")


def test_files_are_known_by_their_suffix_in_any_case() -> None:
    names = ("a.jsonl", "A.JSON", "a.csv.gz", "a.parquet", "a.jsonl.zst", "a.txt")
    assert all(is_prompt_file(name) for name in names)
    assert not any(is_prompt_file(name) for name in ("gsm8k", "org/name", "a.zip", "jsonl"))
    assert [prompt_file_stem(name) for name in ("x/a.jsonl", "A.JSON.gz", "b.c.csv")] == ["a", "A", "b.c"]
