"""The measurement: warm up, open the window, send the prompts, close it, and say what it amounts to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions, Sent
from nemo_skills_specdec.client.send import send_all
from nemo_skills_specdec.client.timing import to_record
from nemo_skills_specdec.engines.base import ResponseReader, ServerInfo
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.engines.sglang.files import RequestFiles
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import IdentityError, ServerError
from nemo_skills_specdec.measurement.checks import (
    check_client,
    check_outcome,
    check_reading,
    check_records,
    check_request,
)
from nemo_skills_specdec.measurement.result import (
    Evaluation,
    Measured,
    evaluation_of,
    has_statistics,
    per_request_counts,
    statistics_or_none,
)
from nemo_skills_specdec.measurement.warm_up import warm_up
from nemo_skills_specdec.measurement.window import (
    check_counts,
    take_settled_snapshots,
)
from nemo_skills_specdec.records import Finding, PromptRow, RequestRecord

REQUEST_FILE_SECONDS = 10.0
"""How long to wait for SGLang's request-metric files, which are written after the response."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure and how; everything but the prompts and the credentials.

    Attributes:
        metrics_urls: every endpoint that holds counters of this server's engines.
        by_category: a window of its own for each category; None to do so only where the server gives no per-request
            statistics, so that categories can be told apart only by the counters.
        warmup_requests: sent before the window; None for as many as the load has in flight.
        request_files: SGLang's `--export-metrics-to-file-dir`, if it can be read from here.
    """

    base_url: str
    metrics_urls: tuple[str, ...]
    request: RequestOptions
    load: LoadOptions
    warmup_requests: int | None = None
    by_category: bool | None = None
    request_files: Path | None = None
    seed: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to show while a window is open: called in the event loop, so these should be quick."""

    stage: Callable[[str], None] = lambda _: None
    exchange: Callable[[Exchange, AcceptanceCounts | None], None] = lambda _exchange, _counts: None


class Measurement(msgspec.Struct, kw_only=True):
    """Everything measured, in memory.

    Attributes:
        snapshots: by name, in the order taken.
        gave_up: why the rest of the prompts was not sent: the server had gone. None if it had not.
    """

    evaluation: Evaluation
    gave_up: str | None = None
    records: list[RequestRecord]
    snapshots: list[tuple[str, list[Snapshot]]]
    started_at: float
    ended_at: float


def evaluate(
    benchmark: str,
    rows: Sequence[PromptRow],
    plan: Plan,
    info: ServerInfo,
    *,
    headers: Mapping[str, str],
    remarks: Sequence[Finding] = (),
    progress: Progress | None = None,
) -> Measurement:
    """Measures a server on a list of prompts.

    Args:
        benchmark: the name of the prompt set, for the record.
        info: what `detect` found out about the server.
        headers: sent with every request and every scrape, e.g. `Authorization`.
        remarks: on the prompts, to be repeated beside the numbers.

    Raises:
        ServerError: not a single warm-up request was answered, or no source of acceptance is to be had.
    """
    progress = progress or Progress()
    reader = ENGINES[info.engine] if info.engine is not None else None
    request = _with_extras(plan.request, reader, info)
    started_at = time.time()
    progress.stage("warming up")
    warm = warm_up(plan.base_url, request, plan.load, count=plan.warmup_requests, headers=headers)
    told = [counts for exchange in warm if (counts := _counts(exchange, reader, info)) is not None]
    # llama.cpp's answers tell tokens but not steps, so they give no acceptance length.
    speaks = any(counts.num_drafts is not None for counts in told)
    files = RequestFiles(plan.request_files, info) if plan.request_files is not None else None
    windows = _split(rows, plan.by_category, speaks=speaks or files is not None)

    snapshots: list[tuple[str, list[Snapshot]]] = []
    taken = take_settled_snapshots(plan.metrics_urls, headers, info)
    first = taken
    _require_source(taken, info, given=plan.metrics_urls != (plan.base_url,), speaks=bool(told) or files is not None)
    snapshots.append(("before", taken))
    measured: dict[str, Measured] = {}
    findings: list[Finding] = [*remarks]
    sendings: list[Sent] = []
    interrupted = False
    gave_up: str | None = None
    for name, members in windows.items():
        progress.stage(name)
        sent = send_all(
            members,
            url=plan.base_url,
            headers=headers,
            request=request,
            load=plan.load,
            on_exchange=lambda exchange: progress.exchange(exchange, _last_counts(exchange, reader, info)),
        )
        sendings.append(sent)
        before, taken = taken, take_settled_snapshots(plan.metrics_urls, headers, info)
        snapshots.append((f"after-{name}" if len(windows) > 1 else "after", taken))
        records, contradictions = _records(sent, reader, info)
        findings += contradictions
        measured[name] = Measured(
            records=records, reading=read_window(before, taken, info), wall_seconds=sent.ended_at - sent.started_at
        )
        gave_up = sent.gave_up
        interrupted = sent.interrupted or gave_up is not None
        if interrupted:
            break
    records = [record for m in measured.values() for record in m.records]
    in_files: AcceptanceCounts | None = None
    if files is not None:
        progress.stage("waiting for the request-metric files")
        in_files, file_findings = _join_files(files, records, request.n)
        findings += file_findings
    whole = Measured(
        records=records,
        reading=read_window(first, taken, info),
        request_file=in_files,
        wall_seconds=sum(m.wall_seconds for m in measured.values()),
    )
    findings += [*info.findings, *check_request(request, info)]
    findings += _check_parts(whole, measured)
    if whole.reading is not None:
        findings += check_reading(
            whole.reading,
            records,
            samples=request.n,
            warmup_requests=len(warm),
            # How many the server had begun when the run was stopped is not known.
            cut_off=None if interrupted else 0,
        )
    findings += check_records(records, prompts_planned=len(rows), interrupted=interrupted)
    findings += check_client(sendings)
    evaluation = evaluation_of(
        benchmark,
        whole,
        measured if len(windows) > 1 else {},
        findings=_without_repeats(findings),
        interrupted=interrupted,
        seed=plan.seed,
    )
    overall = evaluation.overall.acceptance
    overall.findings += check_outcome(overall, request, info)
    return Measurement(
        evaluation=evaluation,
        records=records,
        snapshots=snapshots,
        gave_up=gave_up,
        started_at=started_at,
        ended_at=time.time(),
    )


