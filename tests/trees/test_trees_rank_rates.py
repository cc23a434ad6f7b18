"""Rates by depth and rank: what they make one expect, and reading them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees_rates import RATES, SMALL, tables

from nemo_skills_specdec.embedded.draft_tree import chain, parse_tree
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.trees.rank_rates import (
    RankRates,
    expected_length,
    isotonic,
    node_probabilities,
    rates_of_counts,
    read_rank_rates,
    simulated_length,
)


def test_a_path_is_as_likely_as_the_product_of_its_rates():
    tree = parse_tree("2x2")
    assert node_probabilities(tree, RATES) == pytest.approx([1, 0.6, 0.2, 0.3, 0.06, 0.1, 0.02])
    assert expected_length(tree, RATES) == pytest.approx(1 + 0.8 + 0.48)


def test_a_chain_has_the_expectation_of_its_conditional_rates():
    assert expected_length(chain(3), RATES) == pytest.approx(1 + 0.6 + 0.6 * 0.5 + 0.6 * 0.5 * 0.4)


def test_rates_after_each_rank_take_the_place_of_those_after_any():
    rates = RankRates(rates=((0.6, 0.2), (0.5, 0.1)), after=((), ((0.55, 0.1), (0.3, 0.05))))
    assert node_probabilities(parse_tree("2x1"), rates) == pytest.approx([1, 0.6, 0.2, 0.33, 0.06])
    # Nothing is known after a third rank, and depths below the last are like it.
    assert (rates.at(1, 0, 2), rates.at(7, 0, 1), rates.at(0, 2)) == (0.5, 0.3, 0.0)


@given(tables(fall=False))
def test_smoothed_rates_fall_and_keep_their_sum(rates):
    smooth = isotonic(rates)
    for before, after in zip(rates.rates, smooth.rates, strict=True):
        assert sum(after) == pytest.approx(sum(before))
        assert all(a >= b - 1e-12 for a, b in itertools.pairwise(after))


@settings(max_examples=30, deadline=None)
@given(tables(fall=False), st.sampled_from(SMALL[5]), st.integers(0, 5))
def test_simulated_steps_agree_with_the_expectation(rates, tree, seed):
    mean, error = simulated_length(tree, rates, steps=20_000, seed=seed)
    assert mean == pytest.approx(expected_length(tree, rates), abs=5 * error + 1e-9)


def test_the_standard_error_of_a_simulation_is_that_of_its_steps():
    _, error = simulated_length(chain(1), RankRates(rates=((0.5,),)), steps=10_000, seed=1)
    assert error == pytest.approx(0.5 / 100, rel=0.02)


def test_rates_come_from_the_counts_of_a_ledger():
    rates = rates_of_counts([[100, 100], [60, 50], [0, 0]], [[50, 10], [30, 5], [0, 0]])
    assert rates.rates == ((0.5, 0.1), (0.5, 0.1))
    assert rates.offered == ((100, 100), (60, 50))
    with pytest.raises(DataError, match="no step"):
        rates_of_counts([[0]], [[0]])


@pytest.mark.parametrize(
    "text",
    [
        '{"rates": [[0.5, 0.1], [0.5, 0.1]]}',
        '{"offered": [[100, 100], [60, 50]], "accepted": [[50, 10], [30, 5]]}',
    ],
)
def test_rates_are_read_from_a_file(tmp_path, text):
    path = tmp_path / "rates.json"
    path.write_text(text)
    found = read_rank_rates(path)
    assert found.rates == ((0.5, 0.1), (0.5, 0.1))
    assert found.source == str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no", "not JSON"),
        ("[]", "rates"),
        ('{"rates": []}', "at least one depth"),
        ('{"rates": [[0.5], []]}', "one rank"),
        ('{"rates": [[0.7, 0.6]]}', "at most 1"),
        ('{"rates": [[-0.1]]}', "between 0 and 1"),
        ('{"rates": [["x"]]}', "rates"),
        ('{"offered": [[1]], "accepted": [[1], [2]]}', "rates.json"),
    ],
)
def test_what_are_no_rates_is_refused_with_the_reason(tmp_path, text, words):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_rank_rates(path)


def test_a_missing_file_of_rates_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_rank_rates(tmp_path / "none.json")
