"""The measurement: warm up, open a window, have the prompts sent, close it, and gather what the result rests on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Protocol

import msgspec

from nemo_skills_specdec.acceptance import total
from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions, as_sent
from nemo_skills_specdec.client.interrupt import first_signal
from nemo_skills_specdec.client.send import send_all
from nemo_skills_specdec.client.timing import to_record
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.sglang.files import RequestFiles
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.measurement.checks import MAX_FAILED, server_gone
from nemo_skills_specdec.measurement.conclude import conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence, SenderDelays
from nemo_skills_specdec.measurement.hooks import Edge, Hooks
from nemo_skills_specdec.measurement.request_statistics import (
    contradictions,
    count_answer,
    request_extras,
    with_stepless_answers,
)
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.snapshots import Window, take_settled_snapshots
from nemo_skills_specdec.measurement.speed_options import SpeedOptions
from nemo_skills_specdec.measurement.warm_up import warm_up
from nemo_skills_specdec.records import Finding, PromptRow, RequestRecord
from nemo_skills_specdec.tls import chosen_context

ALL_PROMPTS = "all prompts"
"""The name of the only window, where there is one."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure and how; everything but the prompts and the credentials.

    Attributes:
        metrics_urls: every endpoint that holds counters of this server's engines.
        by_category: a window of its own for each category; None to do so only where the server gives no per-request
            statistics, so that categories can be told apart only by the counters.
        warmup_requests: sent before the window; None for as many as the load has in flight.
        request_files: SGLang's `--export-metrics-to-file-dir`, if it can be read from here.
        speculates: whether the server is to speculate; a baseline is not.
        max_failed: share of failed requests above which the result is invalid.
        speed: how speed is summed up.
        order_seed: shuffles the prompts of every window; None sends them as they are given. What is sent together
            differs from order to order, and with it batches and, on some servers, rounding.
    """

    base_url: str
    metrics_urls: tuple[str, ...]
    request: RequestOptions
    load: LoadOptions
    warmup_requests: int | None = None
    by_category: bool | None = None
    request_files: Path | None = None
    speculates: bool = True
    max_failed: float = MAX_FAILED
    seed: int = 0
    speed: SpeedOptions = SpeedOptions()
    order_seed: int | None = None


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        name: of the prompt set, for the record.
        remarks: on the prompts, to be repeated beside the numbers.
    """

    name: str
    rows: Sequence[PromptRow]
    remarks: Sequence[Finding] = ()


class Sending(msgspec.Struct, kw_only=True):
    """What a load generator did in one window.

    Attributes:
        delays: how punctual it was; None if it does not say.
        gave_up: why the rest of the prompts was not sent: the server had gone. None if it had not.
        findings: what there is to say about it.
    """

    wall_seconds: float
    delays: SenderDelays | None = None
    interrupted: bool = False
    gave_up: str | None = None
    findings: list[Finding] = []


class Sender(Protocol):
    """A load generator: our own client, or another program."""

    def __call__(
        self,
        rows: Sequence[PromptRow],
        plan: Plan,
        info: ServerInfo,
        headers: Mapping[str, str],
        on_record: Callable[[RequestRecord], None],
    ) -> Sending:
        """Sends the prompts and gives back when all is over; the plan's request is the one to send.

        Every request is given to `on_record` as it ends, and kept by nobody else.
        """


class Gathered(msgspec.Struct, kw_only=True):
    """What a measurement rests on, all over.

    Attributes:
        gave_up: why the rest of the prompts was not sent: the server had gone. None if it had not.
    """

    evidence: Evidence
    started_at: float
    ended_at: float
    gave_up: str | None = None


class Measurement(Gathered, kw_only=True):
    """A finished measurement.

    Attributes:
        not_written: why the run directory is not complete, and where the run is instead; None if it is.
    """

    evaluation: Evaluation
    not_written: str | None = None