def _require_source(snapshots: Sequence[Snapshot], info: ServerInfo, *, given: bool, speaks: bool) -> None:
    """Refuses to measure where nothing can come of it, before the prompts are sent rather than after.

    Args:
        given: whether the user named the metrics endpoints, so that a bad one is a mistake.
        speaks: whether there is another source than the metrics.
    """
    reading = read_window(snapshots, snapshots, info)
    if reading.problem is None or (speaks and not given):
        return
    told = reading.findings[-1].message.rstrip(".")
    if given:
        raise ServerError(f"--metrics-url: {told}")
    raise ServerError(
        f"{info.base_url} says nothing about acceptance: its answers carry no statistics, nor do its metrics ({told})"
    )


def _with_extras(request: RequestOptions, reader: ResponseReader | None, info: ServerInfo) -> RequestOptions:
    """Adds the fields that ask for per-request statistics; what the user says himself wins."""
    extras = reader.request_extras(stream=request.stream, info=info) if reader is not None else {}
    return msgspec.structs.replace(request, extra_body={**extras, **request.extra_body})


def _split(rows: Sequence[PromptRow], by_category: bool | None, *, speaks: bool) -> dict[str, list[PromptRow]]:
    """The windows to open, one after the other, and the prompts of each."""
    if not (by_category if by_category is not None else not speaks):
        return {"all prompts": list(rows)}
    windows: dict[str, list[PromptRow]] = {}
    for row in rows:
        windows.setdefault(row.category, []).append(row)
    return windows


def _records(sent: Sent, reader: ResponseReader | None, info: ServerInfo) -> tuple[list[RequestRecord], list[Finding]]:
    """Decodes what came back; statistics that contradict themselves become a finding, not counts."""
    records = []
    contradictions: list[str] = []
    for exchange in sent.exchanges:
        answer = read_answer(exchange)
        record = to_record(exchange, answer)
        if record.error is None and reader is not None:
            try:
                record.counts = reader.request_counts(answer.response, info)
                if record.counts is not None and record.counts.num_drafts is None and exchange.streamed:
                    record.counts = reader.stream_counts(exchange.frames) or record.counts
                record.counts_source = "response" if record.counts is not None else None
            except IdentityError as error:
                contradictions.append(str(error))
        records.append(record)
    if any(record.counts is not None for record in records):
        for record in records:
            record.counts = statistics_or_none(record)
            record.counts_source = "response" if record.counts is not None else None
    if not contradictions:
        return records, []
    return records, [
        Finding(
            code="identity_broken",
            severity="invalid",
            message=f"{len(contradictions)} answers carry statistics that contradict themselves, e.g. "
            f"{contradictions[0]}. No rate is computed from them.",
            numbers={"answers": len(contradictions)},
        )
    ]


def _counts(exchange: Exchange, reader: ResponseReader | None, info: ServerInfo) -> AcceptanceCounts | None:
    if reader is None or exchange.error is not None:
        return None
    try:
        return reader.request_counts(read_answer(exchange).response, info)
    except IdentityError:
        return None


def _last_counts(exchange: Exchange, reader: ResponseReader | None, info: ServerInfo) -> AcceptanceCounts | None:
    """Counts for the live display: statistics come in the last chunks, so nothing else is decoded in the window."""
    return _counts(msgspec.structs.replace(exchange, frames=exchange.frames[-3:]), reader, info)


def _join_files(
    files: RequestFiles, records: Sequence[RequestRecord], samples: int
) -> tuple[AcceptanceCounts | None, list[Finding]]:
    """Reads SGLang's request-metric files, and gives their counts to the answers that have none.

    Returns:
        The sum over the files if they hold every answer, else None; and what is wrong with them.
    """
    wanted = [r.response_id for r in records if r.error is None and r.response_id is not None]
    found = files.wait_for(wanted, timeout_seconds=REQUEST_FILE_SECONDS, samples=samples)
    for record in records:
        if record.counts is None and record.response_id in found.counts:
            record.counts = found.counts[record.response_id]
            record.counts_source = "request_file"
    complete = bool(wanted) and not found.missing
    return total(found.counts[i] for i in wanted if i in found.counts) if complete else None, list(found.findings)


def _check_parts(whole: Measured, windows: Mapping[str, Measured]) -> list[Finding]:
    """Compares what must be the same said twice: request files and responses, categories and their total."""
    findings: list[Finding] = []
    in_responses = per_request_counts([r for r in whole.records if r.counts_source == "response"])
    if whole.request_file is not None and in_responses is not None and has_statistics(whole.records):
        findings += check_counts("responses", in_responses, "request files", whole.request_file)
    parts = [m.reading.counts for m in windows.values() if m.reading is not None and m.reading.counts is not None]
    if whole.reading is not None and whole.reading.counts is not None and len(parts) == len(windows) > 1:
        findings += check_counts("categories together", total(parts), "total", whole.reading.counts)
    return findings


def _without_repeats(findings: Sequence[Finding]) -> list[Finding]:
    return list({(finding.code, finding.message): finding for finding in findings}.values())
