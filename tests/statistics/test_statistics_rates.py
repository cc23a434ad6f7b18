import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_histogram, total
from nemo_skills_specdec.statistics import Interval, Intervals, intervals


def request(*histogram):
    return counts_from_histogram(histogram, num_draft_tokens=sum(histogram) * (len(histogram) - 1))


LONG = request(10, 10, 10, 70)  # 100 steps, AL 3.4
SHORT = request(8, 2, 0, 0)  # 10 steps, AL 1.2


def ends(interval):
    return (interval.low, interval.high)


def test_one_or_two_prompts_have_no_interval():
    assert intervals([LONG]) == Intervals(
        per_position_acceptance_rates=(None,) * 3, conditional_acceptance_rates=(None,) * 3
    )
    assert intervals([LONG, SHORT]).acceptance_length is None
    assert intervals([]) == Intervals()


def test_three_prompts_have_an_interval_wider_than_their_range_but_possible():
    near = [request(50, 30, 15, 5), request(48, 30, 17, 5), request(52, 29, 14, 5)]
    lengths = [counts.acceptance_length for counts in near]
    interval = intervals(near).acceptance_length
    assert 1.0 < interval.low < min(lengths)
    assert max(lengths) < interval.high < 4.0


def test_prompts_without_a_step_are_no_clusters():
    clusters = [request(5, 3, 2, 0), request(6, 3, 1, 0), request(4, 3, 2, 1)]
    assert intervals([*clusters, NO_STEPS, NO_STEPS]).acceptance_length is not None
    assert intervals([*clusters[:2], NO_STEPS, NO_STEPS, NO_STEPS]).acceptance_length is None


def test_a_prompt_that_never_reached_a_position_is_no_cluster_of_its_conditional_rate():
    reached, not_reached = request(5, 3, 2, 0), request(10, 0, 0, 0)
    found = intervals([reached, request(5, 2, 3, 0), *[not_reached] * 8])
    assert found.conditional_acceptance_rates[0] is not None
    assert found.conditional_acceptance_rates[1] is None


@pytest.mark.parametrize("count", [3, 20, 80, 2000])
def test_where_nothing_was_accepted_the_length_may_still_be_above_one(count):
    # With 95 % confidence fewer than 1 - 0.05 ** (1 / n) of all prompts accept anything, and they at most 3 a step.
    found = intervals([request(10, 0, 0, 0)] * count)
    assert found.acceptance_length == Interval(1.0, pytest.approx(1 + 3 * (1 - 0.05 ** (1 / count))))
    assert found.acceptance_rate == Interval(0.0, pytest.approx(1 - 0.05 ** (1 / count)))


def test_prompts_that_are_all_alike_leave_room_for_those_not_seen():
    result = intervals([LONG] * 20)
    others = 1 - 0.05 ** (1 / 20)
    assert ends(result.acceptance_length) == pytest.approx((3.4 - 2.4 * others, 3.4 + 0.6 * others))
    assert ends(result.acceptance_rate) == pytest.approx((0.8 - 0.8 * others, 0.8 + 0.2 * others))
    assert ends(result.conditional_acceptance_rates[0]) == pytest.approx((0.9 - 0.9 * others, 0.9 + 0.1 * others))


def accepted_by(count):
    """The interval of AR over 20 prompts of 50 steps, of which so many accepted one token."""
    prompts = [request(50, 0)] * (20 - count) + [request(49, 1)] * count
    return intervals(prompts).acceptance_rate


def test_one_accepted_token_in_many_steps_is_no_certainty():
    # One of 1,000: the exact upper end for one event is 5.6 in 1,000, and prompts not seen may be others.
    found = accepted_by(1)
    assert found.low < 0.0005
    assert found.high == pytest.approx(0.001 + 0.999 * (1 - 0.05 ** (1 / 20)) / 4)


