"""Rows of bars."""

from nemo_skills_specdec.report.sparkline import sparkline


def test_the_lowest_value_is_the_lowest_bar_and_the_highest_the_highest() -> None:
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"


def test_what_is_unknown_leaves_a_space() -> None:
    assert sparkline([1.0, None, 2.0]) == "▁ █"


def test_equal_values_are_a_flat_line_and_nothing_is_none() -> None:
    assert (sparkline([3.0, 3.0]), sparkline([None])) == ("▁▁", "")
