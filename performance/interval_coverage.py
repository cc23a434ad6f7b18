"""How often the 95 % intervals of this tool contain the truth, by simulation.

A population of prompts is drawn whose acceptance and answer length differ between prompts, and whose steps are
independent only given the prompt. Its rates are known from millions of prompts. Then runs of n prompts are drawn
from it again and again, and intervals are computed as the tool computes them.

    python performance/interval_coverage.py [--runs 1000] [--seed 0] [--population NAME ...] [--prompts N ...]
"""

from __future__ import annotations

import argparse

import msgspec
import numpy as np

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.compare.contrast import by_prompt
from nemo_skills_specdec.statistics import Prompt, uncertainty

DRAFT_LENGTH = 3
TRUTH_PROMPTS = 2_000_000
RESAMPLES = 1_000


class Population(msgspec.Struct, frozen=True):
    """A kind of prompts.

    Attributes:
        accept: parameters of the beta distribution of a prompt's chance to accept a draft token.
        spread: of the logarithm of the answer's length in tokens, around 122 tokens; 0 takes `steps` instead.
        steps: the fewest and the most steps of an answer.
        varying: drafts of one to three tokens, prompts preferring different lengths; otherwise always three.
    """

    accept: tuple[float, float]
    spread: float = 0.0
    steps: tuple[int, int] = (20, 60)
    varying: bool = False


POPULATIONS = {
    "answers of similar length": Population((3, 2), spread=0.4),
    "answers of very different length": Population((3, 2), spread=0.8),
    "drafts of varying length": Population((3, 2), spread=0.6, varying=True),
    "few steps (1 to 8), varying drafts": Population((3, 2), steps=(1, 8), varying=True),
    "few steps (1 to 4)": Population((3, 2), steps=(1, 4)),
    "AL 1.10": Population((2, 20)),
    "AL 1.03": Population((2, 66)),
    "AL 1.03, few prompts accept anything": Population((0.5, 15)),
    "AL 1.01": Population((1, 99)),
    "AL 1.12, few steps (1 to 5)": Population((2, 18), steps=(1, 5)),
    "AL 3.81 of 4": Population((30, 1)),
    "AL 3.81 of 4, few steps (1 to 5)": Population((30, 1), steps=(1, 5)),
}
COUNTS = (3, 5, 10, 20, 44, 80, 320, 1200)


def draw(rng: np.random.Generator, prompts: int, population: Population) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps per prompt, draft tokens per prompt, and steps that accepted each position (prompts x DRAFT_LENGTH)."""
    accept = rng.beta(*population.accept, prompts)
    if population.spread:
        tokens = np.clip(rng.lognormal(4.8, population.spread, prompts), 8, 1024)
        steps = np.maximum((tokens / (1 + 2 * accept)).astype(int), 1)
    else:
        steps = rng.integers(population.steps[0], population.steps[1] + 1, prompts)
    # Steps by the length of their draft: all of them long, or a share that is the prompt's own.
    long = rng.binomial(steps, rng.beta(2, 2, prompts)) if population.varying else steps
    middle = rng.binomial(steps - long, 0.5)
    by_length = np.stack([steps - long - middle, middle, long], axis=1)
    positions = np.zeros((prompts, DRAFT_LENGTH), dtype=int)
    for length in range(DRAFT_LENGTH):
        reached = by_length[:, length]
        for position in range(length + 1):
            reached = rng.binomial(reached, accept)
            positions[:, position] += reached
    return steps, by_length @ np.arange(1, DRAFT_LENGTH + 1), positions


def prompts_of(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], category: str) -> list[Prompt]:
    steps, drafted, positions = drawn
    return [
        Prompt(
            category=category,
            requests=(
                AcceptanceCounts(
                    num_drafts=d, num_draft_tokens=t, num_accepted_tokens=sum(row), accepted_per_position=tuple(row)
                ),
            ),
        )
        for d, t, row in zip(steps.tolist(), drafted.tolist(), positions.tolist(), strict=True)
    ]


def truth_of(population: Population, seed: int) -> dict[str, float]:
    steps, drafted, positions = draw(np.random.default_rng(seed), TRUTH_PROMPTS, population)
    sums = positions.sum(0)
    return {
        "AL": 1 + sums.sum() / steps.sum(),
        "AR": sums.sum() / drafted.sum(),
        "p2": sums[1] / steps.sum(),
        "c2": sums[1] / sums[0],
        "c3": sums[2] / sums[1],
        "request mean": 1 + float((positions.sum(1) / steps).mean()),
    }


def coverage(population: Population, prompts: int, runs: int, seed: int, truth: dict[str, float]) -> dict[str, str]:
    """Per rate, the share of the runs with an interval whose interval contains the truth; and how many had none."""
    rng = np.random.default_rng(seed + prompts)
    hits, given = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for run in range(runs):
        found = uncertainty(prompts_of(draw(rng, prompts, population), "all"), seed=run, resamples=RESAMPLES)
        per_position = found.overall.per_position_acceptance_rates or (None,) * DRAFT_LENGTH
        conditional = found.overall.conditional_acceptance_rates or (None,) * DRAFT_LENGTH
        by_name = {
            "AL": found.overall.acceptance_length,
            "AR": found.overall.acceptance_rate,
            "p2": per_position[1],
            "c2": conditional[1],
            "c3": conditional[2],
            "request mean": found.averages.request_mean.acceptance_length_interval,
        }
        for name, interval in by_name.items():
            if interval is not None:
                given[name] += 1
                hits[name] += interval.low <= truth[name] <= interval.high
    return {name: _share(hits[name], given[name], runs) for name in truth}


def _share(hits: int, given: int, runs: int) -> str:
    if given < runs / 20:
        return "-"
    return f"{100 * hits / given:.1f}" + (f" ({100 * given / runs:.0f})" if given < runs else "")


def macro_coverage(kinds: list[Population], per_category: int, runs: int, seed: int) -> str:
    """Share of runs whose interval of the category macro AL contains the truth; one category of each kind."""
    truth = float(np.mean([truth_of(kind, seed + shift)["AL"] for shift, kind in enumerate(kinds)]))
    rng = np.random.default_rng(seed + 100)
    hits = 0
    for run in range(runs):
        drawn = [
            prompt
            for number, kind in enumerate(kinds)
            for prompt in prompts_of(draw(rng, per_category, kind), str(number))
        ]
        interval = uncertainty(drawn, seed=run, resamples=RESAMPLES).averages.category_macro.acceptance_length_interval
        hits += interval is not None and interval.low <= truth <= interval.high
    return f"{100 * hits / runs:.1f}"


def timed_runs(
    rng: np.random.Generator, prompts: int, repeats: int, run_noise: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Tokens and seconds by prompt, for each run of a baseline and of a method that is faster on some prompts."""
    tokens = np.clip(rng.lognormal(4.8, 0.6, prompts), 8, 1024)
    seconds = 0.01 * tokens * rng.lognormal(0, 0.2, prompts)
    gain = rng.lognormal(0.2, 0.25, prompts)

    def run(factor: np.ndarray | float) -> np.ndarray:
        own = rng.lognormal(0, 0.05, prompts)
        return np.stack([tokens, seconds / factor * own * rng.lognormal(0, run_noise)], axis=1)

    return [run(1.0) for _ in range(repeats)], [run(gain) for _ in range(repeats)]


