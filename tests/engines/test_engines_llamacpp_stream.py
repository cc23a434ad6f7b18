"""The running `timings` of a llama.cpp stream, as recorded from a real server with `timings_per_token`."""

import json

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.llamacpp import request_extras, stream_counts


def chunk(predicted, drafted=None, accepted=None):
    timings = {"predicted_n": predicted}
    if drafted is not None:
        timings |= {"draft_n": drafted, "draft_n_accepted": accepted}
    return json.dumps({"choices": [{"delta": {"content": "x"}}], "timings": timings}).encode()


ROLE = b'{"choices":[{"delta":{"role":"assistant","content":null}}]}'
FINISH = b'{"choices":[{"finish_reason":"stop","delta":{}}]}'
# (tokens so far, drafted so far, accepted so far) of the first 22 tokens and the final chunk of a recorded stream.
RECORDED = [
    ROLE, chunk(1), chunk(2, 3, 3), chunk(3, 3, 3), chunk(4, 3, 3), chunk(5, 3, 3), chunk(6, 6, 6), chunk(7, 6, 6),
    chunk(8, 6, 6), chunk(9, 6, 6), chunk(10, 9, 9), chunk(11, 9, 9), chunk(12, 9, 9), chunk(13, 9, 9),
    chunk(14, 12, 12),
    chunk(15, 12, 12), chunk(16, 12, 12), chunk(17, 12, 12), chunk(18, 15, 15), chunk(19, 15, 15), chunk(20, 15, 15),
    chunk(21, 15, 15), chunk(22, 18, 15), FINISH, chunk(22, 18, 15),
]  # fmt: skip


def test_every_growth_of_the_drafted_tokens_is_one_step():
    assert stream_counts(RECORDED) == AcceptanceCounts(
        num_drafts=6, num_draft_tokens=18, num_accepted_tokens=15, accepted_per_position=(5, 5, 5)
    )


def test_a_step_that_only_the_last_chunk_shows_counts():
    counts = stream_counts([chunk(1), chunk(2, 3, 1), chunk(3, 3, 1), chunk(3, 6, 1)])
    assert (counts.num_drafts, counts.num_draft_tokens, counts.num_accepted_tokens) == (2, 6, 1)


def test_held_back_tokens_hide_how_many_steps_there_were():
    counts = stream_counts([chunk(1), chunk(4, 6, 2), chunk(5, 6, 2)])
    assert counts == AcceptanceCounts(num_drafts=None, num_draft_tokens=6, num_accepted_tokens=2)


def test_held_back_tokens_without_a_draft_hide_nothing():
    counts = stream_counts([chunk(1), chunk(4), chunk(5, 3, 3), chunk(6, 3, 3)])
    assert (counts.num_drafts, counts.num_accepted_tokens) == (1, 3)


def test_a_stream_without_running_timings_tells_nothing_more():
    assert stream_counts([ROLE, FINISH, chunk(22, 18, 15)]) is None
    assert stream_counts([ROLE, FINISH]) is None


def test_running_timings_are_asked_for_only_in_a_stream():
    assert request_extras(stream=True, info=None) == {"timings_per_token": True}
    assert request_extras(stream=False, info=None) == {}
