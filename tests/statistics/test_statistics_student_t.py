"""Student's t against published tables."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.statistics.student_t import two_sided_p, two_sided_quantile


@pytest.mark.parametrize(
    ("freedom", "p", "t"),
    [
        (1, 0.05, 12.7062047),
        (2, 0.05, 4.3026527),
        (4, 0.05, 2.7764451),
        (10, 0.01, 3.1692727),
        (30, 0.05, 2.0422725),
        (5, 0.001, 6.8688266),
        (math.inf, 0.05, 1.9599640),
    ],
)
def test_quantiles_are_those_of_the_tables(freedom, p, t):
    assert two_sided_quantile(p, freedom) == pytest.approx(t, rel=1e-7)
    assert two_sided_p(t, freedom) == pytest.approx(p, rel=1e-6)


@given(st.floats(1e-12, 0.9999), st.one_of(st.floats(0.5, 2000), st.just(math.inf)))
def test_the_quantile_is_the_inverse_of_the_p_value(p, freedom):
    assert two_sided_p(two_sided_quantile(p, freedom), freedom) == pytest.approx(p, rel=1e-6)


def test_half_of_a_cauchy_distribution_lies_beyond_one():
    assert two_sided_p(1.0, 1) == pytest.approx(0.5)
