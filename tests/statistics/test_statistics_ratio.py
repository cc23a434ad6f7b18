"""The score interval by hand. t with 3 degrees of freedom is 3.182446, its square 10.12796."""

import math

import numpy as np
import pytest

from nemo_skills_specdec.statistics.ratio import Ratio, ratio_interval, ratio_of, score_interval


def columns(*pairs):
    table = np.array(pairs, dtype=float)
    return table[:, 0], table[:, 1]


def ratio(*pairs, **options):
    return ratio_of(*columns(*pairs), **options)


def ends(interval):
    return (interval.low, interval.high)


def test_a_ratio_is_that_of_the_sums_with_the_variance_between_prompts():
    # Rests from 0.5 d: -5, 5, 0, 0. Their squares sum to 50, times 4 / 3, over 40 squared.
    found = ratio((0, 10), (10, 10), (5, 10), (5, 10))
    assert (found.value, found.clusters, found.degrees_of_freedom) == (0.5, 4, 3.0)
    assert found.variance == pytest.approx(4 / 3 * 50 / 1600)


def test_long_answers_among_short_ones_count_as_few_prompts():
    # (100 + 3) squared over 100 squared + 3: hardly more than one prompt.
    assert ratio((50, 100), (1, 1), (0, 1), (1, 1)).degrees_of_freedom == 1.0
    assert ratio((5, 10), (6, 10), (5, 20)).degrees_of_freedom == pytest.approx(40**2 / 600 - 1)


def test_a_denominator_of_zero_is_no_cluster():
    assert ratio((5, 10), (0, 0), (6, 10)).clusters == 2
    assert ratio((0, 0), (0, 0)) is None


def test_the_score_interval_is_wilsons_for_the_effective_number_of_trials():
    # Effective trials 0.25 / variance = 6: centre 0.5, half width t sqrt(6 / 4 + t^2 / 4) / (6 + t^2).
    found = score_interval(ratio((0, 10), (10, 10), (5, 10), (5, 10)))
    half = 3.182446 * math.sqrt(1.5 + 10.12796 / 4) / (6 + 10.12796)
    assert ends(found) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)


def test_an_uneven_share_is_drawn_towards_the_middle():
    # Share 0.1, rests -1, 1, 0, 0: variance 4 / 3 * 2 / 1600, effective trials 0.09 / variance = 54.
    found = score_interval(ratio((0, 10), (2, 10), (1, 10), (1, 10)))
    centre = (0.1 * 54 + 10.12796 / 2) / (54 + 10.12796)
    half = 3.182446 * math.sqrt(0.09 * 54 + 10.12796 / 4) / (54 + 10.12796)
    assert ends(found) == pytest.approx((centre - half, centre + half), rel=1e-6)


def test_a_ratio_with_other_ends_is_scaled_to_a_share():
    plain = score_interval(ratio((0, 10), (10, 10), (5, 10), (5, 10)))
    scaled = score_interval(ratio((10, 10), (40, 10), (25, 10), (25, 10), least=1.0, most=4.0))
    assert ends(scaled) == pytest.approx((1 + 3 * plain.low, 1 + 3 * plain.high))


def test_without_an_upper_end_the_interval_is_the_normal_one_above_the_lower():
    found = score_interval(ratio((0, 10), (10, 10), (5, 10), (5, 10), most=math.inf))
    assert ends(found) == pytest.approx((0.0, 0.5 + 3.182446 * math.sqrt(4 / 3 * 50 / 1600)), rel=1e-6)


def test_the_wider_of_score_and_bootstrap_is_taken_on_either_side():
    of = ratio((0, 10), (10, 10), (5, 10), (5, 10))
    score = score_interval(of)
    shifted = (np.linspace(0.0, 0.6, 1001) * 40, np.full(1001, 40.0))
    found = ratio_interval(of, shifted)
    assert found.low < 0.1 < score.low
    assert found.high == score.high


def test_resamples_without_a_denominator_are_left_out():
    of = ratio((0, 10), (10, 10), (5, 10), (5, 10))
    some = (np.array([0.0, 0.0, 1.0, 0.5]), np.array([0.0, 1.0, 1.0, 1.0]))
    found = ratio_interval(of, some)
    assert ends(found) == ends(ratio_interval(of, (some[0][1:], some[1][1:])))
    assert found.low < 0.02
    assert found.high > 0.98


@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_fewer_than_three_prompts_have_no_interval(clusters):
    pairs = [(5, 10), (6, 10), (4, 10)][:clusters]
    assert (ratio_interval(ratio(*pairs), None) is not None) is (clusters == 3)


def test_rounding_alone_is_no_variance():
    thirds = [(0.1 + 0.2, 1.0), (0.3, 1.0), (0.3, 1.0)]
    assert ratio(*thirds).variance == 0.0
    assert ratio((0.300001, 1.0), (0.3, 1.0), (0.3, 1.0)).variance > 0
    # What rounding leaves grows with the value.
    assert ratio((3e6 + 1e-3, 1.0), (3e6, 1.0), (3e6, 1.0)).variance == 0.0


def test_prompts_that_agree_are_bounded_by_those_not_seen():
    agreed = Ratio(value=2.0, variance=0.0, clusters=5, degrees_of_freedom=4.0, least=1.0, most=4.0)
    others = 1 - 0.05**0.2
    assert ends(ratio_interval(agreed, None)) == pytest.approx((2.0 - others, 2.0 + 2.0 * others))
