import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_histogram, total
from nemo_skills_specdec.statistics import Interval, Intervals, Prompt, averages, intervals, student_t_quantile


def request(*histogram):
    return counts_from_histogram(histogram, num_draft_tokens=sum(histogram) * (len(histogram) - 1))


LONG = request(10, 10, 10, 70)  # 100 steps, AL 3.4
SHORT = request(8, 2, 0, 0)  # 10 steps, AL 1.2
PROMPTS = [
    Prompt(category="coding", requests=(LONG,)),
    Prompt(category="writing", requests=(SHORT,)),
    Prompt(category="writing", requests=(SHORT, NO_STEPS)),
]


def test_the_three_averages_differ_and_are_named():
    result = averages(PROMPTS)
    assert result.pooled.acceptance_length == 1 + (240 + 2 + 2) / 120
    assert result.request_mean.acceptance_length == pytest.approx((3.4 + 1.2 + 1.2) / 3)
    assert result.category_macro.acceptance_length == pytest.approx((3.4 + 1.2) / 2)


def test_every_average_says_over_how_many_things_it_was_taken():
    result = averages(PROMPTS)
    assert (result.pooled.over, result.request_mean.over, result.category_macro.over) == (120, 3, 2)


def test_the_acceptance_rate_has_the_same_three_averages():
    result = averages(PROMPTS)
    assert result.pooled.acceptance_rate == 244 / 360
    assert result.request_mean.acceptance_rate == pytest.approx((0.8 + 2 / 30 + 2 / 30) / 3)
    assert result.category_macro.acceptance_rate == pytest.approx((0.8 + 2 / 30) / 2)


def test_nothing_measured_gives_no_average():
    result = averages([Prompt(category="coding", requests=(NO_STEPS,))])
    assert result.pooled.acceptance_length is None
    assert result.request_mean.acceptance_length is None
    assert result.category_macro.acceptance_length is None


def test_one_or_two_prompts_have_no_interval():
    assert intervals([LONG]) == Intervals()
    assert intervals([LONG, SHORT]) == Intervals()
    assert averages(PROMPTS[:2]).pooled.acceptance_length_interval is None


def test_three_or_four_prompts_have_an_interval_wider_than_their_range_but_possible():
    near = [request(50, 30, 15, 5), request(48, 30, 17, 5), request(52, 29, 14, 5)]
    lengths = [counts.acceptance_length for counts in near]
    interval = intervals(near).acceptance_length
    assert 1.0 < interval.low < min(lengths)
    assert max(lengths) < interval.high < 4.0
    wild = intervals([request(100, 0, 0, 0), request(0, 0, 0, 100), request(50, 0, 0, 50)]).acceptance_length
    assert (wild.low, wild.high) == (1.0, 4.0)


def test_prompts_that_are_all_alike_have_an_interval_of_no_width():
    result = intervals([LONG] * 20)
    assert result.acceptance_length == Interval(3.4, 3.4)
    assert result.acceptance_rate == Interval(0.8, 0.8)
    assert result.conditional_acceptance_rates == (Interval(0.9, 0.9), Interval(8 / 9, 8 / 9), Interval(7 / 8, 7 / 8))


def test_an_interval_of_a_rate_that_no_prompt_defines_is_unknown():
    result = intervals([request(10, 0, 0), request(5, 0, 0), request(7, 0, 0)])
    assert result.acceptance_length == Interval(1.0, 1.0)
    assert result.conditional_acceptance_rates == (Interval(0.0, 0.0), None)


def test_unknown_counts_give_unknown_intervals():
    known = AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=15)
    result = intervals([known] * 5)
    assert result.acceptance_length is None
    assert result.acceptance_rate == Interval(0.5, 0.5)
    assert result.per_position_acceptance_rates is None


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    clusters = [LONG, SHORT, request(4, 3, 2, 1), request(1, 5, 0, 0)] * 10
    assert intervals(clusters, seed=3) == intervals(clusters, seed=3)
    assert intervals(clusters, seed=3) != intervals(clusters, seed=4)


def test_turns_of_one_prompt_are_resampled_together():
    # Ten prompts of two unlike turns each: between prompts nothing varies, so nothing is uncertain.
    alike = [Prompt(category="qa", requests=(LONG, SHORT))] * 10
    interval = averages(alike).request_mean.acceptance_length_interval
    assert interval == Interval(pytest.approx(2.3), pytest.approx(2.3))


def test_the_interval_of_the_acceptance_length_agrees_with_the_normal_theory():
    # 400 prompts of 10 steps, half with AL 2 and half with AL 3: standard error 0.5 / sqrt(400) = 0.025.
    result = intervals([request(0, 10, 0, 0)] * 200 + [request(0, 0, 10, 0)] * 200)
    assert result.acceptance_length.low == pytest.approx(2.5 - 1.96 * 0.025, abs=0.003)
    assert result.acceptance_length.high == pytest.approx(2.5 + 1.96 * 0.025, abs=0.003)


def test_few_prompts_widen_the_interval_beyond_the_plain_percentile():
    # Ten prompts, five with AL 1 and five with AL 2: the plain percentile reads the quantiles 0.025 and 0.975 of a
    # binomial of ten, 0.2 and 0.8. The expanded one reads 0.9 % of it on either side, which lies at 0.1 and 0.9.
    found = intervals([request(0, 10), request(10, 0)] * 5)
    assert found.acceptance_length == Interval(1.1, 1.9)


def test_the_macro_interval_resamples_within_categories():
    # Between the categories there is a gulf, within them no difference: the macro average is certain.
    prompts = [Prompt(category="a", requests=(LONG,))] * 5 + [Prompt(category="b", requests=(SHORT,))] * 5
    result = averages(prompts)
    assert result.category_macro.acceptance_length_interval == Interval(pytest.approx(2.3), pytest.approx(2.3))
    assert result.pooled.acceptance_length_interval.high - result.pooled.acceptance_length_interval.low > 0.5


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.706), (2, 4.3027), (3, 3.1824), (9, 2.2622), (79, 1.9905), (879, 1.9627)]
)
def test_student_t_quantiles_agree_with_the_tables(degrees, expected):
    assert student_t_quantile(0.975, degrees) == pytest.approx(expected, rel=0.005)


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=3, max_size=12))
def test_an_interval_contains_only_possible_values(table):
    clusters = [request(*row) for row in table]
    result = intervals(clusters, resamples=200)
    whole = total(clusters)
    if whole.num_drafts:
        assert 1.0 <= result.acceptance_length.low <= result.acceptance_length.high <= 4.0
        for interval in (result.acceptance_rate, *result.per_position_acceptance_rates):
            assert 0.0 <= interval.low <= interval.high <= 1.0
            assert math.isfinite(interval.low)
