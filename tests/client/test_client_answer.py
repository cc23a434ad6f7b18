import json

import pytest
from client_server import DATA

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.exchange import Answer, Exchange
from nemo_skills_specdec.client.sse import DONE, split_events


def exchange(*frames: bytes, streamed: bool) -> Exchange:
    return Exchange(
        question_id="q",
        category="c",
        turn=0,
        scheduled_at=0.0,
        sent_at=0.0,
        ended_at=9.0,
        frames=list(frames),
        chunk_times=[float(i) for i in range(len(frames))] if streamed else [],
        streamed=streamed,
    )


def streamed(*chunks: object) -> Answer:
    return read_answer(exchange(*(json.dumps(c).encode() for c in chunks), streamed=True))


def body(value: object) -> Answer:
    return read_answer(exchange(json.dumps(value).encode(), streamed=False))


def delta(index: int = 0, finish: str | None = None, **fields: object) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def recorded_stream(name: str) -> Answer:
    payloads, _ = split_events((DATA / name).read_bytes())
    return read_answer(exchange(*(p for p in payloads if p != DONE), streamed=True))


def recorded_body(name: str) -> Answer:
    return read_answer(exchange((DATA / name).read_bytes(), streamed=False))


def test_a_recorded_vllm_stream_is_read():
    answer = recorded_stream("vllm_chat_stream.sse")
    assert answer.generation.startswith("def _get_name(self, self, self, self.get_name")
    assert (answer.response_id, answer.finish_reason) == ("chatcmpl-b4436f7c6f10c514", "length")
    assert (answer.prompt_tokens, answer.completion_tokens) == (16, 96)
    # Frame 0 holds only the role, the last one only usage and statistics.
    assert (answer.first_content, answer.last_content) == (1, 51)
    assert answer.response["metrics"]["speculative_decoding"]["acceptance_histogram"] == [31, 5, 2, 12]
    assert answer.error is None


def test_usage_in_every_chunk_counts_once_and_last():
    answer = recorded_stream("vllm_usage_in_every_chunk.sse")
    assert (answer.prompt_tokens, answer.completion_tokens) == (16, 64)
    assert answer.response["metrics"]["speculative_decoding"]["num_spec_steps"] == 34


def test_a_recorded_sglang_stream_keeps_the_statistics_of_their_own_chunk():
    answer = recorded_stream("sglang_spec_details_stream.sse")
    assert answer.response["sglext"]["spec_tokens_details"]["spec_correct_drafts_histogram"] == [11]
    assert (answer.completion_tokens, answer.finish_reason) == (12, "length")
    assert answer.response["choices"][0]["finish_reason"] == "length"
    assert answer.reasoning is None


def test_the_last_chunk_may_carry_the_finish_reason_alone():
    answer = recorded_stream("sglang_chat_stream.sse")
    assert (answer.first_content, answer.last_content) == (1, 35)


def test_a_recorded_vllm_body_is_read():
    answer = recorded_body("vllm_chat.json")
    assert answer.generation.startswith("def _get_name(self")
    assert (answer.finish_reason, answer.completion_tokens, answer.first_content) == ("length", 96, None)
    assert answer.response["metrics"]["speculative_decoding"]["num_spec_steps"] == 21


def test_a_recorded_sglang_body_keeps_its_meta_info():
    answer = recorded_body("sglang_chat.json")
    assert answer.response["choices"][0]["meta_info"]["spec_verify_ct"] == 33
    assert answer.completion_tokens == 64


def test_of_several_choices_the_first_gives_the_text():
    answer = recorded_body("sglang_chat_n2.json")
    assert (answer.generation, answer.finish_reason) == ("def fp.", "stop")
    assert len(answer.response["choices"]) == 2


def test_a_recorded_completion_is_read():
    answer = recorded_body("sglang_completions.json")
    assert answer.generation.startswith("class_name(self.get_name")
    assert answer.completion_tokens == 48


