"""Which of the prompts' tokens a server had seen before, and when TTFT rests on them."""

import pytest

from nemo_skills_specdec.engines.base import CounterReading, Traffic
from nemo_skills_specdec.measurement.prompt_cache import PromptCache, check_prompt_cache, prompt_cache_of
from nemo_skills_specdec.records import RequestRecord


def answer(number, prompt_tokens=100, cached=None, turn=0, completion_tokens=10):
    return RequestRecord(
        question_id=str(number),
        category="math",
        turn=turn,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cached_prompt_tokens=cached,
    )


def counters(cached, prompt_tokens):
    traffic = Traffic(cached_prompt_tokens=cached, prompt_tokens=prompt_tokens)
    return CounterReading(engine="vllm", source="counters", traffic=traffic)


def test_answers_that_tell_come_before_the_counters_and_one_that_does_not_had_nothing_cached():
    cache = prompt_cache_of([answer(1, cached=48), answer(2)], counters(999, 1000))
    assert cache == PromptCache(source="response", cached_tokens=48, prompt_tokens=200, fraction=0.24)


def test_counters_tell_where_no_answer_does():
    cache = prompt_cache_of([answer(1), answer(2)], counters(50, 200))
    assert cache == PromptCache(source="counters", cached_tokens=50, prompt_tokens=200, fraction=0.25)


@pytest.mark.parametrize("reading", [None, counters(None, 200), counters(50, None), counters(300, 200)])
def test_nothing_is_said_where_nothing_tells_or_where_it_cannot_be(reading):
    assert prompt_cache_of([answer(1), answer(2)], reading) is None


def test_prompts_that_were_sent_before_are_a_finding():
    records = [answer(number) for number in range(4)]
    (finding,) = check_prompt_cache(records, prompt_cache_of(records, counters(384, 400)))
    assert (finding.code, finding.severity) == ("prompts_cached", "warning")
    assert finding.numbers == {"cached": 384, "prompt_tokens": 400, "own_turns": 0}
    assert "96 %" in finding.message
    assert "--fresh-cache" in finding.message


def test_earlier_turns_of_the_same_conversation_are_meant_to_be_in_the_cache():
    records = [answer(1), answer(1, prompt_tokens=220, turn=1)]
    assert check_prompt_cache(records, prompt_cache_of(records, counters(110, 320))) == []
    (finding,) = check_prompt_cache(records, prompt_cache_of(records, counters(200, 320)))
    assert finding.numbers["own_turns"] == 110


def test_the_beginning_that_a_chat_template_gives_every_prompt_is_no_finding():
    records = [answer(number, prompt_tokens=50) for number in range(4)]
    assert check_prompt_cache(records, prompt_cache_of(records, counters(64, 200))) == []
