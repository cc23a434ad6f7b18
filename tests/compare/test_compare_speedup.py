"""Speed over a baseline: ratios of sums on the prompts that both answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.compare.speedup import speedup
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.records import RequestRecord


def answer(name, tokens, *, ttft=0.1, seconds=1.0, text="x", error=None, category="c", turn=0, streamed=True):
    """One answered prompt of `tokens`, the first after `ttft`, the others over `seconds`."""
    request = RequestRecord(
        question_id=name,
        category=category,
        turn=turn,
        error=error,
        generation=text,
        completion_tokens=None if error else tokens,
        start_time=10.0,
        end_time=10.0 + ttft + seconds,
        ttft_seconds=ttft if streamed else None,
        tpot_seconds=seconds / (tokens - 1) if streamed and tokens > 1 else None,
    )
    return OutputRow(question_id=name, category=category, requests=[request])


def test_user_and_total_speed_are_ratios_of_sums():
    baseline = [answer("a", 11, ttft=1.0, seconds=1.0), answer("b", 31, ttft=1.0, seconds=3.0)]
    run = [answer("a", 11, ttft=1.0, seconds=0.5), answer("b", 31, ttft=1.0, seconds=1.5)]
    found = speedup(baseline, run, closed_loop=True)
    assert found.user == pytest.approx((40 / 2.0) / (40 / 4.0))
    assert found.total == pytest.approx((42 / 4.0) / (42 / 6.0))
    assert found.prompts == 2
    assert found.left_out == 0


def test_the_first_token_counts_in_no_user_speed():
    # Baseline: 1 token in a second and 10 in another, 5.5 a second; with the first tokens it would be 13 in 3.1 s.
    baseline = [answer("a", 2, seconds=1.0), answer("b", 11, seconds=1.0)]
    run = [answer("a", 2, seconds=0.1), answer("b", 11, seconds=1.0)]
    assert speedup(baseline, run, closed_loop=True).user == pytest.approx((11 / 1.1) / (11 / 2))


def test_a_prompt_that_one_of_the_two_did_not_answer_counts_in_neither():
    baseline = [answer("a", 11), answer("b", 11, seconds=100.0), answer("only here", 11)]
    run = [answer("a", 11, seconds=0.5), answer("b", 11, error="timed out")]
    found = speedup(baseline, run, closed_loop=True)
    assert found.user == pytest.approx(2.0)
    assert (found.prompts, found.left_out) == (1, 2)


def test_a_prompt_with_a_failed_turn_counts_not_at_all():
    whole, half = answer("a", 11), answer("a", 11)
    half.requests = [*half.requests, *answer("a", 11, turn=1, error="gone").requests]
    found = speedup([whole], [half], closed_loop=True)
    assert found.user is None
    assert found.reason == "no prompt was answered completely by both runs"


def test_the_same_id_in_two_categories_is_two_prompts():
    rows = [answer("a", 11, category="x"), answer("a", 11, category="y")]
    assert speedup(rows, rows, closed_loop=True).prompts == 2


@pytest.mark.parametrize(("prompts", "has"), [(1, False), (4, False), (5, True)])
def test_too_few_prompts_have_no_interval(prompts, has):
    rows = [answer(str(n), 11) for n in range(prompts)]
    found = speedup(rows, rows, closed_loop=True)
    assert found.user == pytest.approx(1.0)
    assert (found.user_interval is not None) is has


def test_answers_that_were_not_streamed_have_no_user_speed():
    baseline = [answer("a", 11, streamed=False)]
    found = speedup(baseline, [answer("a", 11, seconds=0.5)], closed_loop=True)
    assert found.user is None
    assert "not streamed" in found.user_reason
    assert found.total == pytest.approx(1.1 / 0.6)


def test_an_answer_of_tokens_without_text_is_left_out_of_the_user_speed_alone():
    names = [str(number) for number in range(20)]
    baseline = [answer(name, 11) for name in names]
    run = [answer(name, 11, seconds=0.5, streamed=name != "3", text="" if name == "3" else "x") for name in names]
    found = speedup(baseline, run, closed_loop=True)
    assert found.user == pytest.approx(2.0)
    assert (found.prompts, found.untimed, found.user_reason) == (20, 1, None)


def test_under_a_request_rate_there_is_no_total_speed():
    found = speedup([answer("a", 11)], [answer("a", 11)], closed_loop=False)
    assert found.total is None
    assert "rate" in found.total_reason
    assert found.user == pytest.approx(1.0)


def test_answers_of_one_token_add_nothing_to_the_user_speed():
    baseline = [answer("a", 11), answer("b", 1)]
    assert speedup(baseline, baseline, closed_loop=True).user == pytest.approx(1.0)
    only = [answer("b", 1)]
    assert speedup(only, only, closed_loop=True).user is None


def at_once(name):
    row = answer(name, 11)
    row.requests[0].tpot_seconds = None
    return row


def test_an_answer_that_arrived_all_at_once_in_one_run_counts_in_neither():
    baseline = [answer(str(n), 11) for n in range(20)]
    run = [answer(str(n), 11, seconds=0.5) for n in range(19)] + [at_once("19")]
    baseline[19] = answer("19", 11, seconds=1000.0)
    found = speedup(baseline, run, closed_loop=True)
    assert found.user == pytest.approx(2.0)
    assert (found.prompts, found.untimed) == (20, 1)


def test_where_many_answers_arrived_all_at_once_there_is_no_user_speed():
    baseline = [answer(str(n), 11) for n in range(8)]
    run = [answer(str(n), 11) for n in range(7)] + [at_once("7")]
    found = speedup(baseline, run, closed_loop=True)
    assert found.user is None
    assert "1 of 8 answers arrived all at once in one of the runs, or held no text" in found.user_reason
    assert found.total == pytest.approx(1.0)


def test_the_share_of_equal_answers_is_told():
    baseline = [answer("a", 11, text="x"), answer("b", 11, text="x")]
    run = [answer("a", 11, text="x"), answer("b", 11, text="y")]
    assert speedup(baseline, run, closed_loop=True).same_text == 0.5


@given(
    st.lists(st.tuples(st.integers(2, 500), st.floats(0.01, 10), st.floats(0.01, 100)), min_size=5, max_size=12),
    st.floats(0.1, 10),
)
def test_a_run_that_is_faster_by_one_factor_everywhere_has_that_speedup_with_no_width(prompts, factor):
    baseline = [answer(str(n), t, ttft=f, seconds=s) for n, (t, f, s) in enumerate(prompts)]
    run = [answer(str(n), t, ttft=f / factor, seconds=s / factor) for n, (t, f, s) in enumerate(prompts)]
    found = speedup(baseline, run, closed_loop=True)
    assert found.user == pytest.approx(factor)
    assert found.user_interval.low == pytest.approx(factor)
    assert found.user_interval.high == pytest.approx(factor)
    assert found.total == pytest.approx(factor, rel=1e-6)


def test_noise_that_both_runs_share_does_not_widen_the_interval():
    baseline = [answer(str(n), 11, seconds=1.0 + n % 7) for n in range(40)]
    shared = [answer(str(n), 11, seconds=(1.0 + n % 7) / 2) for n in range(40)]
    shuffled = [answer(str(n), 11, seconds=(1.0 + (n * 3 + 1) % 7) / 2) for n in range(40)]
    width = []
    for run in (shared, shuffled):
        interval = speedup(baseline, run, closed_loop=True).user_interval
        width.append(interval.high - interval.low)
    assert width[0] < 1e-9
    assert width[1] > 0.1
