import msgspec
import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.records import (
    Acceptance,
    Finding,
    Message,
    PromptRow,
    acceptance_of,
    prompt_sha256,
    read_prompt_rows,
    write_prompt_rows,
)


def read(tmp_path, content):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_prompt_rows(path)


def test_a_row_of_nemo_skills_is_read_as_it_is(tmp_path):
    line = (
        '{"question_id":"q1","category":"coding","sub_category":"python","source":"s","src_id":"7","difficulty":null,'
        '"multiturn":true,"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}'
    )
    assert read(tmp_path, line) == [
        PromptRow(
            question_id="q1",
            category="coding",
            sub_category="python",
            source="s",
            src_id="7",
            multiturn=True,
            messages=[Message("user", "a"), Message("user", "b")],
        )
    ]


@pytest.mark.parametrize(
    "line",
    ['{"prompt": "hi"}', '{"text": "hi"}', '{"turns": ["hi"]}', '{"messages": [{"role":"user","content":"hi"}]}'],
)
def test_all_usual_shapes_of_a_prompt_are_read(tmp_path, line):
    (row,) = read(tmp_path, line)
    assert row.messages == [Message("user", "hi")]
    assert row.category == "uncategorized"


def test_several_turns_make_a_multi_turn_row(tmp_path):
    (row,) = read(tmp_path, '{"turns": ["one", "two"], "id": 81}')
    assert (row.multiturn, row.question_id) == (True, "81")


def test_an_id_is_derived_from_the_text_where_there_is_none(tmp_path):
    (row,) = read(tmp_path, '{"prompt": "hi"}')
    assert row.question_id == prompt_sha256([Message("user", "hi")])[:32]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path):
    assert len(read(tmp_path, b'\xef\xbb\xbf{"prompt": "a"}\n\n{"prompt": "b"}\n')) == 2


def test_a_line_separator_inside_a_text_does_not_split_the_row(tmp_path):
    (row,) = read(tmp_path, '{"prompt": "a\u2028b"}')
    assert row.messages[0].content == "a\u2028b"


def test_what_is_written_is_read_back(tmp_path):
    rows = [PromptRow(question_id="q", category="math", messages=[Message("user", "1 + 1 = \u2026?")])]
    write_prompt_rows(tmp_path / "rows.jsonl", rows)
    assert read_prompt_rows(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no prompt"),
        ("\n \n", "holds no prompt"),
        ('{"prompt": "a"}\n{"prompt": \n', "line 2 is not JSON"),
        ('{"prompt": "a"}\n[1]', "line 2 is not a JSON object"),
        ('{"question": "a"}', "line 1 has none of"),
        ('{"prompt": 7}', "line 1: `prompt` must be a text"),
        ('{"messages": [{"role": "robot", "content": "a"}]}', "line 1: `messages`"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "does not end with a user message"),
        ('{"prompt": "  "}', "does not end with a user message that has text"),
        ('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}', "line 2: id 'x' stands already on line 1"),
        (b'{"prompt": "\xff"}', "is not UTF-8 \\(byte 12\\)"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_cure(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nothing\.jsonl: No such file"):
        read_prompt_rows(tmp_path / "nothing.jsonl")


def test_the_json_of_a_result_is_the_documented_one():
    counts = AcceptanceCounts(
        num_drafts=10, num_draft_tokens=30, num_accepted_tokens=7, accepted_per_position=(7, 0, 0)
    )
    finding = Finding(code="few_prompts", severity="warning", message="m")
    result = msgspec.json.decode(msgspec.json.encode(acceptance_of(counts, "counters", findings=[finding])))
    assert result["source"] == "counters"
    assert result["accepted_per_position"] == [7, 0, 0]
    assert result["acceptance_length"] == 1.7
    assert result["conditional_acceptance_rates"] == [0.7, 0.0, None]
    assert result["findings"] == [{"code": "few_prompts", "severity": "warning", "message": "m", "numbers": {}}]


def test_unknown_values_are_null_and_never_zero():
    result = msgspec.json.decode(msgspec.json.encode(Acceptance(source=None)))
    assert {key for key, value in result.items() if value is not None} == {"findings"}
