import msgspec
import numpy as np
import pytest

from nemo_skills_specdec.client.exchange import Answer, Exchange
from nemo_skills_specdec.client.timing import arrived_in_lumps, chunk_offsets, packed_times, timing_of, to_record
from nemo_skills_specdec.records import RequestRecord

STREAMED = Exchange(
    question_id="q",
    category="c",
    turn=1,
    scheduled_at=9.0,
    sent_at=10.0,
    ended_at=16.0,
    chunk_times=[10.5, 11.0, 12.0, 15.0, 15.5],
    streamed=True,
    status=200,
)
# Frame 0 holds the role, frame 4 the usage.
ANSWER = Answer(
    generation="abc", first_content=1, last_content=3, prompt_tokens=2, completion_tokens=9, response_id="r"
)


def test_times_run_from_sending_to_the_chunks_with_content():
    timing = timing_of(STREAMED, ANSWER)
    assert timing.queue_seconds == 1.0
    assert timing.ttft_seconds == 1.0
    assert timing.e2e_seconds == 6.0
    assert timing.tpot_seconds == 4.0 / 8
    assert timing.num_chunks == 3
    assert timing.inter_chunk_seconds == 2.0
    assert timing.inter_chunk_p99_seconds == pytest.approx(1.0 + 0.99 * 2.0)


def test_without_usage_there_is_no_time_per_token():
    timing = timing_of(STREAMED, Answer(first_content=1, last_content=3))
    assert (timing.tpot_seconds, timing.ttft_seconds) == (None, 1.0)


def test_one_token_has_no_time_per_token():
    assert timing_of(STREAMED, Answer(first_content=1, last_content=3, completion_tokens=1)).tpot_seconds is None


def test_one_chunk_has_no_time_between_chunks():
    timing = timing_of(STREAMED, Answer(first_content=1, last_content=1, completion_tokens=9))
    assert (timing.tpot_seconds, timing.inter_chunk_seconds, timing.inter_chunk_p99_seconds) == (None, None, None)
    assert timing.num_chunks == 1


def test_chunks_that_all_came_in_one_read_have_no_time_per_token():
    exchange = Exchange(
        question_id="q", category="c", turn=0, scheduled_at=0, sent_at=0, ended_at=1, chunk_times=[1.0, 1.0]
    )
    assert timing_of(exchange, Answer(first_content=0, last_content=1, completion_tokens=9)).tpot_seconds is None


def test_a_failed_request_has_no_times_but_its_queue():
    exchange = Exchange(
        question_id="q", category="c", turn=0, scheduled_at=1, sent_at=3, ended_at=9, chunk_times=[4.0], error="lost"
    )
    timing = timing_of(exchange, Answer(first_content=0, last_content=0))
    assert (timing.queue_seconds, timing.e2e_seconds, timing.ttft_seconds) == (2.0, None, None)


def test_a_request_that_was_not_streamed_has_only_its_whole_duration():
    exchange = Exchange(question_id="q", category="c", turn=0, scheduled_at=0, sent_at=1, ended_at=3, frames=[b"{}"])
    timing = timing_of(exchange, Answer(completion_tokens=8))
    assert (timing.e2e_seconds, timing.ttft_seconds, timing.num_chunks) == (2.0, None, None)


def test_a_record_holds_the_answer_and_its_times():
    record = to_record(STREAMED, ANSWER)
    assert record == RequestRecord(
        question_id="q",
        category="c",
        turn=1,
        response_id="r",
        status=200,
        outcome="answered",
        generation="abc",
        prompt_tokens=2,
        completion_tokens=9,
        start_time=10.0,
        end_time=16.0,
        queue_seconds=1.0,
        ttft_seconds=1.0,
        tpot_seconds=0.5,
        num_chunks=3,
        inter_chunk_seconds=2.0,
        inter_chunk_p99_seconds=record.inter_chunk_p99_seconds,
        chunk_microseconds=record.chunk_microseconds,
    )


def test_an_error_found_on_decoding_is_in_the_record():
    record = to_record(STREAMED, Answer(error="chunk 3 of the stream is not JSON"))
    assert (record.error, record.outcome) == ("chunk 3 of the stream is not JSON", "failed")


@pytest.mark.parametrize(
    ("times", "lumped"),
    [
        ([1.0] * 12, True),
        ([1.0] * 6 + [4.0] * 6, True),
        ([1.0] * 4 + [2.0] * 4 + [3.0] * 4, True),
        ([1.0] * 3 + [2.0] * 3 + [3.0] * 3 + [4.0] * 3, False),
        ([1.0] * 7, False),
        ([1.0 + 0.001 * n for n in range(12)], False),
    ],
    ids=["all at once", "two", "three", "four", "too few chunks to tell", "one by one"],
)
def test_chunks_in_at_most_three_groups_were_held_back_by_somebody(times, lumped):
    assert arrived_in_lumps(times) is lumped


def test_a_stream_that_came_in_lumps_has_no_times_but_the_whole():
    exchange = msgspec.structs.replace(STREAMED, chunk_times=[10.5] + [12.0] * 6 + [15.0] * 6)
    timing = timing_of(exchange, Answer(first_content=1, last_content=12, completion_tokens=20))
    assert timing.lumped
    assert (timing.ttft_seconds, timing.tpot_seconds, timing.inter_chunk_seconds) == (None, None, None)
    assert timing.e2e_seconds == 6.0


def test_the_time_per_token_of_several_samples_is_that_of_one():
    assert timing_of(STREAMED, ANSWER, samples=3).tpot_seconds == 4.0 / 2


def test_a_usage_of_zero_beside_text_is_not_believed():
    record = to_record(STREAMED, Answer(generation="text", prompt_tokens=0, completion_tokens=0))
    assert (record.usage_rejected, record.prompt_tokens, record.completion_tokens) == (True, None, None)
    assert not to_record(STREAMED, Answer(generation="", completion_tokens=0)).usage_rejected


def test_the_times_of_chunks_are_kept_in_microseconds():
    packed = to_record(STREAMED, ANSWER).chunk_microseconds
    times = [STREAMED.chunk_times[i] for i in range(ANSWER.first_content, ANSWER.last_content + 1)]
    assert np.frombuffer(packed, "<u4")[0] == 1_000_000
    assert chunk_offsets(packed) + STREAMED.sent_at == pytest.approx(times, abs=1e-6)


def test_rounding_of_chunk_times_does_not_add_up():
    times = [i * 0.0000014 for i in range(1000)]
    assert chunk_offsets(packed_times(times, 0.0)) == pytest.approx(times, abs=0.6e-6)


def test_a_gap_too_long_to_be_kept_leaves_all_of_them_out():
    assert packed_times([0.0, 5000.0], 0.0) is None
