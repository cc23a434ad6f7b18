"""How often a 95 % interval of this tool contains the truth, by simulation.

A population of prompts is drawn whose acceptance and answer length differ between prompts, and whose steps are
independent only given the prompt. Its rates are known from millions of prompts. Then runs of n prompts are drawn
from it again and again, and intervals are computed as the tool computes them.

    python performance/interval_coverage.py [--runs 1000] [--seed 0]
"""

from __future__ import annotations

import argparse

import numpy as np

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.statistics import Prompt, averages, intervals

DRAFT_LENGTH = 3
TRUTH_PROMPTS = 4_000_000


def draw(rng: np.random.Generator, prompts: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps per prompt, and steps that accepted each position (prompts x DRAFT_LENGTH).

    Args:
        spread: standard deviation of the logarithm of the answer length.
    """
    accept = rng.beta(3.0, 2.0, prompts)
    tokens = np.clip(rng.lognormal(4.8, spread, prompts), 8, 1024)
    steps = np.maximum((tokens / (1 + 2 * accept)).astype(int), 1)
    positions = np.empty((prompts, DRAFT_LENGTH), dtype=int)
    reached = steps
    for position in range(DRAFT_LENGTH):
        reached = rng.binomial(reached, np.clip(accept * (1 + 0.05 * position), 0, 1))
        positions[:, position] = reached
    return steps, positions


def clusters(steps: np.ndarray, positions: np.ndarray) -> list[AcceptanceCounts]:
    return [
        AcceptanceCounts(
            num_drafts=int(d),
            num_draft_tokens=int(d) * DRAFT_LENGTH,
            num_accepted_tokens=int(row.sum()),
            accepted_per_position=tuple(int(x) for x in row),
        )
        for d, row in zip(steps, positions, strict=True)
    ]


def coverage(prompts: int, runs: int, spread: float, seed: int) -> dict[str, float]:
    """Share of runs whose interval contains the truth, by rate."""
    steps, positions = draw(np.random.default_rng(seed), TRUTH_PROMPTS, spread)
    sums = positions.sum(0)
    truth = {
        "AL": 1 + sums.sum() / steps.sum(),
        "AR": sums.sum() / steps.sum() / DRAFT_LENGTH,
        "p2": sums[1] / steps.sum(),
        "c2": sums[1] / sums[0],
        "c3": sums[2] / sums[1],
        "request mean AL": 1 + float((positions.sum(1) / steps).mean()),
    }
    rng = np.random.default_rng(seed + 1)
    hits = dict.fromkeys(truth, 0)
    for run in range(runs):
        drawn = clusters(*draw(rng, prompts, spread))
        found = intervals(drawn, seed=run, resamples=2_000)
        request_mean = averages(
            [Prompt(category="all", requests=(c,)) for c in drawn], seed=run, resamples=1_000
        ).request_mean.acceptance_length_interval
        by_name = {
            "AL": found.acceptance_length,
            "AR": found.acceptance_rate,
            "p2": found.per_position_acceptance_rates[1],
            "c2": found.conditional_acceptance_rates[1],
            "c3": found.conditional_acceptance_rates[2],
            "request mean AL": request_mean,
        }
        for name, interval in by_name.items():
            hits[name] += interval.low <= truth[name] <= interval.high
    return {name: count / runs for name, count in hits.items()}


def macro_coverage(per_category: int, runs: int, seed: int) -> float:
    """Share of runs whose interval of the category macro AL contains the truth; six categories unlike each other."""
    spreads = [0.3, 0.5, 0.7, 0.4, 0.6, 0.8]
    shifts = [0, 1, 2, 3, 4, 5]
    lengths = []
    for spread, shift in zip(spreads, shifts, strict=True):
        steps, positions = draw(np.random.default_rng(seed + shift), TRUTH_PROMPTS // 8, spread)
        lengths.append(1 + positions.sum() / steps.sum())
    truth = float(np.mean(lengths))
    rng = np.random.default_rng(seed + 100)
    hits = 0
    for run in range(runs):
        drawn = [
            Prompt(category=str(shift), requests=(counts,))
            for spread, shift in zip(spreads, shifts, strict=True)
            for counts in clusters(*draw(rng, per_category, spread))
        ]
        interval = averages(drawn, seed=run, resamples=1_000).category_macro.acceptance_length_interval
        hits += interval.low <= truth <= interval.high
    return hits / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"share of {arguments.runs} runs whose 95 % interval contains the truth")
    for spread, kind in ((0.4, "answers of similar length"), (0.8, "answers of very different length")):
        for prompts in (3, 4, 5, 10, 20, 80, 320):
            shares = coverage(prompts, arguments.runs, spread, arguments.seed)
            print(f"{kind}, {prompts:3d} prompts: " + "  ".join(f"{n} {100 * s:.1f} %" for n, s in shares.items()))
    for per_category in (4, 10, 80):
        share = macro_coverage(per_category, arguments.runs, arguments.seed)
        print(f"category macro AL, 6 categories of {per_category} prompts: {100 * share:.1f} %")


if __name__ == "__main__":
    main()
