"""False alarms and found drops, by a short version of performance/comparison_errors.py."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent.parent / "performance"))
from comparison_errors import false_alarms, found_drops


@pytest.mark.parametrize(("runs", "noise"), [(1, 0.05), (3, 0.1)])
def test_equal_runs_are_seldom_told_apart(runs, noise):
    # Of 16 comparisons at 5 % more than 3 are false with a probability below 1 %; the seed is fixed.
    shares = false_alarms(16, prompts=30, runs=runs, noise=noise, seed=3)
    assert all(share <= 3 / 16 for share in shares.values()), shares


def test_a_true_drop_of_three_percent_is_found_with_880_prompts():
    assert found_drops(3, prompts=880, runs=1, noise=0.05, drop=0.03) == 1.0
