import math
import tracemalloc

import numpy as np
import pytest

from nemo_skills_specdec.statistics.resampling import (
    LARGE,
    bootstrap_interval,
    expanded_quantile,
    quantile_interval,
    resampled_sums,
)


def test_every_resample_draws_as_many_rows_as_there_are():
    sums = resampled_sums(np.array([[1.0, 1.0], [1.0, 10.0], [1.0, 100.0]]), seed=0, resamples=500)
    assert sums.shape == (500, 2)
    assert (sums[:, 0] == 3).all()
    assert set(sums[:, 1]) == {3, 12, 21, 30, 102, 111, 120, 201, 210, 300}


def test_rows_are_drawn_with_equal_chance_and_spread_as_a_multinomial_does():
    weights = resampled_sums(np.eye(4), seed=1, resamples=20_000)
    assert weights.mean(axis=0) == pytest.approx(1.0, abs=0.02)
    # Variance of a binomial of 4 draws with chance 1 / 4.
    assert weights.var(axis=0) == pytest.approx(0.75, rel=0.03)
    assert np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 3, abs=0.03)


def test_the_draws_do_not_depend_on_the_columns_beside():
    table = np.arange(60.0).reshape(20, 3)
    assert (
        resampled_sums(table, seed=7, resamples=300)[:, 1] == resampled_sums(table[:, 1:2], seed=7, resamples=300)[:, 0]
    ).all()


def test_blocks_that_do_not_divide_the_resamples_are_drawn_whole():
    # Three resamples of 300,000 rows fill a block, and the fourth has one of its own.
    assert resampled_sums(np.ones((300_000, 1)), seed=0, resamples=4).tolist() == [[300_000.0]] * 4


def test_memory_does_not_grow_with_the_number_of_prompts():
    table = np.ones((LARGE, 2))
    tracemalloc.start()
    resampled_sums(table, seed=0, resamples=3_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64e6, "all weights at once would take 24 MB of counts and 24 MB of floats for each thousand"


def test_the_expanded_quantile_of_many_prompts_is_that_of_the_normal_distribution():
    assert expanded_quantile(100_000, 99_999) == pytest.approx(0.025, abs=1e-5)
    # Ten: the normal's at sqrt(10 / 9) times t = 2.262157.
    assert expanded_quantile(10, 9) == pytest.approx(0.5 * math.erfc(math.sqrt(10 / 9) * 2.262157 / math.sqrt(2)))


def test_an_interval_reads_the_quantile_from_either_end():
    found = quantile_interval(np.arange(101.0), 0.1)
    assert (found.low, found.high) == (10.0, 90.0)


def value(sums):
    return sums[:, 0] / sums[:, 1]


def test_fewer_than_five_rows_have_no_interval():
    table = np.array([[1.0, 2.0], [2.0, 2.0], [1.0, 3.0], [2.0, 3.0], [1.0, 1.0]])
    assert bootstrap_interval(table[:4], value) is None
    assert bootstrap_interval(table, value) is not None


def test_a_figure_that_no_resample_defines_has_no_interval():
    assert bootstrap_interval(np.zeros((6, 2)), value) is None
    assert bootstrap_interval(np.zeros((LARGE + 1, 2)), value) is None


@pytest.mark.parametrize("rows", [LARGE, LARGE + 1, 20_000])
def test_a_large_table_has_the_interval_of_normal_theory_whether_resampled_or_not(rows):
    # A ratio of 2 with independent numerators: standard error 0.5 / sqrt(n) / mean of the denominators.
    rng = np.random.default_rng(rows)
    denominators = np.full(rows, 3.0)
    table = np.column_stack([6.0 + rng.choice([-0.5, 0.5], rows), denominators])
    found = bootstrap_interval(table, value, seed=2)
    centre, half = value(table.sum(axis=0)[None])[0], 1.96 * 0.5 / math.sqrt(rows) / 3
    assert found.low == pytest.approx(centre - half, abs=0.04 * half)
    assert found.high == pytest.approx(centre + half, abs=0.04 * half)


def test_a_column_that_does_not_vary_leaves_the_interval_of_the_others():
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(5.0, 1.0, 2_000), np.ones(2_000), np.zeros(2_000)])
    found = bootstrap_interval(table, value)
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(2_000), rel=0.05)


def pinned(rows):
    numbers = np.arange(rows)
    return np.column_stack([(numbers * 7) % 11 + 1.0, (numbers * 5) % 7 + 2.0])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (5, (0.6153846153846154, 3.2142857142857144)),
        (40, (0.9559471365638766, 1.5080599705657978)),
        (1500, (1.1598628890982474, 1.2404571535741087)),
    ],
)
def test_intervals_are_pinned(rows, expected):
    found = bootstrap_interval(pinned(rows), value)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert found == bootstrap_interval(pinned(rows).astype(int), value, seed=0, resamples=10_000)


def test_another_seed_gives_another_interval_up_to_a_thousand_rows():
    assert bootstrap_interval(pinned(LARGE), value, seed=1, resamples=99) != bootstrap_interval(
        pinned(LARGE), value, seed=2, resamples=99
    )
    assert bootstrap_interval(pinned(40), value, seed=1) == bootstrap_interval(pinned(40), value, seed=1)
    large = pinned(LARGE + 1)
    assert bootstrap_interval(large, value, seed=1) == bootstrap_interval(large, value, seed=2)


def test_the_linear_interval_is_that_of_the_linearised_ratio():
    table = pinned(1500)
    ratio = table[:, 0].sum() / table[:, 1].sum()
    rest = table[:, 0] - ratio * table[:, 1]
    error = math.sqrt(1500 / 1499 * float(((rest - rest.mean()) ** 2).sum())) / table[:, 1].sum()
    found = bootstrap_interval(table, value)
    assert (found.low, found.high) == pytest.approx((ratio - 1.959964 * error, ratio + 1.959964 * error), rel=1e-5)


def test_small_columns_have_a_slope_too():
    found = bootstrap_interval(pinned(1500) * 1e-6, value)
    plain = bootstrap_interval(pinned(1500), value)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-9)


def test_what_is_undefined_on_the_way_gives_no_warning(recwarn):
    table = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert bootstrap_interval(table, value) is not None
    assert not recwarn
