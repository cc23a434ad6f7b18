"""What the statistics of a run cost in processor time and memory, from a thousand answers to a million.

Each size is measured in a process of its own, on one core: the counts of all answers are made up first, and only the
averages and intervals over them are timed. Memory is the peak of the whole process, counts included.

    python performance/statistics_scaling.py [--answers 1000 10000 ...] [--resamples 10000]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time

ANSWERS = (1_000, 10_000, 100_000, 1_000_000)


def measure(answers: int, resamples: int) -> None:
    from nemo_skills_specdec.acceptance import counts_from_histogram, total
    from nemo_skills_specdec.statistics import Prompt, uncertainty

    chance = random.Random(0)
    prompts = []
    for number in range(answers):
        histogram = [chance.randrange(1, 20) for _ in range(4)]
        counts = counts_from_histogram(histogram, num_draft_tokens=3 * sum(histogram))
        prompts.append(Prompt(category=f"category {number % 11}", requests=(counts,)))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    whole = total(prompt.requests[0] for prompt in prompts)
    found = uncertainty(prompts, resamples=resamples)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert found.averages.pooled.acceptance_length == whole.acceptance_length
    interval = found.overall.acceptance_length
    assert interval is not None
    print(
        f"| {answers:,} | {seconds:.2f} | {1e6 * seconds / answers:.1f} | {held / 1024:.0f} | {peak / 1024:.0f} "
        f"| {interval.low:.4f} to {interval.high:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", nargs="*", type=int, default=list(ANSWERS))
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.here, arguments.resamples)
        return
    print("| answers | CPU s | us per answer | MB before | MB peak | AL |\n|---|---|---|---|---|---|", flush=True)
    for answers in arguments.answers:
        own = [sys.executable, __file__, "--here", str(answers), "--resamples", str(arguments.resamples)]
        subprocess.run(own, check=True)


if __name__ == "__main__":
    main()
