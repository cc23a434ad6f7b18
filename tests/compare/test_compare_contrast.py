"""The difference of two groups of runs: what counts as noise and what cancels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.compare.contrast import Contrast, by_prompt, by_run


def table(*rows):
    return np.array(rows, dtype=float)


def test_a_ratio_of_sums_is_compared_by_its_logarithm():
    baseline, run = table((10, 5), (30, 15), *[(1, 1)] * 4), table((20, 5), (60, 15), *[(2, 1)] * 4)
    assert by_prompt([baseline], [run], ratio=True).value == pytest.approx(math.log(2))
    assert by_prompt([baseline], [run], ratio=False).value == pytest.approx(44 / 24)


def test_what_a_prompt_does_in_both_runs_alike_is_no_noise():
    slow_and_fast = table(*[(10, 1 + 9 * (n % 2)) for n in range(10)])
    same = by_prompt([slow_and_fast], [slow_and_fast * [2, 1]], ratio=True)
    assert same.prompt_variance == pytest.approx(0, abs=1e-20)
    assert same.interval(0.05).low == pytest.approx(math.log(2))


def test_of_equal_prompt_sizes_the_jackknife_is_the_variance_of_the_mean():
    values = np.array([1.0, 2.0, 4.0, 7.0, 1.0, 3.0])
    baseline = table(*[(0, 1)] * 6)
    run = np.column_stack([values, np.ones(6)])
    found = by_prompt([baseline], [run], ratio=False)
    assert found.prompt_variance == pytest.approx(values.var(ddof=1) / 6)
    assert found.prompt_freedom == 5


def test_two_studies_that_contradict_each_other_are_not_distinguishable():
    found = by_run([0.0, 0.0], [math.log(1.20), math.log(0.87)])
    interval = found.interval(0.05)
    assert interval.low < 0 < interval.high
    assert found.p_value > 0.5


def test_noise_from_run_to_run_widens_the_interval():
    baseline = [table(*[(10, 1)] * 8), table(*[(12, 1)] * 8)]
    run = [table(*[(10, 1)] * 8), table(*[(12, 1)] * 8)]
    found = by_prompt(baseline, run, ratio=True)
    difference = math.log(12) - math.log(10)
    assert found.run_variance == pytest.approx(2 * (difference**2 / 2) / 2 * 1.0)
    assert found.run_freedom == 2
    assert found.interval(0.05).high == pytest.approx(4.30265 * math.sqrt(found.run_variance), rel=1e-4)


def test_assumed_noise_counts_only_where_no_repeats_tell_it():
    one = table(*[(10, 1)] * 8)
    assert by_prompt([one], [one], ratio=True, run_noise=0.1).run_variance == pytest.approx(0.02)
    assert by_prompt([one, one], [one], ratio=True, run_noise=0.1).run_variance == 0.0
    assert by_prompt([one], [one], ratio=True).run_variance is None


def test_a_single_run_of_each_says_nothing_by_run():
    found = by_run([1.0], [2.0])
    assert not found.known
    assert found.interval(0.05) is None
    assert found.p_value is None


def test_fewer_than_five_prompts_have_no_interval_even_with_noise_from_run_to_run():
    one = table((1, 1), (2, 1), (3, 1), (4, 1))
    assert not by_prompt([one], [one], ratio=False, run_noise=0.1).known


@pytest.mark.parametrize("empty", [table(*[(1, 0)] * 6), table(*[(0, 1)] * 6)])
def test_what_cannot_be_divided_or_has_no_logarithm_is_not_compared(empty):
    assert by_prompt([empty], [table(*[(1, 1)] * 6)], ratio=True) is None


@settings(deadline=None, max_examples=40)
@given(
    st.floats(-3, 3).filter(lambda v: abs(v) > 0.01),
    st.floats(1e-4, 1),
    st.floats(1e-4, 1),
    st.integers(4, 900),
    st.integers(1, 8),
)
def test_the_interval_at_the_p_value_just_touches_zero(value, prompts, runs, freedom, few):
    found = Contrast(value=value, prompt_variance=prompts, prompt_freedom=freedom, run_variance=runs, run_freedom=few)
    if found.p_value > 1e-11:
        assert found.reach(found.p_value) == pytest.approx(abs(value), rel=1e-3)