def test_an_interval_narrows_step_by_step_as_more_prompts_accept_something():
    ends = [accepted_by(count).high for count in range(5)]
    assert ends == sorted(ends, reverse=True)
    assert all(later > earlier / 4 for earlier, later in pairwise(ends))
    # With ten prompts that accepted, those not seen count for nothing: the interval is the counts' own.
    assert accepted_by(10).high < 0.02


def test_an_interval_of_a_rate_that_no_prompt_defines_is_unknown():
    result = intervals([request(10, 0, 0), request(5, 0, 0), request(7, 0, 0)])
    assert result.conditional_acceptance_rates[0] is not None
    assert result.conditional_acceptance_rates[1] is None


def test_unknown_counts_give_unknown_intervals():
    known = AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=15)
    other = AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=18)
    result = intervals([known, other] * 5)
    assert result.acceptance_length is None
    assert result.acceptance_rate.low < 0.55 < result.acceptance_rate.high
    assert result.per_position_acceptance_rates is None
    assert result.conditional_acceptance_rates is None


def test_where_drafts_are_unknown_there_is_no_acceptance_rate():
    told = [AcceptanceCounts(num_drafts=10, num_draft_tokens=None, num_accepted_tokens=a) for a in (5, 6, 4)]
    assert intervals(told).acceptance_rate is None
    assert intervals(told).acceptance_length is not None


def test_positions_are_no_rates_where_steps_are_unknown():
    told = [
        AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=a, accepted_per_position=(a,))
        for a in (5, 6, 4)
    ]
    assert intervals(told).per_position_acceptance_rates is None
    assert intervals(told).conditional_acceptance_rates is None


def test_without_positions_the_drafts_bound_the_length():
    some = [AcceptanceCounts(num_drafts=10, num_draft_tokens=20, num_accepted_tokens=a) for a in (0, 20, 0)]
    interval = intervals(some).acceptance_length
    assert interval.low >= 1.0
    assert 2.6 < interval.high <= 3.0


def test_without_any_bound_the_length_has_an_interval_only_where_prompts_differ():
    def told(accepted):
        return AcceptanceCounts(num_drafts=10, num_draft_tokens=None, num_accepted_tokens=accepted)

    interval = intervals([told(a) for a in (10, 12, 9, 11, 8)]).acceptance_length
    assert 1.7 < interval.low < 1.9 < 2.1 < interval.high < 2.3
    assert intervals([told(10)] * 5).acceptance_length is None


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    clusters = [LONG, SHORT, request(4, 3, 2, 1), request(1, 5, 0, 0)] * 10
    assert intervals(clusters, seed=3) == intervals(clusters, seed=3)
    assert intervals(clusters, seed=3) != intervals(clusters, seed=4)


@pytest.mark.parametrize("half", [200, 2000])
def test_the_interval_of_the_acceptance_length_agrees_with_the_normal_theory(half):
    # Prompts of 10 steps, half with AL 2 and half with AL 3: standard error 0.5 / sqrt(n).
    result = intervals([request(0, 10, 0, 0)] * half + [request(0, 0, 10, 0)] * half)
    error = 0.5 / math.sqrt(2 * half)
    assert result.acceptance_length.low == pytest.approx(2.5 - 1.96 * error, rel=0.001)
    assert result.acceptance_length.high == pytest.approx(2.5 + 1.96 * error, rel=0.001)


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=3, max_size=12))
def test_an_interval_contains_the_value_and_only_possible_ones(table):
    clusters = [request(*row) for row in table]
    result = intervals(clusters, resamples=200)
    whole = total(clusters)
    if sum(cluster.num_drafts > 0 for cluster in clusters) < 3:
        assert result.acceptance_length is None
        return
    assert 1.0 <= result.acceptance_length.low <= whole.acceptance_length + 1e-9
    assert whole.acceptance_length - 1e-9 <= result.acceptance_length.high <= 4.0
    for interval in (result.acceptance_rate, *result.per_position_acceptance_rates):
        assert 0.0 <= interval.low <= interval.high <= 1.0
