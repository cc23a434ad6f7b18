import numpy as np
import pytest

from nemo_skills_specdec.client.timing import packed_times
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.measurement.in_flight import Span, changes, mean_in_flight, peak_in_flight, steady_span
from nemo_skills_specdec.measurement.speed import (
    goodput_of,
    meets,
    speed_of,
    steady_state_of,
    tokens_within,
    user_speed,
)
from nemo_skills_specdec.measurement.speed_options import Slo, SpeedOptions, parse_percentiles, parse_slo
from nemo_skills_specdec.records import RequestRecord


def record(question_id, category="x", **fields):
    defaults = {"turn": 0, "completion_tokens": 100, "prompt_tokens": 10, "start_time": 100.0, "end_time": 102.0}
    return RequestRecord(question_id=question_id, category=category, **{**defaults, **fields})


def span(start, end, **fields):
    return record(f"{start}-{end}", start_time=start, end_time=end, **fields)


def test_system_and_user_speed_are_different_things():
    records = [
        record("a", "x", completion_tokens=101, tpot_seconds=0.01, ttft_seconds=0.1),
        record("b", "x", completion_tokens=101, tpot_seconds=0.02, ttft_seconds=0.3),
    ]
    speed = speed_of(records, wall_seconds=2.0)
    assert speed.output_tokens_per_second == 101.0
    assert (speed.user_tokens_per_second.p50, speed.user_tokens_per_second.mean) == (75.0, 75.0)
    assert speed.ttft_seconds.p50 == pytest.approx(0.2)


def test_percentiles_are_interpolated_between_the_answers_in_order():
    # 0, 10, ... 100 ms: the percentile p lies at exactly p ms, the mean at 50.
    records = [record(str(ms), "x", ttft_seconds=ms / 1000) for ms in (70, 0, 100, 30, 10, 90, 50, 20, 80, 40, 60)]
    ttft = speed_of(records, wall_seconds=1.0).ttft_seconds
    assert (ttft.mean, ttft.p50, ttft.p90, ttft.p99) == pytest.approx((0.05, 0.05, 0.09, 0.099))


def test_without_streaming_a_users_speed_is_tokens_over_the_whole_time():
    assert user_speed(record("a", "x", completion_tokens=100)) == 50.0
    assert user_speed(record("a", "x", completion_tokens=None)) is None


def test_failed_requests_count_in_no_speed():
    speed = speed_of([record("a", "x"), record("b", "x", error="timeout", completion_tokens=None)], wall_seconds=1.0)
    assert speed.completion_tokens == 100


def test_throughput_counts_answers_and_tokens_over_the_wall_time():
    speed = speed_of([record("a"), record("b"), record("c", error="HTTP 500", completion_tokens=None)], 4.0)
    assert (speed.requests_per_second, speed.output_tokens_per_second, speed.total_tokens_per_second) == (0.5, 50, 55)


def test_concurrency_is_weighted_by_time():
    # One for 4 s, a second one beside it for 2 s: 6 s of requests in 4 s.
    records = [span(0.0, 4.0), span(1.0, 3.0)]
    assert changes(records) == [(0.0, 1), (1.0, 2), (3.0, 1), (4.0, 0)]
    assert (mean_in_flight(records, None, 4.0), peak_in_flight(records)) == (1.5, 2)
    assert mean_in_flight(records, Span(1.0, 2.0), 1.0) == 2.0


def test_a_request_sent_as_another_ends_is_not_in_flight_with_it():
    assert peak_in_flight([span(0.0, 1.0), span(1.0, 2.0)]) == 1


def test_a_turn_that_was_never_sent_is_in_no_flight():
    assert peak_in_flight([span(0.0, 1.0), span(0.5, 0.5, sent=False, error="not sent")]) == 1


def test_the_rate_of_starts_leaves_later_turns_out():
    records = [span(float(i), i + 1.0) for i in range(5)] + [span(9.0, 10.0, turn=1)]
    assert speed_of(records, 10.0).prompts_started_per_second == 1.0


def test_gaps_are_pooled_over_all_answers_so_that_a_stall_is_seen():
    even = packed_times([0.1 + 0.01 * i for i in range(9)], 0.0)
    stalled = packed_times([0.1, 0.11, 0.215, 0.225], 0.0)
    speed = speed_of(
        [
            record("a", chunk_microseconds=even, num_chunks=9, inter_chunk_seconds=0.01),
            record("b", chunk_microseconds=stalled, num_chunks=4, inter_chunk_seconds=0.125 / 3),
        ],
        1.0,
    )
    pooled = speed.inter_chunk_pooled_seconds
    assert (pooled.over, pooled.p50) == (11, 0.01)
    assert pooled.p99 == pytest.approx(np.percentile([0.01] * 10 + [0.105], 99))


def test_without_the_times_of_an_answers_chunks_no_gaps_are_pooled():
    known = packed_times([0.1, 0.2], 0.0)
    records = [record("a", num_chunks=2, chunk_microseconds=known), record("b", num_chunks=2)]
    assert speed_of(records, 1.0).inter_chunk_pooled_seconds is None


