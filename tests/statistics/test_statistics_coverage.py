"""Simulated runs: a 95 % interval holds the truth in about 95 % of them (more: performance/interval_coverage.py)."""

import numpy as np
import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.statistics import intervals

RUNS = 400


def drawn(rng, prompts):
    """A prompt accepts with a chance of its own, Beta(3, 2), in each of 10 to 39 steps of two draft tokens."""
    chance = rng.beta(3.0, 2.0, prompts)
    steps = rng.integers(10, 40, prompts)
    first = rng.binomial(steps, chance)
    second = rng.binomial(first, chance)
    return [
        AcceptanceCounts(
            num_drafts=int(d), num_draft_tokens=int(2 * d), num_accepted_tokens=int(a + b), accepted_per_position=(a, b)
        )
        for d, a, b in zip(steps.tolist(), first.tolist(), second.tolist(), strict=True)
    ]


@pytest.mark.parametrize("prompts", [4, 12, 40])
def test_an_interval_holds_the_truth_in_about_95_of_100_runs(prompts):
    # E chance = 0.6, E chance ** 2 = 0.4, for Beta(3, 2).
    truth = {"AL": 2.0, "AR": 0.5, "c2": 0.4 / 0.6}
    rng = np.random.default_rng(prompts)
    hits = dict.fromkeys(truth, 0)
    for seed in range(RUNS):
        found = intervals(drawn(rng, prompts), seed=seed, resamples=500)
        given = {
            "AL": found.acceptance_length,
            "AR": found.acceptance_rate,
            "c2": found.conditional_acceptance_rates[1],
        }
        for name, interval in given.items():
            hits[name] += interval.low <= truth[name] <= interval.high
    for name, count in hits.items():
        assert 0.92 <= count / RUNS <= 0.99, (name, count / RUNS)
