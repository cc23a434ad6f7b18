"""Log-probabilities: asked for in both APIs' words, read from both APIs' answers."""

import json

import pytest

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.body import body_writer, encode_turns, turn_body
from nemo_skills_specdec.client.exchange import Exchange, RequestOptions
from nemo_skills_specdec.client.logprobs import token_logprobs
from nemo_skills_specdec.records import GeneratedToken, Message, PromptRow

OTHERS = [{"token": "Ho", "logprob": -2.5}, {"token": "Hi", "logprob": -0.1}]
CHAT = {"content": [{"token": "Hi", "logprob": -0.1, "top_logprobs": OTHERS}]}
READ = [GeneratedToken("Hi", -0.1, (("Hi", -0.1), ("Ho", -2.5)))]


def body(**options):
    row = PromptRow(question_id="a", category="c", messages=[Message("user", "x")])
    writer = body_writer(RequestOptions(model="m", **options))
    return json.loads(turn_body(writer, encode_turns(writer, row), []))


def test_both_apis_are_asked_in_their_own_words():
    assert {k: v for k, v in body(logprobs=2).items() if "logprobs" in k} == {"logprobs": True, "top_logprobs": 2}
    assert body(logprobs=2, api="completions")["logprobs"] == 2
    assert not [key for key in body() if "logprobs" in key]


def test_the_chat_api_lists_tokens():
    assert token_logprobs({"logprobs": CHAT}) == READ


def test_the_completions_api_lists_columns():
    columns = {
        "tokens": ["Hi"],
        "token_logprobs": [-0.1],
        "top_logprobs": [{"Ho": -2.5, "Hi": -0.1}],
        "text_offset": [0],
    }
    assert token_logprobs({"logprobs": columns}) == READ
    assert token_logprobs({"logprobs": {**columns, "top_logprobs": None}}) == [GeneratedToken("Hi", -0.1)]


@pytest.mark.parametrize(
    "raw", [None, 3, {}, {"content": None}, {"content": [{"token": 3}]}, {"tokens": ["a"], "token_logprobs": []}]
)
def test_what_cannot_be_read_is_left_out(raw):
    assert token_logprobs({"logprobs": raw}) == []


def exchange(*frames, streamed):
    return Exchange(
        question_id="a",
        category="c",
        turn=0,
        scheduled_at=0,
        sent_at=0,
        ended_at=1,
        frames=[json.dumps(frame).encode() for frame in frames],
        streamed=streamed,
    )


def test_a_stream_gives_the_tokens_of_all_its_chunks():
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": CHAT}]}
    assert read_answer(exchange(chunk, chunk, streamed=True)).logprobs == READ * 2


def test_a_whole_answer_gives_its_tokens_and_one_without_gives_none():
    whole = {"choices": [{"index": 0, "message": {"content": "Hi"}, "logprobs": CHAT}]}
    assert read_answer(exchange(whole, streamed=False)).logprobs == READ
    del whole["choices"][0]["logprobs"]
    assert read_answer(exchange(whole, streamed=False)).logprobs is None
