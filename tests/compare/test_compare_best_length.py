"""The best draft length, on the published example of Llama-3.1-8B with EAGLE-3 (MT-Bench, batch size 1)."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.compare.best_length import best_length, predict
from nemo_skills_specdec.compare.step_time import StepPoint, fit_step_time

# https://github.com/vllm-project/vllm/issues/20780: by draft length AL and TPOT in ms; 7.07 ms without speculation.
MEASURED = {
    2: (2.36, 4.32),
    3: (2.79, 4.09),
    4: (3.08, 4.05),
    5: (3.32, 4.13),
    6: (3.46, 4.20),
    7: (3.54, 4.29),
}
LENGTHS = {k: length for k, (length, _) in MEASURED.items()}


def fitted(lengths):
    return fit_step_time([StepPoint(draft_length=k, seconds=MEASURED[k][0] * MEASURED[k][1] / 1000) for k in lengths])


def test_the_step_time_is_a_line_in_the_draft_length():
    step = fitted(MEASURED)
    assert step.fixed * 1000 == pytest.approx(8.3468, abs=1e-3)
    assert step.per_draft_token * 1000 == pytest.approx(1.01592, abs=1e-4)
    assert step.per_draft_token / 7.07e-3 == pytest.approx(0.1437, abs=1e-4)
    assert step.worst_residual < 0.025


def test_four_is_best_and_three_to_five_are_as_good():
    predictions = predict(LENGTHS, fitted(MEASURED), baseline_tpot=7.07e-3)
    by_length = {one.draft_length: one for one in predictions}
    told = {2: 4.398, 3: 4.084, 4: 4.029, 5: 4.044, 6: 4.174, 7: 4.367}
    assert {k: round(by_length[k].tpot_seconds * 1000, 3) for k in told} == pytest.approx(told, abs=2e-3)
    assert by_length[4].speedup == pytest.approx(7.07 / 4.029, abs=2e-3)
    best = best_length(predictions)
    assert (best.draft_length, best.low, best.high, best.at_edge) == (4, 3, 5, False)


def test_any_two_lengths_give_the_best_within_one():
    picked = [best_length(predict(LENGTHS, fitted(pair))).draft_length for pair in combinations(MEASURED, 2)]
    assert sorted(picked) == [3] * 2 + [4] * 8 + [5] * 5
    regret = max(MEASURED[k][1] / MEASURED[4][1] for k in picked) - 1
    assert regret == pytest.approx(0.020, abs=1e-3)


def test_one_length_gives_no_line():
    assert fit_step_time([StepPoint(draft_length=3, seconds=0.1), StepPoint(draft_length=3, seconds=0.2)]) is None


def test_a_step_that_costs_nothing_more_makes_the_longest_draft_best_and_says_it_is_the_edge():
    step = fit_step_time([StepPoint(draft_length=1, seconds=0.01), StepPoint(draft_length=3, seconds=0.01)])
    best = best_length(predict({1: 1.6, 2: 1.9, 3: 2.05}, step))
    assert (best.draft_length, best.at_edge) == (3, True)


@given(
    st.floats(0.001, 0.1),
    st.floats(0, 0.02),
    st.lists(st.tuples(st.integers(1, 16), st.integers(1, 5)), min_size=2, max_size=6, unique_by=lambda p: p[0]),
)
def test_points_on_a_line_give_that_line(fixed, slope, lengths):
    points = [StepPoint(draft_length=k, seconds=fixed + slope * k, runs=runs) for k, runs in lengths]
    step = fit_step_time(points)
    assert step.fixed == pytest.approx(fixed, rel=1e-6)
    assert step.per_draft_token == pytest.approx(slope, rel=1e-6, abs=1e-9)
