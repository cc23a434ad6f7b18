from __future__ import annotations

from typing import Any

import pytest

from nemo_skills_specdec.errors import DataError, RowError, UsageError
from nemo_skills_specdec.prompts.rows import columns_of, row_of
from nemo_skills_specdec.records import Message, PromptRow, prompt_sha256

U, A, S = "user", "assistant", "system"


def said(record: dict[str, Any], column: str | None = None) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in row_of(record, "x", column=column).row.messages]


def test_a_row_of_nemo_skills_is_read_as_it_is() -> None:
    record = {
        "question_id": "q1",
        "category": "coding",
        "sub_category": "python",
        "source": "s",
        "src_id": "7",
        "difficulty": None,
        "multiturn": True,
        "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    }
    assert row_of(record, "x").row == PromptRow(
        question_id="q1",
        category="coding",
        sub_category="python",
        source="s",
        src_id="7",
        multiturn=True,
        messages=[Message("user", "a"), Message("user", "b")],
    )


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi"},
        {"question": "hi"},
        {"instruction": "hi", "input": "", "output": "x"},
        {"query": "hi"},
        {"problem": "hi", "solution": "x"},
        {"text": "hi"},
        {"texts": ["hi"]},
        {"turns": ["hi"]},
        {"turns": "hi"},
        {"turns": [{"text": "hi"}]},
        {"turns": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"prompt": [{"role": "user", "content": "hi"}]},
        {"prompt": [{"type": "text", "text": "hi"}]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "x"}]},
        {"conversations": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x"}]},
        {"conversation": [{"content": "hi", "role": "user"}]},
        {"conversations": [{"value": "hi"}, {"value": "x"}]},
        {"messages": None, "prompt": "hi"},
        {"messages": [], "prompt": " ", "question": "hi"},
        {
            "custom_id": "1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": "hi"}]},
        },
        {"custom_id": "1", "body": {"prompt": "hi", "max_tokens": 4}},
        {"responses_create_params": {"input": [{"role": "user", "content": "hi"}]}},
        {"responses_create_params": {"input": "hi"}},
    ],
    ids=str,
)
def test_every_usual_shape_of_a_prompt_is_read(record: dict[str, Any]) -> None:
    assert said(record) == [(U, "hi")]


def test_several_texts_are_turns_and_several_parts_are_one() -> None:
    assert said({"turns": ["one", "two"]}) == [(U, "one"), (U, "two")]
    assert said({"prompt": ["one", "two"]}) == [(U, "one"), (U, "two")]
    assert said({"texts": ["one", "two"]}) == [(U, "one\ntwo")]
    parts = [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]
    assert said({"messages": [{"role": "user", "content": parts}]}) == [(U, "one\ntwo")]


def test_recorded_answers_are_context_and_the_last_one_is_left_out() -> None:
    turns = [("human", "h1"), ("gpt", "g1"), ("human", "h2"), ("gpt", "g2")]
    parsed = row_of({"conversations": [{"from": who, "value": text} for who, text in turns]}, "x")
    assert [(m.role, m.content) for m in parsed.row.messages] == [(U, "h1"), (A, "g1"), (U, "h2")]
    assert parsed.answer_dropped
    assert not parsed.row.multiturn


def test_both_notations_of_a_conversation_give_the_same_prompt() -> None:
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    turns = [("system", "s"), ("human", "h1"), ("gpt", "g1"), ("human", "h2")]
    one = said({"conversations": [{"from": who, "value": text} for who, text in turns]})
    other = said({"messages": [{"role": names[who], "content": text} for who, text in turns]})
    assert one == other == [(S, "s"), (U, "h1"), (A, "g1"), (U, "h2")]


def test_a_system_text_beside_the_prompt_comes_first() -> None:
    assert said({"system": "s", "prompt": "hi"}) == [(S, "s"), (U, "hi")]
    assert said({"system_prompt": "s", "conversations": [{"from": "human", "value": "hi"}]}) == [(S, "s"), (U, "hi")]
    assert said({"system": None, "prompt": "hi"}) == said({"system": "", "prompt": "hi"}) == [(U, "hi")]
    own = {"system": "other", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]}
    assert said(own) == [(S, "s"), (U, "hi")]


def test_the_input_of_an_instruction_is_part_of_the_prompt() -> None:
    assert said({"instruction": "Sort.", "input": "3 1 2", "output": "1 2 3"}) == [(U, "Sort.\n\n3 1 2")]
    assert said({"instruction": "Who?", "context": "Ann came."}, column="instruction") == [(U, "Who?\n\nAnn came.")]


