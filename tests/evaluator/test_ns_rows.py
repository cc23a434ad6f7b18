"""Rows of output files: what is stamped on them, and what never is."""

import json

import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.evaluator.rows import (
    drop_torn_line,
    join_counts,
    read_rows,
    records_of,
    responses_of,
    stamps_of,
    write_rows,
)
from nemo_skills_specdec.records import RequestRecord

FOUR = AcceptanceCounts(num_drafts=4, num_draft_tokens=12, num_accepted_tokens=5, accepted_per_position=(3, 2, 0))
TWO = AcceptanceCounts(num_drafts=2, num_draft_tokens=6, num_accepted_tokens=1, accepted_per_position=(1, 0, 0))


def record(identity, counts, turn=0, **more):
    return RequestRecord(
        question_id="q", category="math", turn=turn, response_id=identity, counts=counts, completion_tokens=9, **more
    )


def test_a_row_carries_the_figures_of_its_own_turns():
    row = stamps_of([record("a", FOUR), record("b", TWO, 1)])
    assert row["response_ids"] == ["a", "b"]
    assert (row["num_drafts"], row["draft_tokens"], row["accepted_tokens"]) == (6, 18, 6)
    assert row["acceptance_length"] == 2.0
    assert row["acceptance_rate"] == pytest.approx(100 * 6 / 18)
    assert row["per_position_acceptance_rates"] == (4 / 6, 2 / 6, 0.0)
    assert row["conditional_acceptance_rates"] == (4 / 6, 0.5, 0.0)


def test_a_row_whose_answers_do_not_all_tell_carries_no_figures():
    row = stamps_of([record("a", FOUR), record("b", None, 1)])
    assert not {"num_drafts", "acceptance_length", "acceptance_rate"} & set(row)


def test_a_failed_turn_does_not_take_the_figures_of_the_others():
    assert stamps_of([record("a", FOUR), record(None, None, 1, error="HTTP 400")])["num_drafts"] == 4


def test_counts_found_elsewhere_are_joined_by_response_id_and_only_where_none_were():
    rows = [stamps_of([record("a", None), record("b", TWO, 1)]), stamps_of([record("c", None)])]
    assert join_counts(rows, {"a": FOUR, "b": FOUR}, "request_file") == 1
    assert responses_of(rows) == {"a": FOUR, "b": TWO, "c": None}
    assert rows[0]["num_drafts"] == 6
    assert records_of(rows[0])[0].counts_source == "request_file"
    assert "num_drafts" not in rows[1]


def test_rows_of_another_generation_task_are_refused_with_the_cure():
    with pytest.raises(DataError, match="delete it and run again"):
        records_of({"generation": "x", "num_drafts": 30, "acceptance_length": 2.3})


def test_rows_survive_writing_and_reading(tmp_path):
    rows = [{"generation": "line\u2028separator", **stamps_of([record("a", FOUR)])}]
    write_rows(tmp_path / "output.jsonl", rows)
    assert read_rows(tmp_path / "output.jsonl") == json.loads(json.dumps(rows))


def test_a_last_row_that_was_being_written_is_dropped_and_the_others_kept(tmp_path):
    path = tmp_path / "output.jsonl-async"
    path.write_text('{"a": 1}\n{"a": 2, "gen')
    assert read_rows(path) == [{"a": 1}]
    assert drop_torn_line(path) is True
    assert path.read_text() == '{"a": 1}\n'
    assert drop_torn_line(path) is False


def test_a_last_row_that_only_lacks_its_line_break_is_kept(tmp_path):
    path = tmp_path / "output.jsonl-async"
    path.write_text('{"a": 1}\n{"a": 2}')
    assert drop_torn_line(path) is False
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n'


def test_a_broken_row_in_the_middle_is_named(tmp_path):
    path = tmp_path / "output.jsonl"
    path.write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(DataError, match="line 2 is broken"):
        read_rows(path)
