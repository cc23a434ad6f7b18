"""What it costs to read a finished run and to compute its result again, from a thousand answers to a million.

A run directory with as many answers is written, each size is read and concluded in a process of its own (`load_run`
without texts, and `recompute`: the whole way from the files to `metrics.json`), and time and peak memory of that
process are shown. A million answers take 2 GB of disk, which are freed again.

    python performance/conclude_scaling.py [--answers 1000 10000 ...]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ANSWERS = (1_000, 10_000, 100_000, 1_000_000)
TEXT = "The quick brown fox jumps over the lazy dog. " * 6
CATEGORIES = 11


def write_run(directory: Path, answers: int) -> None:
    """A run directory as `eval` leaves it, with made-up answers of some 60 tokens, one a prompt."""
    import msgspec

    from nemo_skills_specdec.acceptance import counts_from_histogram
    from nemo_skills_specdec.client.exchange import RequestOptions
    from nemo_skills_specdec.engines.base import ServerInfo
    from nemo_skills_specdec.files import pretty
    from nemo_skills_specdec.measurement.conclude import conclude
    from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
    from nemo_skills_specdec.measurement.run_directory import (
        MANIFEST,
        METRICS,
        OUTPUT,
        new_manifest,
        output_row,
    )
    from nemo_skills_specdec.records import Message, PromptRow, RequestRecord

    chance = random.Random(0)
    server = ServerInfo(engine="vllm", version="0.33.0", base_url="http://x", speculation="on", draft_length=3)
    conditions = Conditions(
        benchmark="made up",
        prompts_planned=answers,
        request=RequestOptions(model="m", max_tokens=64, temperature=0.0),
        wall_seconds=answers / 100,
    )
    rows = []
    with (directory / OUTPUT).open("wb") as output:
        for number in range(answers):
            row = PromptRow(
                question_id=f"q{number}",
                category=f"category {number % CATEGORIES}",
                messages=[Message("user", f"Question {number}: what is the next word?")],
            )
            histogram = [chance.randrange(1, 12) for _ in range(4)]
            counts = counts_from_histogram(histogram, num_draft_tokens=3 * sum(histogram))
            start = 1e9 + number / 100
            seconds = chance.uniform(0.5, 2.0)
            tokens = 1 + sum(histogram) + (counts.num_accepted_tokens or 0)
            record = RequestRecord(
                question_id=row.question_id,
                category=row.category,
                turn=0,
                response_id=f"cmpl-{number}",
                status=200,
                outcome="answered",
                generation=TEXT,
                finish_reason="stop",
                prompt_tokens=20,
                completion_tokens=tokens,
                start_time=start,
                end_time=start + 0.1 + seconds,
                ttft_seconds=0.1,
                tpot_seconds=seconds / (tokens - 1),
                num_chunks=sum(histogram),
                inter_chunk_seconds=seconds / sum(histogram),
                counts=counts,
                counts_source="response",
            )
            output.write(msgspec.json.encode(output_row(row, [record])) + b"\n")
            rows.append(row)
    manifest = new_manifest({}, server, rows, 1e9)
    manifest.status, manifest.conditions = "complete", conditions
    (directory / MANIFEST).write_bytes(pretty(manifest))
    few = Evidence(conditions=conditions, server=server, records=[])
    (directory / METRICS).write_bytes(pretty(conclude(few)))


def measure(directory: Path, answers: int) -> None:
    """Reads and concludes, and prints a row."""
    from nemo_skills_specdec.measurement.run import load_run

    started = time.process_time()
    run = load_run(directory, texts=False)
    loaded = time.process_time()
    evaluation = run.recompute()
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert evaluation.overall.num_requests == answers
    print(
        f"| {answers:,} | {loaded - started:.2f} | {ended - loaded:.2f} | {1e6 * (ended - started) / answers:.1f} "
        f"| {peak:.0f} | {evaluation.overall.acceptance.acceptance_length:.4f} |",
        flush=True,
    )


def main() -> None:
    """Measures each size in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", nargs="*", type=int, default=list(ANSWERS))
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_run(Path(options.write[0]), int(options.write[1]))
        return
    if options.measure:
        measure(Path(options.measure[0]), int(options.measure[1]))
        return
    print(
        "| answers | load, CPU s | conclude, CPU s | us per answer | peak MB | AL |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for answers in options.answers:
        with tempfile.TemporaryDirectory() as folder:
            for step in ("--write", "--measure"):
                subprocess.run([sys.executable, __file__, step, folder, str(answers)], check=True)


if __name__ == "__main__":
    main()