def speedup_coverage(truth: float, prompts: int, repeats: int, run_noise: float, runs: int, seed: int) -> str:
    """Share of studies whose interval of the speedup over all repeats contains the truth, a logarithm."""
    rng = np.random.default_rng(seed + prompts + repeats)
    hits = given = 0
    for _ in range(runs):
        found = by_prompt(*timed_runs(rng, prompts, repeats, run_noise), ratio=True)
        interval = found.interval(0.05) if found is not None else None
        if interval is not None:
            given += 1
            hits += interval.low <= truth <= interval.high
    return _share(hits, given, runs)


def print_speedups(runs: int, seed: int) -> None:
    print("| speedup: noise from run to run | prompts | 1 run | 2 runs each | 3 runs each | 5 runs each |")
    print("|---|---|---|---|---|---|")
    # Sums of millions; the noise of single runs is none of the truth.
    base, method = timed_runs(np.random.default_rng(seed), TRUTH_PROMPTS, 1, 0.0)
    truth = float(np.log(base[0][:, 1].sum() / method[0][:, 1].sum()))
    for run_noise in (0.0, 0.02, 0.05, 0.15):
        for prompts in (10, 44, 110):
            shares = [speedup_coverage(truth, prompts, repeats, run_noise, runs, seed) for repeats in (1, 2, 3, 5)]
            print(f"| {100 * run_noise:.0f} % | {prompts} | " + " | ".join(shares) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--population", nargs="*", default=list(POPULATIONS), choices=list(POPULATIONS))
    parser.add_argument("--prompts", nargs="*", type=int, default=list(COUNTS))
    parser.add_argument("--speedup", action="store_true", help="Only speedups.")
    parser.add_argument("--macro", nargs="*", type=int, help="Only the macro average, of so many prompts a category.")
    arguments = parser.parse_args()
    if arguments.speedup:
        print_speedups(arguments.runs, arguments.seed)
        return
    print(f"Share in % of {arguments.runs} runs whose 95 % interval contains the truth.")
    print("In brackets: the share of runs that have an interval, where not all do.\n")
    if arguments.macro is None:
        print("| prompts of a run | n | AL | AR | p2 | c2 | c3 | request mean |\n|---|---|---|---|---|---|---|---|")
        for name in arguments.population:
            truth = truth_of(POPULATIONS[name], arguments.seed)
            for prompts in arguments.prompts:
                shares = coverage(POPULATIONS[name], prompts, arguments.runs, arguments.seed, truth)
                print(f"| {name} | {prompts} | " + " | ".join(shares.values()) + " |", flush=True)
        print()
    print("| category macro AL | prompts a category | covered |\n|---|---|---|")
    groups = {
        "six categories of ordinary kinds": [
            Population((a, 2), spread=spread)
            for a, spread in ((3, 0.3), (2, 0.5), (4, 0.7), (3, 0.4), (1, 0.6), (6, 0.8))
        ],
        "eleven categories of ordinary kinds": [
            Population((a, 2), spread=0.3 + 0.05 * number)
            for number, a in enumerate((3, 2, 4, 3, 1, 6, 2, 5, 3, 1.5, 4))
        ],
        "six categories near AL 1": [Population((a, 40)) for a in (0.5, 1, 1.5, 2, 3, 4)],
        "two categories": [Population((3, 2), spread=0.4), Population((1, 3), spread=0.8)],
    }
    for name, kinds in groups.items():
        for per_category in arguments.macro or (2, 4, 10, 80):
            print(
                f"| {name} | {per_category} | {macro_coverage(kinds, per_category, arguments.runs, arguments.seed)} |"
            )


if __name__ == "__main__":
    main()
