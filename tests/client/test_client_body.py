import json

import pytest

from nemo_skills_specdec.client.body import body_writer, count_turns, encode_answer, encode_turns, turn_body
from nemo_skills_specdec.client.exchange import RequestOptions, as_sent
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.records import Message, PromptRow


def body_of(*messages: Message, answers: tuple[str, ...] = (), **options: object) -> dict[str, object]:
    request = RequestOptions(**{"model": "m", **options})
    writer = body_writer(request)
    turns = encode_turns(writer, PromptRow(question_id="q", category="c", messages=list(messages)))
    return json.loads(turn_body(writer, turns, [encode_answer(writer, answer) for answer in answers]))


def test_a_streamed_chat_body_asks_for_usage():
    assert body_of(Message("user", "hi")) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_option_has_its_place_in_the_body():
    body = body_of(
        Message("user", "hi"),
        stream=False,
        max_tokens=5,
        temperature=0.0,
        top_p=0.9,
        seed=7,
        ignore_eos=True,
        n=2,
        chat_template_kwargs={"enable_thinking": False},
    )
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.9,
        "seed": 7,
        "ignore_eos": True,
        "n": 2,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_the_second_turn_holds_the_first_with_the_models_own_answer():
    body = body_of(Message("system", "s"), Message("user", "a"), Message("user", "b"), answers=('He said "ä\n"',))
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": 'He said "ä\n"'},
        {"role": "user", "content": "b"},
    ]


def test_an_assistant_message_of_the_prompt_is_sent_and_not_generated():
    body = body_of(Message("user", "a"), Message("assistant", "given"), Message("user", "b"))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]


def test_completions_send_a_single_user_text_as_it_is():
    assert body_of(Message("user", 'a "b"\n'), api="completions")["prompt"] == 'a "b"\n'


def test_completions_join_all_contents_with_newlines():
    body = body_of(
        Message("system", "s"), Message("user", "a"), Message("user", "b"), answers=("x\ty",), api="completions"
    )
    assert body["prompt"] == "s\na\nx\ty\nb"


def test_the_extra_body_wins_over_every_option():
    body = body_of(Message("user", "hi"), temperature=0.0, extra_body={"temperature": 1.0, "top_k": 4, "model": "x"})
    assert (body["temperature"], body["top_k"], body["model"]) == (1.0, 4, "x")


def test_the_extra_body_adds_to_objects_without_emptying_them():
    body = body_of(Message("user", "hi"), extra_body={"stream_options": {"continuous_usage_stats": True}})
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_the_extra_body_can_switch_streaming_off():
    body = body_of(Message("user", "hi"), extra_body={"stream": False})
    assert body["stream"] is False
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extra_body": {"messages": []}}, "must not hold `messages`"),
        ({"extra_body": {"prompt": ""}, "api": "completions"}, "must not hold `prompt`"),
        ({"api": "completions", "chat_template_kwargs": {"a": 1}}, "need the chat API"),
        ({"extra_body": {"a": object()}}, "cannot be written as JSON"),
    ],
)
def test_options_that_cannot_be_sent_are_refused_before_the_window(options, says):
    with pytest.raises(UsageError, match=says):
        body_of(Message("user", "hi"), **options)


def test_a_conversation_without_a_question_is_refused():
    for messages in ([Message("system", "hi")], []):
        with pytest.raises(UsageError, match="prompt q has no user message"):
            body_of(*messages)


def test_text_that_is_no_unicode_is_refused_with_the_prompts_name():
    with pytest.raises(UsageError, match="prompt q holds text that is not valid Unicode"):
        body_of(Message("user", "\ud83d"))


def test_turns_are_the_user_messages_without_a_given_answer():
    roles = ["system", "user", "assistant", "user", "user"]
    assert count_turns([Message(role, "x") for role in roles]) == 2
    assert count_turns([]) == 0


def test_token_ids_are_sent_as_they_are_and_to_the_completions_api_only():
    ids = Message("user", "", token_ids=(1, 5, 7))
    assert body_of(ids, api="completions")["prompt"] == [1, 5, 7]
    with pytest.raises(UsageError, match="prompt q is a list of token ids, which only the completions API takes"):
        body_of(ids)


def test_what_tools_were_asked_and_answered_is_passed_on():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = body_of(
        Message("developer", "d"),
        Message("user", "u"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "42", tool_call_id="c1", name="f"),
    )["messages"]
    assert messages == [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "name": "f", "tool_call_id": "c1"},
    ]


def test_a_null_in_the_extra_body_removes_a_field():
    request = RequestOptions(
        model="m", max_tokens=64, temperature=0.0, extra_body={"max_tokens": None, "max_completion_tokens": 64}
    )
    body = json.loads(_only_body(request))
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 64
    assert as_sent(request).max_tokens == 64


@pytest.mark.parametrize(
    ("extra", "sent"),
    [
        ({"temperature": 0.8}, {"temperature": 0.8}),
        ({"temperature": None}, {"temperature": None}),
        ({"n": 3, "max_tokens": 9}, {"n": 3, "max_tokens": 9}),
        ({"ignore_eos": True, "seed": 5}, {"ignore_eos": True, "seed": 5}),
        ({"temperature": "warm", "other": 1}, {"temperature": 0.0}),
    ],
)
def test_what_the_extra_body_puts_in_its_place_is_what_was_sent(extra, sent):
    found = as_sent(RequestOptions(model="m", temperature=0.0, max_tokens=64, extra_body=extra))
    assert {name: getattr(found, name) for name in sent} == sent


def _only_body(request):
    row = PromptRow(question_id="q", category="c", messages=[Message("user", "hi")])
    writer = body_writer(request)
    return turn_body(writer, encode_turns(writer, row), [])
