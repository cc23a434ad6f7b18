"""The model of arXiv:2211.17192."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.compare.leviathan import (
    alpha_of,
    best_draft_length,
    expected_speedup,
    expected_tokens,
    leviathan,
)


@pytest.mark.parametrize(
    ("alpha", "cost", "length", "speedup"), [(0.7, 0.05, 6, 2.353), (0.7, 0.1, 4, 1.981), (0.8, 0.05, 8, 3.092)]
)
def test_the_best_length_and_its_speedup(alpha, cost, length, speedup):
    assert best_draft_length(alpha, cost) == length
    assert expected_speedup(alpha, length, cost) == pytest.approx(speedup, abs=1e-3)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_speculation_pays_if_and_only_if_acceptance_is_above_the_cost(alpha, cost):
    # Corollary 3.9.
    if abs(alpha - cost) > 1e-3:
        assert (best_draft_length(alpha, cost) > 0) == (alpha > cost)


@given(st.floats(0.0, 0.999), st.integers(1, 16))
def test_alpha_is_found_again_from_the_acceptance_length(alpha, length):
    assert alpha_of(expected_tokens(alpha, length), length) == pytest.approx(alpha, abs=1e-6)


def test_without_a_cost_there_is_an_alpha_alone():
    found = leviathan(1.7, 1, None)
    assert found.alpha == pytest.approx(0.7)
    assert found.best_draft_length is None