def send_with_client(
    rows: Sequence[PromptRow],
    plan: Plan,
    info: ServerInfo,
    headers: Mapping[str, str],
    on_record: Callable[[RequestRecord], None],
) -> Sending:
    """Sends the prompts with our own client."""
    broken: list[str] = []
    samples = as_sent(plan.request).n

    def take(exchange: Exchange) -> None:
        record, problem = record_of(exchange, info, samples)
        if problem is not None:
            broken.append(problem)
        on_record(record)

    sent = send_all(
        rows, url=plan.base_url, headers=headers, request=plan.request, load=plan.load, on_exchange=take, keep=False
    )
    return Sending(
        wall_seconds=sent.ended_at - sent.started_at,
        delays=SenderDelays(
            lateness=sent.lateness,
            dispatch=sent.dispatch,
            kernel_times=sent.kernel_times,
            lowered_concurrency=sent.lowered_concurrency,
        ),
        interrupted=sent.interrupted,
        gave_up=sent.gave_up,
        findings=contradictions(broken),
    )


def record_of(exchange: Exchange, info: ServerInfo, samples: int = 1) -> tuple[RequestRecord, str | None]:
    """The record of one request, and why its statistics contradict themselves, if they do."""
    answer = read_answer(exchange)
    record = to_record(exchange, answer, samples)
    problem = count_answer(record, answer.response, info, exchange.frames if exchange.streamed else ())
    return record, problem


def measure(
    workload: Workload,
    plan: Plan,
    info: ServerInfo,
    *,
    headers: Mapping[str, str],
    hooks: Hooks | None = None,
    send: Sender = send_with_client,
) -> Measurement:
    """Measures a server on a list of prompts; see `gather`."""
    return concluded(gather(workload, plan, info, headers=headers, hooks=hooks, send=send))


def concluded(gathered: Gathered) -> Measurement:
    """The measurement that this evidence amounts to."""
    fields = {name: getattr(gathered, name) for name in Gathered.__struct_fields__}
    return Measurement(evaluation=conclude(gathered.evidence), **fields)


def gather(
    workload: Workload,
    plan: Plan,
    info: ServerInfo,
    *,
    headers: Mapping[str, str],
    hooks: Hooks | None = None,
    send: Sender = send_with_client,
) -> Gathered:
    """Warms a server up, opens a window, has the prompts sent and closes it again.

    Without a prompt only the snapshots at both ends are taken.

    Args:
        headers: sent with every request and every scrape, e.g. `Authorization`.

    Raises:
        ServerError: not a single warm-up request was answered, or no source of acceptance is to be had.
    """
    hooks = hooks or Hooks()
    extras = request_extras(info, stream=plan.request.stream)
    # What the user says himself wins.
    request = msgspec.structs.replace(plan.request, extra_body={**extras, **plan.request.extra_body})
    plan = msgspec.structs.replace(plan, request=request)
    started_at = time.time()
    hooks.stage("warming up")
    warm = []
    if workload.rows:
        warm = warm_up(plan.base_url, request, plan.load, count=plan.warmup_requests, headers=headers)
    told = [record.counts for exchange in warm if (record := record_of(exchange, info)[0]).counts is not None]
    files = RequestFiles(plan.request_files, info) if plan.request_files is not None else None
    # llama.cpp's answers tell tokens but not steps, so they give no acceptance length.
    speaks = any(counts.num_drafts is not None for counts in told) or files is not None
    before = take_settled_snapshots(plan.metrics_urls, headers, info, _tls(plan))
    if workload.rows:
        _require_source(
            before, info, given=plan.metrics_urls != (plan.base_url,), speaks=bool(told) or files is not None
        )
    hooks.snapshots(before, Edge(end="before"))
    conditions = Conditions(
        benchmark=workload.name,
        prompts_planned=len(workload.rows),
        categories_planned=len({row.category for row in workload.rows}),
        request=request,
        speculates=plan.speculates,
        max_failed=plan.max_failed,
        observed=[*workload.remarks],
        warmup_requests=len(warm),
        seed=plan.seed,
        concurrency=plan.load.concurrency,
        request_rate=plan.load.request_rate,
        speed=plan.speed,
    )
    evidence = Evidence(conditions=conditions, server=info, records=[], window=Window(before=before, after=before))
    windows = _split(workload.rows, plan.by_category, speaks=speaks)
    gave_up = _send_windows(evidence, windows, plan, headers, hooks, send)
    # As a run directory has them, so that whatever is computed again from there is the same to the last digit.
    evidence.records = _in_order(evidence.records, workload.rows)
    gave_up = gave_up or server_gone(evidence.records)
    conditions.interrupted |= gave_up is not None
    if files is not None:
        hooks.stage("waiting for the request-metric files")
        with first_signal(lambda: None):
            _join_files(files, evidence)
    return Gathered(
        evidence=evidence,
        started_at=started_at,
        ended_at=time.time(),
        gave_up=gave_up,
    )


