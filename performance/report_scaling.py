"""How long a report takes, and how large it is, by the number of answers.

    python performance/report_scaling.py [--answers 1000,10000,100000]

Makes run directories of answers that list their steps and the times of their chunks, and writes the report on each.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from pathlib import Path

import msgspec

from nemo_skills_specdec.acceptance import counts_from_steps
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.files import pretty
from nemo_skills_specdec.measurement.conclude import conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS, OUTPUT, new_manifest, output_row
from nemo_skills_specdec.records import Message, PromptRow, RequestRecord, StepCount
from nemo_skills_specdec.report.files import report_on

STEPS, CATEGORIES, IN_FLIGHT = 40, 11, 64


def answer(number: int, source: random.Random) -> RequestRecord:
    accepted = [min(int(source.expovariate(0.7)), 3) for _ in range(STEPS)]
    start = 1_000.0 + number / IN_FLIGHT
    gaps = [source.randrange(10_000, 40_000) for _ in range(STEPS)]
    return RequestRecord(
        question_id=str(number),
        category=f"category-{number % CATEGORIES}",
        turn=0,
        generation="word " * 100,
        prompt_tokens=source.randrange(20, 3_000),
        completion_tokens=sum(accepted) + STEPS + 1,
        start_time=start,
        end_time=start + sum(gaps) / 1e6,
        ttft_seconds=gaps[0] / 1e6,
        tpot_seconds=sum(gaps[1:]) / 1e6 / (sum(accepted) + STEPS),
        num_chunks=STEPS,
        chunk_microseconds=b"".join(gap.to_bytes(4, "little") for gap in gaps),
        counts=counts_from_steps(accepted, [3] * STEPS),
        counts_source="response",
        steps=[StepCount(3, n) for n in accepted],
    )


def write_run(folder: Path, number: int) -> None:
    source = random.Random(0)
    records = [answer(i, source) for i in range(number)]
    rows = [PromptRow(question_id=r.question_id, category=r.category, messages=[Message("user", "x")]) for r in records]
    server = ServerInfo(engine="vllm", base_url="http://x", version="0.30.0", speculation="on", draft_length=3)
    conditions = Conditions(benchmark="made-up", prompts_planned=number, request=RequestOptions(model="m"))
    conditions.wall_seconds = records[-1].end_time - records[0].start_time
    manifest = new_manifest({"benchmark": "made-up"}, server, rows, 1_000.0)
    manifest.conditions = conditions
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(pretty(manifest))
    with (folder / OUTPUT).open("wb") as file:
        for row, record in zip(rows, records, strict=True):
            file.write(msgspec.json.encode(output_row(row, [record])) + b"\n")
    (folder / METRICS).write_bytes(pretty(conclude(Evidence(conditions=conditions, server=server, records=records))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", default="1000,10000,100000")
    for number in map(int, parser.parse_args().answers.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_run(Path(folder) / "run", number)
            size = (Path(folder) / "run" / OUTPUT).stat().st_size
            before, began = time.process_time(), time.perf_counter()
            page = report_on([Path(folder) / "run"])
            seconds, cpu = time.perf_counter() - began, time.process_time() - before
            told = f"{number} answers ({size / 1e6:.0f} MB): {seconds:.1f} s, of which {cpu:.1f} s on the CPU"
            print(f"{told}; report.html {page.stat().st_size / 1e6:.2f} MB")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