def test_roles_of_developers_and_tools_are_passed_on() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    record = {
        "messages": [
            {"role": "developer", "content": "d"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ]
    }
    assert row_of(record, "x").row.messages == [
        Message("developer", "d"),
        Message("user", "u"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "42", tool_call_id="c1"),
    ]


def test_a_list_of_token_ids_is_a_prompt() -> None:
    (message,) = row_of({"prompt": [1, 2, 3]}, "x").row.messages
    assert (message.content, message.token_ids) == ("", (1, 2, 3))
    assert row_of({"prompt_token_ids": [7]}, "x").row.messages[0].token_ids == (7,)


def test_the_column_asked_for_is_the_prompt() -> None:
    record = {"prompt": "no", "ask": "yes", "messages": [{"role": "user", "content": "no"}]}
    assert said(record, column="ask") == [(U, "yes")]
    with pytest.raises(UsageError, match=r"x has no column 'b'; choose with --column from: a, c"):
        row_of({"a": "1", "c": "2"}, "x", column="b")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"answer": "a", "score": 1}, r"line 3 has none of the keys messages, .* it has answer, score"),
        ({}, "it has no key"),
        ({"prompt": 7}, "line 3: `prompt` is a number, not a text"),
        ({"prompt": True}, "`prompt` is true or false, not a text"),
        ({"prompt": float("nan")}, "`prompt` is a number"),
        ({"question": {"text": "a"}}, "`question` is an object"),
        ({"prompt": b"a"}, "`prompt` is binary data"),
        ({"prompt": [[1, 2], [3]]}, "`prompt` holds a list, not only texts or messages"),
        ({"prompt": ["a", 3]}, "`prompt` holds a number"),
        ({"turns": [1, 2]}, "`turns` is a list of numbers"),
        ({"prompt": [1, -2]}, "`prompt` is a list of numbers"),
        ({"messages": "hi"}, "`messages` is a text, not a list of messages"),
        ({"prompt": "\ud83d"}, "holds half a character"),
        ({"system": "s", "prompt": [1, 2]}, "token ids are a whole prompt"),
    ],
    ids=str,
)
def test_a_row_of_no_known_shape_is_refused_by_name(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        row_of(record, "line 3")
    assert not isinstance(caught.value, RowError)


@pytest.mark.parametrize(
    ("record", "reason", "no_turn"),
    [
        ({"prompt": None}, "there is no text in `prompt`", False),
        ({"prompt": "  "}, "there is no text in `prompt`", False),
        ({"conversations": None}, "there is no text in `conversations`", True),
        ({"conversations": [{"from": "gpt", "value": "alone"}]}, "no user message to answer", True),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "no user message", True),
        ({"conversations": [{"from": "human", "value": None}]}, "message 1 has no text", False),
        ({"conversations": ["raw", {"from": "human", "value": "b"}]}, "message 1 is a text without a role", False),
        ({"conversations": [{"from": "human", "value": 5}]}, "message 1 holds a number", False),
        ({"messages": [{"role": "robot", "content": "a"}]}, "message 1 has an unknown role", False),
        ({"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}, "message 2 has no role", False),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "something that is not text", False),
        ({"turns": ["a", None]}, "message 2 is null", False),
        ({"turns": ["a", ""]}, "user message 2 has no text", False),
    ],
    ids=str,
)
def test_a_row_without_a_prompt_that_can_be_sent_is_told_apart(record: Any, reason: str, no_turn: bool) -> None:
    with pytest.raises(RowError, match=reason) as caught:
        row_of(record, "line 3")
    assert caught.value.no_turn is no_turn


def test_an_id_is_the_records_own_or_follows_from_its_text() -> None:
    assert row_of({"prompt": "hi", "id": 81}, "x").row.question_id == "81"
    assert row_of({"prompt": "hi", "id": 81.0}, "x").row.question_id == "81"
    assert row_of({"custom_id": "c", "body": {"prompt": "hi"}}, "x").row.question_id == "c"
    for odd in (None, "", [1], float("nan"), {"a": 1}):
        parsed = row_of({"prompt": "hi", "id": odd}, "x")
        assert (parsed.own_id, parsed.row.question_id) == (False, prompt_sha256([Message("user", "hi")])[:32])


def test_labels_are_texts_or_whole_numbers_and_never_a_repr() -> None:
    row = row_of({"prompt": "hi", "category": ["a"], "difficulty": 5, "source": {"a": 1}}, "x").row
    assert (row.category, row.difficulty, row.source) == ("uncategorized", "5", None)


def test_request_settings_in_a_row_are_noted() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "temperature": 0.5}
    assert row_of({"custom_id": "1", "body": body}, "x").settings == ("max_tokens", "temperature")


def test_only_the_columns_of_a_prompt_are_read_from_a_table() -> None:
    assert columns_of(["image", "prompt", "category", "answer"], None) == ["prompt", "category"]
    assert columns_of(["image", "ask", "prompt", "system"], "ask") == ["ask", "system"]