def _send_windows(
    evidence: Evidence,
    windows: Mapping[str, Sequence[PromptRow]],
    plan: Plan,
    headers: Mapping[str, str],
    hooks: Hooks,
    send: Sender,
) -> str | None:
    """Opens and closes one window after the other; why the server was given up, if it was."""
    conditions, info = evidence.conditions, evidence.server
    assert evidence.window is not None
    first = taken = evidence.window.before
    tls = _tls(plan)
    stop = threading.Event()
    if not windows:
        hooks.snapshots(first, Edge(end="after"))
    for name, members in windows.items():
        hooks.stage(name)
        sending, records = _sent(send, _ordered(members, plan.order_seed), plan, info, headers, hooks)
        with first_signal(stop.set):
            before, taken = taken, take_settled_snapshots(plan.metrics_urls, headers, info, tls)
            hooks.snapshots(taken, Edge(end="after", category=name if len(windows) > 1 else None))
        evidence.records += with_stepless_answers(_in_order(records, members))
        evidence.window = Window(before=first, after=taken)
        if len(windows) > 1:
            evidence.categories[name] = Window(before=before, after=taken)
            conditions.category_wall_seconds[name] = sending.wall_seconds
        conditions.wall_seconds += sending.wall_seconds
        conditions.observed += sending.findings
        conditions.senders += [sending.delays] if sending.delays is not None else []
        if stop.is_set() and len(evidence.categories) < len(windows) > 1:
            conditions.interrupted = True
            return None
        if sending.interrupted or sending.gave_up is not None:
            conditions.interrupted = True
            # How many requests the server had begun when the run was stopped is not known.
            conditions.cut_off = None
            return sending.gave_up
    return None


def _sent(
    send: Sender,
    members: Sequence[PromptRow],
    plan: Plan,
    info: ServerInfo,
    headers: Mapping[str, str],
    hooks: Hooks,
) -> tuple[Sending, list[RequestRecord]]:
    """Has prompts sent; what became of them."""
    if hooks.recall is not None:
        return send(members, plan, info, headers, hooks.record), hooks.recall()
    records: list[RequestRecord] = []

    def keep(record: RequestRecord) -> None:
        records.append(record)
        hooks.record(record)

    return send(members, plan, info, headers, keep), records


def _tls(plan: Plan) -> SSLContext | None:
    return chosen_context(plan.load.ca_file, insecure=plan.load.insecure)


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
        f"no source reports acceptance on {info.base_url}: its responses carry no statistics, nor do its metrics "
        f"({told})"
    )


def _split(rows: Sequence[PromptRow], by_category: bool | None, *, speaks: bool) -> dict[str, list[PromptRow]]:
    """The windows to open, one after the other, and the prompts of each."""
    if not rows:
        return {}
    if not (by_category if by_category is not None else not speaks):
        return {ALL_PROMPTS: list(rows)}
    windows: dict[str, list[PromptRow]] = {}
    for row in rows:
        windows.setdefault(row.category, []).append(row)
    return windows


def _ordered(rows: Sequence[PromptRow], seed: int | None) -> Sequence[PromptRow]:
    return rows if seed is None else random.Random(seed).sample(rows, len(rows))


def _in_order(records: Sequence[RequestRecord], rows: Sequence[PromptRow]) -> list[RequestRecord]:
    """Records in the order of the prompts and of their turns, whatever order they ended in."""
    place = {row.question_id: number for number, row in enumerate(rows)}
    return sorted(records, key=lambda record: (place[record.question_id], record.turn))


def _join_files(files: RequestFiles, evidence: Evidence) -> None:
    """Reads SGLang's request-metric files, gives their counts to the answers that have none, and keeps their sum."""
    wanted = [r.response_id for r in evidence.records if r.error is None and r.response_id is not None]
    samples = evidence.conditions.request.n
    found = files.wait_for(wanted, samples=samples)
    for record in evidence.records:
        if record.counts is None and record.response_id in found.counts:
            record.counts = found.counts[record.response_id]
            record.counts_source = "request_file"
    evidence.conditions.observed += found.findings
    if wanted and not found.missing:
        evidence.conditions.request_file = total(found.counts[i] for i in wanted if i in found.counts)