def test_gaps_of_several_samples_are_not_pooled():
    times = packed_times([0.1, 0.2], 0.0)
    assert (
        speed_of([record("a", samples=2, num_chunks=2, chunk_microseconds=times)], 1.0).inter_chunk_pooled_seconds
        is None
    )


def test_figures_say_over_how_many_answers_they_are():
    ttft = speed_of([record("a", ttft_seconds=0.1), record("b")], 1.0).ttft_seconds
    assert (ttft.over, ttft.of) == (1, 2)


def test_further_percentiles_are_kept_by_name():
    options = SpeedOptions(percentiles=[25.0, 99.9])
    ttft = speed_of([record(str(i), ttft_seconds=i / 100) for i in range(101)], 1.0, options).ttft_seconds
    assert ttft.others == {"25": pytest.approx(0.25), "99.9": pytest.approx(0.999)}
    assert (ttft.p95, ttft.standard_deviation) == pytest.approx((0.95, np.std(np.arange(101) / 100)))


def test_a_request_counts_as_good_if_it_meets_every_bound():
    slo = Slo(ttft_seconds=0.2, tpot_seconds=0.03, e2e_seconds=5.0)
    good = {"ttft_seconds": 0.2, "tpot_seconds": 0.03}
    records = [
        record("meets all", **good),
        record("late", **{**good, "ttft_seconds": 0.21}),
        record("slow", **{**good, "tpot_seconds": 0.031}),
        record("long", **good, end_time=106.0),
        record("failed", **good, error="HTTP 500"),
        record("unknown", tpot_seconds=0.03),
    ]
    goodput = goodput_of(records, slo, 2.0)
    assert [meets(r, slo) for r in records] == [True, False, False, False, False, False]
    assert (goodput.requests, goodput.requests_per_second, goodput.fraction) == (1, 0.5, pytest.approx(1 / 6))


def test_an_answer_of_one_token_has_no_time_per_token_that_is_too_long():
    assert meets(record("a", completion_tokens=1, ttft_seconds=0.1), Slo(tpot_seconds=0.01))
    assert not meets(record("a", completion_tokens=2, ttft_seconds=0.1), Slo(tpot_seconds=0.01))


def test_bounds_are_read_in_seconds():
    assert parse_slo("ttft=200ms, tpot=30ms,e2e=5s") == Slo(ttft_seconds=0.2, tpot_seconds=0.03, e2e_seconds=5.0)


@pytest.mark.parametrize("text", ["", "ttft", "ttft=200", "itl=3ms", "ttft=0ms", "ttft=1s,ttft=2s", "ttft=-1s"])
def test_what_is_no_bound_is_refused(text):
    with pytest.raises(UsageError, match="ttft=200ms"):
        parse_slo(text)


def test_percentiles_are_read_in_rising_order():
    assert parse_percentiles("99.9,50,50") == [50.0, 99.9]


@pytest.mark.parametrize("text", ["", "p50", "101", "-1", "nan"])
def test_what_is_no_percentile_is_refused(text):
    with pytest.raises(UsageError, match="50,90,99"):
        parse_percentiles(text)


# Two places. The second request is sent at 1 s; at 7 s one ends and none is left to take its place.
STEADY = [
    span(0.0, 4.0, ttft_seconds=1.0),
    span(1.0, 5.0, ttft_seconds=1.0),
    span(4.0, 6.0, ttft_seconds=0.1),
    span(5.0, 7.0, ttft_seconds=0.2),
    span(6.0, 9.0, ttft_seconds=3.0),
]


def test_the_steady_state_lies_between_the_first_and_the_last_time_that_all_places_were_taken():
    assert steady_span(STEADY, 2) == Span(1.0, 7.0)
    assert steady_span(STEADY, 3) is None


def test_the_steady_state_leaves_out_requests_of_ramp_up_and_tail():
    steady = steady_state_of([STEADY], 2, SpeedOptions())
    assert (steady.seconds, steady.num_requests, steady.speed.mean_concurrency) == (6.0, 3, 2.0)
    assert steady.speed.ttft_seconds.p99 == pytest.approx(np.percentile([1.0, 0.1, 0.2], 99))
    # Four requests ended within; of the first answer three quarters and of the last one third of the tokens did.
    assert steady.speed.requests_per_second == 4 / 6
    assert steady.speed.output_tokens_per_second == pytest.approx((75 + 300 + 100 / 3) / 6)


def test_tokens_within_a_span_are_those_of_the_chunks_that_arrived_in_it():
    times = packed_times([101.0, 101.5, 101.6, 101.7], 100.0)
    assert tokens_within(record("a", chunk_microseconds=times), Span(100.0, 101.55)) == 50.0


def test_the_steady_states_of_windows_add_up():
    later = [span(r.start_time + 100, r.end_time + 100) for r in STEADY]
    steady = steady_state_of([STEADY, later], 2, SpeedOptions())
    assert (steady.seconds, steady.num_requests, steady.speed.mean_concurrency) == (12.0, 6, 2.0)


def test_there_is_no_steady_state_where_the_asked_number_was_never_in_flight():
    assert steady_state_of([STEADY], 3, SpeedOptions()) is None
