"""How often `compare` is wrong, by simulation: false verdicts on equal runs, and true drops of AL that it finds.

Prompts are drawn whose acceptance, answer length and slowness differ. Every run answers the same prompts with drafts of
its own, each answer with timing noise of its own, and the whole run with a factor that all its timings share: a machine
has better and worse minutes. Then two sides are compared as the command compares them. A comparison of equal sides that
says `higher` or `lower` of any figure of the total is a false alarm, so is a threshold that it calls violated.

    python performance/comparison_errors.py [--comparisons 200] [--seed 0]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.compare.comparison import Comparison, How, compare_groups
from nemo_skills_specdec.compare.gate import Thresholds
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.measurement.result import Measured, evaluation_of
from nemo_skills_specdec.measurement.run import OutputRow, Run
from nemo_skills_specdec.measurement.run_directory import Manifest
from nemo_skills_specdec.records import RequestRecord

LENGTH = 3
STEP_SECONDS = 0.012
CATEGORIES = 4
EVALUATION = evaluation_of("simulated", Measured(records=[]), {}, findings=[])


class Prompts:
    """What is the same in every run: acceptance probability, steps, slowness."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.accept = rng.beta(3.0, 2.0, count)
        self.steps = np.clip(rng.lognormal(4.0, 0.6, count), 5, 400).astype(int)
        self.slow = rng.lognormal(0.0, 0.2, count)


def draw_run(rng: np.random.Generator, prompts: Prompts, *, noise: float, weaker: float = 1.0) -> Run:
    """One run of these prompts.

    Args:
        noise: standard deviation of the logarithm of the factor that all timings of the run share.
        weaker: factor on every acceptance probability.
    """
    shared = np.exp(rng.normal(0.0, noise))
    rows = []
    for n, steps in enumerate(prompts.steps):
        reached = int(steps)
        positions = []
        for _ in range(LENGTH):
            reached = int(rng.binomial(reached, prompts.accept[n] * weaker))
            positions.append(reached)
        accepted = sum(positions)
        tokens = 1 + int(steps) + accepted
        seconds = steps * STEP_SECONDS * prompts.slow[n] * shared * rng.lognormal(0.0, 0.05)
        ttft = 0.1 * prompts.slow[n] * shared * rng.lognormal(0.0, 0.2)
        counts = AcceptanceCounts(
            num_drafts=int(steps),
            num_draft_tokens=int(steps) * LENGTH,
            num_accepted_tokens=accepted,
            accepted_per_position=tuple(positions),
        )
        record = RequestRecord(
            question_id=str(n),
            category=f"c{n % CATEGORIES}",
            turn=0,
            completion_tokens=tokens,
            start_time=0.0,
            end_time=float(ttft + seconds),
            ttft_seconds=float(ttft),
            tpot_seconds=float(seconds / (tokens - 1)),
            counts=counts,
        )
        rows.append(OutputRow(question_id=record.question_id, category=record.category, requests=[record]))
    server = ServerInfo(engine="vllm", base_url="", speculation="on")
    manifest = Manifest(
        tool_version="",
        python_version="",
        platform="",
        package_versions={},
        started_at="",
        ended_at="",
        arguments={},
        server=server,
        prompts_sha256={},
    )
    return Run(directory=Path(), manifest=manifest, evaluation=EVALUATION, rows=rows, snapshots=[])


def compared(
    rng: np.random.Generator, *, prompts: int, runs: int, noise: float, weaker: float = 1.0, how: How | None = None
) -> Comparison:
    """One comparison of two sides of `runs` runs each."""
    drawn = Prompts(rng, prompts)
    baseline = RunGroup(label="", runs=[draw_run(rng, drawn, noise=noise) for _ in range(runs)])
    run = RunGroup(label="", runs=[draw_run(rng, drawn, noise=noise, weaker=weaker) for _ in range(runs)])
    return compare_groups(baseline, run, how or How(thresholds=Thresholds(max_al_drop=0.01, min_speedup=1.0)))


def false_alarms(comparisons: int, *, prompts: int, runs: int, noise: float, seed: int = 0) -> dict[str, float]:
    """Shares of comparisons of equal sides with a false verdict in the total, in a table by category, of a gate."""
    rng = np.random.default_rng(seed)
    counted = {"total": 0, "AL": 0, "tok/s per user": 0, "categories, AL": 0, "gate": 0}
    for _ in range(comparisons):
        found = compared(rng, prompts=prompts, runs=runs, noise=noise)
        told = {change.title for change in found.overall if change.verdict != "not distinguishable"}
        counted["total"] += bool(told)
        counted["AL"] += "AL" in told
        counted["tok/s per user"] += "tok/s per user" in told
        counted["categories, AL"] += any(
            changes[0].verdict != "not distinguishable" for changes in found.categories.values()
        )
        counted["gate"] += any(result.outcome == "violated" for result in found.thresholds)
    return {name: count / comparisons for name, count in counted.items()}


def weaker_by(drop: float) -> float:
    """The factor on acceptance probabilities that lowers AL by this fraction."""
    prompts = Prompts(np.random.default_rng(99), 200_000)

    def length(factor: float) -> float:
        p = prompts.accept * factor
        return float((prompts.steps * (1 + p + p**2 + p**3)).sum() / prompts.steps.sum())

    low, high, wanted = 0.5, 1.0, length(1.0) * (1 - drop)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) < wanted else (low, middle)
    return high


def found_drops(comparisons: int, *, prompts: int, runs: int, noise: float, drop: float, seed: int = 1) -> float:
    """Share of comparisons that call a true drop of AL `lower`."""
    rng, factor = np.random.default_rng(seed), weaker_by(drop)
    found = 0
    for _ in range(comparisons):
        one = compared(rng, prompts=prompts, runs=runs, noise=noise, weaker=factor)
        found += one.figure("acceptance_length").verdict == "lower"
    return found / comparisons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{options.comparisons} comparisons of equal sides with 200 prompts: false alarms")
    for runs, noise in ((1, 0.05), (1, 0.1), (2, 0.05), (3, 0.0), (3, 0.05), (3, 0.2)):
        shares = false_alarms(options.comparisons, prompts=200, runs=runs, noise=noise, seed=options.seed)
        told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        print(f"  runs a side {runs}, noise {noise:.0%}: {told}", flush=True)
    print(f"{options.comparisons} comparisons with 880 prompts: true drops found")
    for drop, runs in ((0.03, 1), (0.01, 1)):
        share = found_drops(options.comparisons, prompts=880, runs=runs, noise=0.05, drop=drop, seed=options.seed + 1)
        print(f"  a drop of AL by {drop:.0%}, runs a side {runs}: {share:.1%}", flush=True)


if __name__ == "__main__":
    main()
