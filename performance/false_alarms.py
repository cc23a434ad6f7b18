"""How often `compare` finds a difference between runs of one and the same configuration, on a real engine.

One embedded server is measured again and again with a draft model at temperature 0.8, another seed and another order of
the prompts each time, so that acceptance, texts and times all vary as they do between two runs of one server. Then
disjoint pairs of runs are compared, and disjoint pairs of groups of repeats: any verdict but `not distinguishable` is a
false alarm.

    python performance/false_alarms.py [--pairs 200] [--repeats 3] [--runs FOLDER]

400 runs take about 10 minutes on two quiet cores. With `--runs` the run directories are kept, and those that the folder
has already are not measured again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nemo_skills_specdec.compare.comparison import Comparison, compare_groups
from nemo_skills_specdec.compare.repeats import RunGroup, label_of
from nemo_skills_specdec.compare.spread import spread
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.measurement.run import Run, load_run
from nemo_skills_specdec.measurement.run_directory import METRICS
from nemo_skills_specdec.studies.config import Benchmark, Load, RunConfig, Sampling
from nemo_skills_specdec.studies.one_run import run_once

TOKENS = 12


def main() -> None:
    """Measures what is missing, compares, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3, help="Runs a side in the second row.")
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directories = measured(options.runs or Path(folder), 2 * options.pairs)
        runs = [load_run(directory) for directory in directories]
    print("| runs a side | comparisons | any figure of the total | AL | tok/s per user | AL by category |")
    print("|---|---|---|---|---|---|")
    for size in (1, options.repeats):
        print(row(size, [comparison(runs[i : i + size], runs[i + size : i + 2 * size]) for i in starts(runs, size)]))
    moved = spread(RunGroup(label="all", runs=runs))
    told = ", ".join(f"{one.title} {one.runs_deviation:.1%}" for one in moved.figures if one.relative)
    print(f"\nStandard deviation from run to run: {told} ({moved.prompts} prompts).")


def measured(folder: Path, wanted: int) -> list[Path]:
    """The directories of so many runs of one server, one after the other."""
    directories = [folder / f"{number:03d}" for number in range(wanted)]
    missing = [number for number, directory in enumerate(directories) if not (directory / METRICS).exists()]
    began = time.monotonic()
    if missing:
        with start(EmbeddedOptions(draft_length=3)) as server:
            for number in missing:
                config = RunConfig(
                    method=Method(name="as_served"),
                    server=ServerOptions(engine="running", url=server.base_url),
                    benchmark=Benchmark(config="small", num_prompts=16),
                    sampling=Sampling(temperature=0.8, seed=number, max_tokens=TOKENS),
                    load=Load(concurrency=8),
                    warmup=1,
                    repeat=number + 1,
                )
                run_once(config, directories[number])
    if missing:
        print(f"{len(missing)} runs in {time.monotonic() - began:.0f} s\n", flush=True)
    return directories


def starts(runs: Sequence[Run], size: int) -> range:
    """Where disjoint pairs of groups of so many runs begin."""
    return range(0, len(runs) - 2 * size + 1, 2 * size)


def comparison(baseline: Sequence[Run], run: Sequence[Run]) -> Comparison:
    """Two groups of runs compared as the command compares them."""
    groups = [RunGroup(label=label_of(runs[0]), runs=list(runs)) for runs in (baseline, run)]
    return compare_groups(*groups)


def row(size: int, found: Sequence[Comparison]) -> str:
    """The false alarms of comparisons with so many runs a side."""
    verdicts = [{c.figure for c in one.overall if c.verdict != "not distinguishable"} for one in found]
    categories = [
        any(changes[0].verdict != "not distinguishable" for changes in one.categories.values()) for one in found
    ]
    shares = [
        [bool(told) for told in verdicts],
        ["acceptance_length" in told for told in verdicts],
        ["user_tokens_per_second" in told for told in verdicts],
        categories,
    ]
    cells = [f"{sum(share)} ({sum(share) / len(found):.1%})" for share in shares]
    return "| " + " | ".join([str(size), str(len(found)), *cells]) + " |"


if __name__ == "__main__":
    main()
