import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.embedded.sampling import (
    SamplingParams,
    acceptance_probability,
    probabilities,
    residual,
    sample,
    verify,
    verify_greedy,
)


def distribution(size: int) -> st.SearchStrategy[np.ndarray]:
    weights = st.lists(st.integers(0, 8), min_size=size, max_size=size).filter(any)
    return weights.map(lambda w: (np.array(w) / sum(w)).astype(np.float32))


def emitted(p: np.ndarray, q: np.ndarray | None, drafted: np.ndarray) -> np.ndarray:
    """Exact distribution of one step's first token, drafts being drawn from `drafted`."""
    result = np.zeros(len(p))
    for token in np.flatnonzero(drafted):
        accept = acceptance_probability(p, q, int(token))
        result[token] += drafted[token] * accept
        left = residual(p, q, int(token)).astype(np.float64)
        if accept < 1:
            result += drafted[token] * (1 - accept) * left / left.sum()
    return result


@given(st.integers(2, 6).flatmap(lambda n: st.tuples(distribution(n), distribution(n))))
def test_the_rule_emits_exactly_the_target_distribution_for_every_drafter(both):
    p, q = both
    np.testing.assert_allclose(emitted(p, q, q), p, atol=1e-6)


@given(st.integers(2, 6).flatmap(lambda n: st.tuples(distribution(n), distribution(n))))
def test_the_rule_emits_exactly_the_target_distribution_when_tokens_are_proposed_for_certain(both):
    p, chosen = both
    np.testing.assert_allclose(emitted(p, None, chosen), p, atol=1e-6)


class Script:
    """Uniform numbers of a chosen path, with the probability of that path's branches."""

    def __init__(self, numbers: tuple[float, ...]) -> None:
        self._numbers = iter(numbers)

    def __call__(self) -> float:
        return next(self._numbers)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[distribution(3)] * 5))
def test_a_chain_of_two_emits_exactly_the_joint_target_distribution(distributions):
    first, after_0, after_1, after_2, q = distributions
    after = [after_0, after_1, after_2]
    grid = [(i + 0.5) / 60 for i in range(60)]
    joint = np.zeros((3, 3))
    for drafted in itertools.product(range(3), repeat=2):
        weight = q[drafted[0]] * q[drafted[1]]
        if weight == 0:
            continue
        p = np.array([first, after[drafted[0]], after[drafted[1]]])
        # Chances of 0, 1, 2 accepted tokens, and what follows, from the public rule itself.
        a0 = acceptance_probability(p[0], q, drafted[0])
        a1 = acceptance_probability(p[1], q, drafted[1])
        for accepted, chance in ((0, 1 - a0), (1, a0 * (1 - a1)), (2, a0 * a1)):
            if chance == 0:
                continue
            numbers = {0: (1 - 1e-9,), 1: (0.0, 1 - 1e-9), 2: (0.0, 0.0)}[accepted]
            follow = np.zeros(3)
            for u in grid:
                count, token = verify(drafted, [q, q], p.__getitem__, Script((*numbers, u)))
                assert count == accepted
                follow[token] += 1 / len(grid)
            if accepted == 0:
                # The second token of the text is drawn in the next step, from the target after the first.
                joint += weight * chance * follow[:, None] * np.array(after)
            else:
                joint[drafted[0]] += weight * chance * (follow if accepted == 1 else np.eye(3)[drafted[1]])
    expected = first[:, None] * np.array(after)
    # The grid of 60 quantiles leaves at most 1/60 on each side of a boundary.
    np.testing.assert_allclose(joint, expected, atol=2 / 60)


def test_tokens_are_accepted_until_the_first_refusal_and_one_token_follows():
    p = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], np.float32)
    q = np.array([0.5, 0.5], np.float32)
    assert verify([0, 1], [q, q], p.__getitem__, Script((0.99, 0.99, 0.3))) == (2, 0)
    assert verify([0, 0], [q, q], p.__getitem__, Script((0.99, 0.51, 0.3))) == (1, 1)


def test_a_token_proposed_for_certain_is_never_drawn_again_after_its_refusal():
    p = np.array([[0.6, 0.3, 0.1], [1, 0, 0]], np.float32)
    assert verify([0], [None], p.__getitem__, Script((0.61, 0.0)))[1] == 1
    assert verify([0], [None], p.__getitem__, Script((0.61, 0.999)))[1] == 2


def test_greedy_verification_accepts_while_the_draft_is_the_first_choice():
    assert verify_greedy([5, 6, 7], [5, 6, 9, 1]) == (2, 9)
    assert verify_greedy([5, 6], [5, 6, 8]) == (2, 8)
    assert verify_greedy([], [4]) == (0, 4)


def test_draw_returns_the_quantile_and_never_a_token_without_mass():
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0], np.float32)
    assert [sample(p, u) for u in (0.0, 0.2499, 0.25, 0.9999999)] == [1, 1, 3, 3]


def test_temperature_sharpens_and_flattens_as_a_power_of_the_distribution():
    logits = np.log(np.array([[0.1, 0.2, 0.7]], np.float32))
    p = np.array([0.1, 0.2, 0.7])
    np.testing.assert_allclose(probabilities(logits, [SamplingParams(1.0)])[0], p, rtol=1e-5)
    np.testing.assert_allclose(probabilities(logits, [SamplingParams(0.5)])[0], p**2 / (p**2).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "shape", "kept"),
    [
        ([0.1, 0.3, 0.5, 0.1], SamplingParams(top_p=0.5), [2]),
        ([0.1, 0.3, 0.5, 0.1], SamplingParams(top_p=0.6), [1, 2]),
        ([0.11, 0.3, 0.5, 0.09], SamplingParams(top_p=0.9), [0, 1, 2]),
        ([0.1, 0.3, 0.5, 0.1], SamplingParams(top_k=2), [1, 2]),
        ([0.1, 0.3, 0.5, 0.1], SamplingParams(top_k=1), [2]),
        ([0.15, 0.3, 0.5, 0.05], SamplingParams(min_p=0.25), [0, 1, 2]),
        ([0.1, 0.3, 0.5, 0.1], SamplingParams(top_k=3, top_p=0.6), [1, 2]),
        ([0.1, 0.3, 0.5, 0.1], SamplingParams(top_k=9, top_p=1.0), [0, 1, 2, 3]),
    ],
)
def test_filters_keep_the_most_likely_tokens_and_renormalise(weights, shape, kept):
    result = probabilities(np.log(np.array([weights])).astype(np.float32), [shape])[0]
    expected = np.where(np.isin(range(4), kept), weights, 0)
    np.testing.assert_allclose(result, expected / expected.sum(), atol=1e-6)


def test_rows_of_one_batch_are_shaped_each_by_its_own_settings():
    logits = np.log(np.array([[0.1, 0.2, 0.7]] * 2, np.float32))
    result = probabilities(logits, [SamplingParams(top_k=1), SamplingParams()])
    np.testing.assert_allclose(result, [[0, 0, 1], [0.1, 0.2, 0.7]], rtol=1e-5)
