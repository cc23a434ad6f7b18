"""Run directories for the report's tests, from literal figures."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_steps
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.measurement.conclude import conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.output_row import output_row
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS, OUTPUT, new_manifest
from nemo_skills_specdec.records import Message, PromptRow, RequestRecord, StepCount


def counts(accepted: list[int], drafted: int = 3) -> AcceptanceCounts:
    return counts_from_steps(accepted, [drafted] * len(accepted))


def record(
    number: int, category: str, *, accepted: Sequence[int] | None = (3, 0, 1, 2), drafted: int = 3, **more: object
) -> RequestRecord:
    """An answer that starts `number` tenths of a second after the run does, and takes half a second."""
    start = 1_000.0 + number / 10
    steps = None if accepted is None else [StepCount(drafted, n) for n in accepted]
    fields: dict[str, object] = {
        "question_id": f"{category}-{number}",
        "category": category,
        "turn": 0,
        "prompt_tokens": 40 + 300 * (number % 2),
        "completion_tokens": 11,
        "start_time": start,
        "end_time": start + 0.5,
        "ttft_seconds": 0.1,
        "tpot_seconds": 0.04,
        "counts": None if accepted is None else counts([*accepted], drafted),
        "counts_source": None if accepted is None else "response",
        "steps": steps,
    }
    return RequestRecord(**{**fields, **more})


def write_run(
    folder: Path,
    records: list[RequestRecord],
    *,
    benchmark: str = "mini",
    model: str = "m",
    method: str = "eagle3",
    speculation: str = "on",
    draft_length: int = 3,
    concurrency: int = 4,
) -> Path:
    """A run directory of these answers, whose result is the one that the package concludes."""
    server = ServerInfo(engine="vllm", base_url="http://x", version="0.30.0", models=[model], speculation=speculation)
    if speculation == "on":
        server.method, server.draft_length = method, draft_length
    conditions = Conditions(
        benchmark=benchmark,
        prompts_planned=len(records),
        request=RequestOptions(model=model, max_tokens=64, temperature=0.0),
        speculates=speculation == "on",
        wall_seconds=max(r.end_time for r in records) - min(r.start_time for r in records),
    )
    rows = [
        PromptRow(question_id=r.question_id, category=r.category, messages=[Message("user", r.question_id)])
        for r in records
    ]
    arguments = {
        "benchmark": benchmark,
        "request": {"model": model, "max_tokens": 64, "temperature": 0.0},
        "load": {"concurrency": concurrency, "request_rate": None},
    }
    manifest = new_manifest(arguments, server, rows, 1_000.0)
    manifest.status, manifest.conditions = "complete", conditions
    evaluation = conclude(Evidence(conditions=conditions, server=server, records=records))
    write_atomically(folder / MANIFEST, pretty(manifest))
    lines = [msgspec.json.encode(output_row(row, [r])) + b"\n" for row, r in zip(rows, records, strict=True)]
    write_atomically(folder / OUTPUT, b"".join(lines))
    write_atomically(folder / METRICS, pretty(evaluation))
    return folder


def usual_records(number: int = 30) -> list[RequestRecord]:
    """Answers of three categories that differ in acceptance."""
    accepted = {"coding": [3, 3, 1, 2], "math": [3, 0, 1, 2], "writing": [0, 0, 1, 1]}
    names = list(accepted)
    return [record(i, names[i % 3], accepted=[*accepted[names[i % 3]], i % 4]) for i in range(number)]
