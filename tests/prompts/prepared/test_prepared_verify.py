from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prepared_rows import ROWS, row, write

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.prepared.manifest import read_manifest
from nemo_skills_specdec.prompts.prepared.rows import stored_rows
from nemo_skills_specdec.prompts.prepared.verify import Verification, verify_file


def codes(result: Verification) -> set[tuple[str, str]]:
    return {(finding.code, finding.severity) for finding in result.findings}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def rewrite(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in rows))


def test_a_file_as_written_is_whole(folder: Path) -> None:
    result, manifest = verify_file(folder / "prompts.jsonl")
    assert result.ok
    assert result.findings == []
    assert (result.num_rows, result.num_turns, result.num_multiturn_rows) == (3, 4, 1)
    assert result.rows_per_category == {"qa": 2, "rag": 1}
    assert manifest is not None
    assert manifest.row_sha256.keys() == {entry.question_id for entry in ROWS}


def test_rows_survive_writing_and_reading(folder: Path) -> None:
    assert list(stored_rows(folder / "prompts.jsonl")) == ROWS


def edited(path: Path, change: Any) -> None:
    """Changes what a JSON file or the JSON lines of a file hold."""
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
        return
    values = lines(path)
    change(values)
    rewrite(path, values)


def swap_categories(rows: Any) -> None:
    rows[0]["category"], rows[1]["category"] = rows[1]["category"], rows[0]["category"]


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("prompts.jsonl", swap_categories, "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0].update(source="elsewhere"), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0].update(src_id="other"), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0].update(sub_category="other"), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0].update(multiturn=True), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0].update(difficulty="hard"), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0]["messages"][0].update(role="system"), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[1]["messages"].pop(), "rows_changed"),
        ("prompts.jsonl", lambda rows: rows[0].update(question_id="f" * 32), "rows_missing"),
        ("prompts.jsonl", lambda rows: rows.pop(), "rows_missing"),
        ("prompts.jsonl", lambda rows: rows.append({**rows[0], "question_id": "f" * 32}), "rows_added"),
        ("prompts.manifest.json", lambda manifest: manifest.update(num_rows=4), "manifest_figures"),
        ("prompts.manifest.json", lambda manifest: manifest["rows_per_category"].update(qa=1), "manifest_figures"),
        ("prompts.manifest.json", lambda manifest: manifest.update(num_turns=3), "manifest_figures"),
        ("prompts.manifest.json", lambda manifest: manifest.update(comparable=False), "manifest_changed"),
        ("prompts.manifest.json", lambda manifest: manifest["dataset"][0].update(revision="x"), "manifest_changed"),
        ("prompts.manifest.json", lambda manifest: manifest.update(row_digests={}), "manifest_changed"),
    ],
)
def test_no_tampering_passes(folder: Path, name: str, change: Any, code: str) -> None:
    edited(folder / name, change)
    result, _ = verify_file(folder / "prompts.jsonl")
    assert (code, "invalid") in codes(result)
    assert not result.ok


def as_of_format_1(path: Path) -> None:
    def older(manifest: Any) -> None:
        del manifest["row_digests"], manifest["sha256"]
        manifest["format"] = 1

    edited(path, older)


def test_a_manifest_of_format_1_is_read_and_says_what_it_lacks(folder: Path) -> None:
    as_of_format_1(folder / "prompts.manifest.json")
    result, _ = verify_file(folder / "prompts.jsonl")
    assert result.ok
    assert codes(result) == {("manifest_covers_messages", "info")}
    edited(folder / "prompts.jsonl", lambda rows: rows[0].update(source="elsewhere"))
    assert verify_file(folder / "prompts.jsonl")[0].ok
    edited(folder / "prompts.jsonl", lambda rows: rows[0]["messages"][0].update(content="x"))
    assert not verify_file(folder / "prompts.jsonl")[0].ok


def test_counts_of_a_manifest_of_format_1_are_checked_too(folder: Path) -> None:
    as_of_format_1(folder / "prompts.manifest.json")
    edited(folder / "prompts.manifest.json", lambda manifest: manifest.update(num_rows=4))
    assert ("manifest_figures", "invalid") in codes(verify_file(folder / "prompts.jsonl")[0])


def test_a_changed_text_is_found(folder: Path) -> None:
    path = folder / "prompts.jsonl"
    path.write_text(path.read_text().replace("three", "Three"))
    result, _ = verify_file(path)
    assert codes(result) == {("rows_changed", "invalid")}
    assert not result.ok


def test_missing_and_added_rows_are_found(folder: Path) -> None:
    path = folder / "prompts.jsonl"
    rows = lines(path)
    rewrite(path, [rows[0], rows[2], {**rows[1], "question_id": "f" * 32}])
    assert codes(verify_file(path)[0]) == {("rows_missing", "invalid"), ("rows_added", "invalid")}


def test_another_order_is_remarked(folder: Path) -> None:
    path = folder / "prompts.jsonl"
    rewrite(path, lines(path)[::-1])
    result, _ = verify_file(path)
    assert codes(result) == {("rows_reordered", "warning")}
    assert result.ok


def test_without_a_manifest_the_origin_is_not_known(folder: Path) -> None:
    (folder / "prompts.manifest.json").unlink()
    assert codes(verify_file(folder / "prompts.jsonl")[0]) == {("no_manifest", "warning")}


def test_a_placeholder_is_found_wherever_it_stands(tmp_path: Path) -> None:
    rows = [row(1, "fine", "first FULL BENCHMARK DATA SHOULD be here")]
    assert ("placeholder", "invalid") in codes(verify_file(write(tmp_path, rows) / "prompts.jsonl")[0])


def test_an_empty_turn_is_found(tmp_path: Path) -> None:
    assert ("empty_turn", "invalid") in codes(verify_file(write(tmp_path, [row(1, "x", " \n")]) / "prompts.jsonl")[0])


def test_an_id_that_comes_twice_is_found(folder: Path) -> None:
    path = folder / "prompts.jsonl"
    path.write_text(path.read_text() + path.read_text().split("\n")[0] + "\n")
    assert ("duplicate_id", "invalid") in codes(verify_file(path)[0])


def test_an_id_that_comes_twice_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is repeated in prompts"):
        write(tmp_path, [row(1, "a"), row(1, "b")])
    assert not (tmp_path / "prompts.jsonl").exists()


def test_an_empty_file_is_of_no_use(tmp_path: Path) -> None:
    assert ("no_rows", "invalid") in codes(verify_file(write(tmp_path, []) / "prompts.jsonl")[0])


def test_equal_prompts_have_equal_fingerprints(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", ROWS, benchmark="another")
    moved = write(tmp_path / "moved", ROWS[::-1])
    prints = [verify_file(place / "prompts.jsonl")[0].fingerprint for place in (folder, other, moved)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"line 2 is not JSON"),
        ('{"question_id": "x", "category": "y"}', r"line 2 has neither `messages` nor `turns`"),
        ('{"category": "y", "turns": ["x"]}', r"line 2 is not a prepared row .*question_id"),
    ],
)
def test_a_broken_row_is_named_by_its_line(folder: Path, text: str, message: str) -> None:
    path = folder / "prompts.jsonl"
    path.write_text(path.read_text().split("\n")[0] + "\n" + text + "\n")
    with pytest.raises(DataError, match=message):
        verify_file(path)


def test_a_manifest_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "prompts.manifest.json").write_text("{}")
    with pytest.raises(DataError, match="is not a manifest of this tool"):
        read_manifest(folder / "prompts.jsonl")


def test_half_a_surrogate_pair_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds half a character"):
        write(tmp_path, [row(1, "\ud83d")])
