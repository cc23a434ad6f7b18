"""Runs made of literal figures, in memory or written as run directories."""

from pathlib import Path

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.files import pretty
from nemo_skills_specdec.measurement.result import Measured, evaluation_of
from nemo_skills_specdec.measurement.run import OutputRow, Run
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS, OUTPUT, new_manifest
from nemo_skills_specdec.records import Finding, Message, PromptRow, RequestRecord

REQUEST = {"model": "m", "api": "chat", "stream": True, "max_tokens": 64, "temperature": 0.0}
LOAD = {"concurrency": 4, "request_rate": None, "seed": 0}


def counts(accepted, *, length=3, steps=10):
    """Counts of `steps` steps, each of which accepted its draft up to the given share of positions."""
    per_position = tuple(min(steps, max(0, round(accepted - i * steps))) for i in range(length))
    per_position = tuple(sorted(per_position, reverse=True))
    return AcceptanceCounts(
        num_drafts=steps,
        num_draft_tokens=steps * length,
        num_accepted_tokens=sum(per_position),
        accepted_per_position=per_position,
    )


def record(name, *, category="c", turn=0, tokens=21, tpot=0.01, ttft=0.1, accepted=None, text="x", error=None, **more):
    """One answered request; `accepted` draft tokens in ten steps of three."""
    return RequestRecord(
        question_id=name,
        category=category,
        turn=turn,
        error=error,
        generation=text,
        completion_tokens=None if error else tokens,
        start_time=10.0,
        end_time=10.0 + ttft + (tokens - 1) * tpot,
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        counts=None if accepted is None else counts(accepted),
        counts_source=None if accepted is None else "response",
        **more,
    )


def row(*records, **more):
    first = records[0]
    return OutputRow(
        question_id=first.question_id,
        category=first.category,
        messages=[Message("user", f"prompt {first.question_id}")],
        requests=list(records),
        **more,
    )


def make_run(
    rows,
    *,
    speculation="on",
    method="eagle3",
    draft_length=3,
    request=None,
    load=None,
    directory="run",
    findings=(),
    tokens_per_step=None,
    snapshots=(),
    **arguments,
):
    """A run of these rows; without speculation the answers should carry no counts."""
    prompts = [PromptRow(question_id=r.question_id, category=r.category, messages=r.messages) for r in rows]
    server = ServerInfo(engine="vllm", base_url="http://x", version="0.30.0", models=["m"], speculation=speculation)
    if speculation == "on":
        server.method, server.draft_length = method, draft_length
    asked = {"request": {**REQUEST, **(request or {})}, "load": {**LOAD, **(load or {})}, **arguments}
    evaluation = evaluation_of(
        "test", Measured(records=[r for one in rows for r in one.requests], wall_seconds=1.0), {}, findings=findings
    )
    evaluation.overall.acceptance.tokens_per_step = tokens_per_step
    return Run(
        directory=Path(directory),
        manifest=msgspec.structs.replace(new_manifest(asked, server, prompts, 0.0), status="complete"),
        evaluation=evaluation,
        rows=rows,
        snapshots=list(snapshots),
    )


def invalid(code="foreign_traffic"):
    return Finding(code=code, severity="invalid", message="No.")


def write(run, folder):
    """Writes a run directory and gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OUTPUT).write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in run.rows))
    (folder / MANIFEST).write_bytes(pretty(run.manifest))
    (folder / METRICS).write_bytes(pretty(run.evaluation))
    return folder
