from __future__ import annotations

from pathlib import Path

import pytest
from prepared_rows import ROWS, row, write

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.prepared.compare import RowDifference, compare_folders
from nemo_skills_specdec.prompts.prepared.export import export


def test_equal_folders_are_the_same(folder: Path, tmp_path: Path) -> None:
    (one,) = compare_folders(folder, write(tmp_path / "other", ROWS))
    assert one.same
    assert (one.num_rows, one.differing, one.missing, one.added) == (3, [], [], [])


def test_the_shape_does_not_matter(folder: Path, tmp_path: Path) -> None:
    export(folder, "specdec_bench", tmp_path / "mo")
    export(folder, "sglang", tmp_path / "sg")
    assert all(one.same for other in ("mo", "sg") for one in compare_folders(folder, tmp_path / other))


def test_a_difference_is_shown_where_it_begins(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", [ROWS[0], row(2, "two", "and 2", category="rag"), ROWS[2]])
    (one,) = compare_folders(folder, other)
    assert not one.same
    assert one.differing == [ROWS[1].question_id]
    assert one.examples == [
        RowDifference(question_id=ROWS[1].question_id, field="messages", turn=1, position=4, ours="two", theirs="2")
    ]


def test_another_number_of_turns_is_shown(folder: Path, tmp_path: Path) -> None:
    longer = row(2, "two", "and two", "and more", category="rag")
    (one,) = compare_folders(folder, write(tmp_path / "other", [ROWS[0], longer, ROWS[2]]))
    assert (one.examples[0].turn, one.examples[0].ours, one.examples[0].theirs) == (None, "2 turns", "3 turns")


def test_another_field_is_shown(folder: Path, tmp_path: Path) -> None:
    (one,) = compare_folders(
        folder, write(tmp_path / "other", [row(1, "one “quoted” </b>", sub_category="z"), *ROWS[1:]])
    )
    assert (one.examples[0].field, one.examples[0].ours, one.examples[0].theirs) == ("sub_category", "a/b c", "z")


def test_missing_and_added_rows_are_listed(folder: Path, tmp_path: Path) -> None:
    (one,) = compare_folders(folder, write(tmp_path / "other", [ROWS[0], ROWS[1], row(9, "nine")]))
    assert (one.missing, one.added, one.same) == ([f"{9:032x}"], [f"{3:032x}"], False)


def test_another_order_is_a_difference(folder: Path, tmp_path: Path) -> None:
    (one,) = compare_folders(folder, write(tmp_path / "other", ROWS[::-1]))
    assert (one.same, one.same_order, one.differing) == (False, False, [])


def test_folders_without_a_common_file_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the first has prompts, the other else"):
        compare_folders(folder, write(tmp_path / "other", ROWS, "else"))
