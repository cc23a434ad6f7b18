"""How often `compare` finds a difference between runs of one and the same configuration, on a real engine.

One embedded server is measured again and again with a draft model at temperature 0.8, other random numbers and another
order of the prompts each time, so that acceptance, texts and times all vary as they do between two runs of one server.
Then disjoint pairs of runs are compared, and disjoint pairs of groups of repeats: any verdict but `not distinguishable`
is a false alarm. Measuring is `eval`'s own; only the result of each run, which no comparison by prompt needs, is left
out.

    python performance/false_alarms.py [--pairs 200] [--repeats 3]

400 runs take about 4 minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.compare.comparison import Comparison, compare_groups
from nemo_skills_specdec.compare.repeats import RunGroup, label_of
from nemo_skills_specdec.compare.spread import spread
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.measurement.measure import Plan, Workload, gather
from nemo_skills_specdec.measurement.result import Measured, evaluation_of
from nemo_skills_specdec.measurement.run import OutputRow, Run
from nemo_skills_specdec.measurement.run_directory import new_manifest
from nemo_skills_specdec.records import RequestRecord
from nemo_skills_specdec.studies.config import Benchmark
from nemo_skills_specdec.studies.prompts import load_rows

TOKENS = 16
PROMPTS = 22
EVALUATION = evaluation_of("not concluded", Measured(records=[]), {}, findings=[])


def main() -> None:
    """Measures, compares, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3, help="Runs a side in the second row.")
    options = parser.parse_args()
    began = time.monotonic()
    runs = measured(2 * options.pairs)
    print(f"{len(runs)} runs in {time.monotonic() - began:.0f} s\n", flush=True)
    print("| runs a side | comparisons | any figure of the total | AL | tok/s per user | AL by category |")
    print("|---|---|---|---|---|---|")
    for size in (1, options.repeats):
        print(row(size, [comparison(runs[i : i + size], runs[i + size : i + 2 * size]) for i in starts(runs, size)]))
    moved = spread(RunGroup(label="all", runs=runs))
    told = ", ".join(f"{one.title} {one.runs_deviation:.1%}" for one in moved.figures if one.relative)
    print(f"\nStandard deviation from run to run: {told} ({moved.prompts} prompts).")


def measured(wanted: int) -> list[Run]:
    """So many runs on one server, one after the other."""
    rows = load_rows(Benchmark(config="small", num_prompts=PROMPTS))
    runs = []
    with start(EmbeddedOptions(draft_length=3)) as server:
        info = detect(server.base_url, (server.base_url,), {})
        for number in range(wanted):
            plan = Plan(
                base_url=server.base_url,
                metrics_urls=(server.base_url,),
                request=RequestOptions(model=info.models[0], max_tokens=TOKENS, temperature=0.8),
                load=LoadOptions(concurrency=8),
                warmup_requests=1,
                order_seed=number,
            )
            evidence = gather(Workload(name="mini", rows=rows), plan, info, headers={}).evidence
            answered: dict[str, list[RequestRecord]] = {}
            for record in evidence.records:
                answered.setdefault(record.question_id, []).append(record)
            output = [
                OutputRow(question_id=one.question_id, category=one.category, requests=answered[one.question_id])
                for one in rows
            ]
            manifest = new_manifest({"load": {"concurrency": 8}}, info, rows, time.time())
            runs.append(
                Run(directory=Path(str(number)), manifest=manifest, evaluation=EVALUATION, rows=output, snapshots=[])
            )
    return runs


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
