"""Holm's correction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.compare.holm import holm

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def test_the_smallest_is_multiplied_by_all_and_no_later_one_is_smaller():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_one_alone_is_not_corrected():
    assert holm([0.03]) == [0.03]


@given(P_VALUES)
def test_a_corrected_value_lies_between_its_own_and_bonferronis(p_values):
    for own, corrected in zip(p_values, holm(p_values), strict=True):
        assert own <= corrected <= 1.0
        assert corrected <= max(1.0 if own else 0.0, len(p_values) * max(p_values))


@given(P_VALUES)
def test_correction_keeps_the_order(p_values):
    pairs = sorted(zip(p_values, holm(p_values), strict=True))
    assert [corrected for _, corrected in pairs] == sorted(corrected for _, corrected in pairs)