def test_a_streamed_completion_is_read():
    answer = streamed(
        {"choices": [{"index": 0, "text": "a", "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]},
    )
    assert (answer.generation, answer.finish_reason, answer.first_content, answer.last_content) == ("ab", "stop", 0, 1)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart_and_counts_as_content(key):
    answer = streamed(delta(role="assistant", content=""), delta(**{key: "hm"}), delta(content="yes", finish="stop"))
    assert (answer.reasoning, answer.generation, answer.first_content) == ("hm", "yes", 1)


def test_reasoning_under_both_names_counts_once():
    assert streamed(delta(reasoning="hm", reasoning_content="hm")).reasoning == "hm"


def test_reasoning_of_a_body_is_kept_apart():
    answer = body(
        {"choices": [{"index": 0, "message": {"content": "yes", "reasoning": "hm"}, "finish_reason": "stop"}]}
    )
    assert (answer.reasoning, answer.generation) == ("hm", "yes")


def test_streamed_choices_are_told_apart_by_their_index():
    answer = streamed(
        delta(1, content="x"), delta(0, content="a"), delta(1, content="y", finish="length"), delta(0, finish="stop")
    )
    assert (answer.generation, answer.finish_reason) == ("a", "stop")


def test_a_null_never_replaces_a_value():
    answer = streamed(
        {"choices": [], "metrics": {"a": 1}, "usage": {"completion_tokens": 3}},
        {"choices": [], "metrics": None, "usage": None},
    )
    assert answer.response["metrics"] == {"a": 1}
    assert answer.completion_tokens == 3


def test_a_key_that_is_always_null_is_there():
    assert streamed({"choices": [], "metrics": None}).response["metrics"] is None


def test_llamacpp_timings_of_the_last_chunk_are_kept():
    answer = streamed(
        delta(content="a", finish="stop"),
        {"choices": [], "usage": {"completion_tokens": 1}, "timings": {"draft_n": 5, "draft_n_accepted": 3}},
    )
    assert answer.response["timings"] == {"draft_n": 5, "draft_n_accepted": 3}


def test_a_tool_call_counts_as_content_but_gives_no_text():
    answer = streamed(delta(role="assistant"), delta(tool_calls=[{"index": 0}]), delta(finish="tool_calls"))
    assert (answer.first_content, answer.generation) == (1, "")


def test_halves_of_a_character_in_two_chunks_become_one():
    frames = [
        b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}',
    ]
    assert read_answer(exchange(*frames, streamed=True)).generation == "\U0001f600"


def test_half_a_character_alone_becomes_a_replacement_mark():
    assert read_answer(exchange(b'{"choices":[{"text":"a\\ud83d"}]}', streamed=True)).generation == "a\ufffd"


def test_a_broken_chunk_is_named_and_the_rest_is_kept():
    answer = read_answer(
        exchange(b'{"choices":[{"text":"a"}]}', b'{"x":', b'{"choices":[{"text":"b"}]}', streamed=True)
    )
    assert answer.generation == "ab"
    assert (answer.error or "").startswith("chunk 1 of the stream is not JSON")


def test_an_error_object_is_named():
    assert body({"error": {"message": "busy"}}).error == "the server reported an error: busy"
    assert streamed({"error": {"message": "busy"}}).error == "the server reported an error: busy"


@pytest.mark.parametrize("value", ["text", [1], None, 3])
def test_a_body_that_is_no_object_is_named(value):
    assert "not a JSON object" in (body(value).error or "")


@pytest.mark.parametrize(
    "value",
    [
        {"choices": "none"},
        {"choices": [None, 1]},
        {"choices": [{"message": "x"}], "usage": [], "id": 7},
        {"choices": [{"message": {"content": ["a"]}}], "usage": {"prompt_tokens": "3", "completion_tokens": True}},
        {},
    ],
)
def test_unexpected_shapes_are_read_as_unknown(value):
    for answer in (body(value), streamed(value)):
        assert (answer.generation, answer.prompt_tokens, answer.completion_tokens) == ("", None, None)


def test_an_exchange_without_frames_gives_an_empty_answer():
    assert read_answer(exchange(streamed=False)) == Answer()


def test_cached_tokens_of_the_prompt_are_read_from_the_usage():
    usage = {"prompt_tokens": 40, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 24}}
    assert body({"choices": [], "usage": usage}).cached_prompt_tokens == 24
    assert body({"choices": [], "usage": {**usage, "prompt_tokens_details": None}}).cached_prompt_tokens is None
