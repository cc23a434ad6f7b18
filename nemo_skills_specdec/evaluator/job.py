"""A generation job of NeMo-Skills, seen from the server: a window around each attempt, and the counts of each answer.

open_job -> answers (as_sent) -> close_job -> conclude_job
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.engines.base import EngineName, ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.fetch import base_url, fetch, metrics_url
from nemo_skills_specdec.engines.sglang.files import RequestFiles
from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.evaluator.attempts import (
    Attempts,
    JobAttempt,
    attempts_beside,
    attempts_of_output,
    book_responses,
    close_late,
    read_attempts,
    side_file,
    write_attempts,
)
from nemo_skills_specdec.evaluator.evaluator import counts_in_files
from nemo_skills_specdec.evaluator.rows import join_counts, read_rows, records_of, responses_of, write_rows
from nemo_skills_specdec.evaluator.summary import evaluate_seeds
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.snapshots import take_settled_snapshots, take_snapshots
from nemo_skills_specdec.records import Finding


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The server to measure.

    Attributes:
        url: as the user gave it, with or without `/v1`.
        metrics_urls: metrics endpoints, where they are not the server's own `/metrics`.
        headers: sent to both; never written anywhere.
        engine: what NeMo-Skills was told, used only where the server does not say.
        request_files: SGLang's request-metric folder, as seen from here.
    """

    url: str
    metrics_urls: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    engine: EngineName | None = None
    request_files: Path | None = None

    @property
    def endpoints(self) -> list[str]:
        """Where the counters are."""
        return [metrics_url(url) for url in self.metrics_urls or (self.url,)]


class Job(msgspec.Struct, kw_only=True):
    """A job with an open attempt.

    Attributes:
        blind: why nothing but the responses can tell about drafts; None if something else can.
    """

    target: Target
    output: Path
    info: ServerInfo
    kept: Attempts
    files: Any = None
    blind: str | None = None


def wait_until_reachable(target: Target, seconds: float, tell: Any) -> None:
    """Waits for a server that may still be starting.

    Raises:
        ServerError: it did not answer in time; the message says what went wrong last.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = fetch(f"{base_url(target.url)}/v1/models", target.headers)
        if answer.error is None and answer.status != 503:
            return
        problem = answer.error or f"{answer.url} answers with HTTP status 503"
        if time.monotonic() >= deadline:
            raise ServerError(f"{problem} (waited {seconds:g} s; ++server_wait_seconds=N waits longer)")
        tell(f"waiting for the server: {problem}")
        time.sleep(min(10.0, max(deadline - time.monotonic(), 0.1)))


def ask_server(target: Target) -> ServerInfo:
    """What the server says about itself.

    Raises:
        ServerError: it cannot be reached, is no inference server, or does not speculate.
    """
    info = detect(target.url, target.metrics_urls, target.headers)
    if info.engine is None and target.engine is not None:
        info = detect(target.url, target.metrics_urls, target.headers, target.engine)
    if info.speculation == "off":
        raise ServerError(f"speculative decoding is off on {info.base_url}: {_cures(info)}")
    return info


def as_sent(response: Mapping[str, Any]) -> dict[str, Any]:
    """A response as the server sent it, from what NeMo-Skills' client hands on.

    The client (litellm) moves fields of a choice that it does not know into `provider_specific_fields`.
    """
    choices = []
    for choice in response.get("choices") or []:
        moved = choice.get("provider_specific_fields") if isinstance(choice, Mapping) else None
        choices.append({**choice, **moved} if isinstance(moved, Mapping) else choice)
    return {**response, "choices": choices}


def open_job(
    target: Target,
    output: Path,
    *,
    planned_rows: int,
    longest_row: int,
    concurrency: int,
    arguments: Mapping[str, Any],
    remarks: Sequence[Finding] = (),
) -> Job:
    """Opens an attempt: asks the server what it is, looks at its counters, and writes both down.

    If rows of an earlier attempt are there to go on from, its window is kept, and closed now if it was killed.

    Raises:
        ServerError: the server cannot be reached, or tells nothing about drafts.
    """
    info = ask_server(target)
    before = take_settled_snapshots(target.endpoints, target.headers, info)
    started = _unfinished_rows(output)
    earlier = read_attempts(side_file(output)) if started else None
    kept = Attempts(server=info, attempts=[], arguments=dict(arguments), findings=list(remarks))
    if earlier is not None and earlier.attempts:
        kept.attempts = earlier.attempts
        kept.findings += [finding for finding in earlier.findings if finding not in kept.findings]
        close_late(kept.attempts[-1], before, time.time())
        book_responses(kept, responses_of(started), finished_rows=len(started))
    kept.attempts.append(
        JobAttempt(
            started_at=time.time(),
            planned_rows=planned_rows,
            longest_row=longest_row,
            concurrency=concurrency,
            before=before,
        )
    )
    write_attempts(side_file(output), kept)
    errors = [snapshot.error for snapshot in before if snapshot.error is not None]
    files = _request_files(target, info)
    return Job(
        target=target,
        output=output,
        info=info,
        kept=kept,
        files=files,
        blind=f"{errors[0]}; {_cures(info)}" if errors and files is None else None,
    )


def close_job(job: Job, status: Literal["complete", "cut_off"]) -> None:
    """Closes the attempt: looks at the counters again, waits for late records, and writes down what was answered."""
    target, attempt = job.target, job.kept.attempts[-1]
    if status == "complete":
        attempt.after = take_settled_snapshots(target.endpoints, target.headers, job.info)
    else:
        # Requests that were cut off go on at the server for a while: what comes after now is not in the window.
        attempt.after = take_snapshots(target.endpoints, target.headers)
    attempt.ended_at = time.time()
    attempt.status = status
    rows = read_rows(job.output) if job.output.exists() else _unfinished_rows(job.output)
    if job.files is not None and job.output.exists():
        missing = [identity for identity, counts in responses_of(rows).items() if counts is None]
        if missing:
            found = job.files.wait_for(missing)
            job.kept.findings += found.findings if found.missing == () else []
            counts = {**counts_in_files(_folder(target, job.info), job.info), **found.counts}
            if join_counts(rows, counts, "request_file"):
                write_rows(job.output, rows)
    book_responses(job.kept, responses_of(rows), finished_rows=len(rows))
    write_attempts(side_file(job.output), job.kept)


def conclude_job(output: Path, target: Target) -> Evaluation:
    """What the finished output of a job amounts to, whichever attempts it took.

    An attempt that was killed between its last answer and its last look at the counters is closed now.

    Raises:
        ServerError: neither the answers nor the counters say anything about drafts.
        DataError: the output was written by something else.
    """
    rows = read_rows(output)
    path = side_file(output)
    own = read_attempts(path)
    if own is not None and own.attempts and not own.attempts[-1].after:
        close_late(own.attempts[-1], take_snapshots(target.endpoints, target.headers), time.time())
        book_responses(own, responses_of(rows), finished_rows=len(rows))
        write_attempts(path, own)
    records = [record for row in rows for record in records_of(row)]
    evaluation = evaluate_seeds(output.parent.name, [records], attempts_of_output(output), attempts_beside([output]))
    if evaluation.overall.acceptance.source is None:
        reasons = [f.message for f in evaluation.overall.acceptance.findings if f.severity == "invalid"]
        cures = f"; {_cures(own.server)}" if own is not None else ""
        raise ServerError(f"no source reports acceptance: {'; '.join(reasons) or 'no source'}{cures}")
    return evaluation


def _unfinished_rows(output: Path) -> list[dict[str, Any]]:
    path = output.with_name(output.name + "-async")
    return read_rows(path) if path.exists() else []


def _folder(target: Target, info: ServerInfo) -> Path:
    return target.request_files or Path(str(info.settings.get("export_metrics_to_file_dir") or ""))


def _request_files(target: Target, info: ServerInfo) -> RequestFiles | None:
    """SGLang's request-metric files, if they were asked for, or if the folder it names can be read from here."""
    if target.request_files is not None:
        return RequestFiles(target.request_files, info)
    named = info.settings.get("export_metrics_to_file_dir")
    if not info.settings.get("export_metrics_to_file") or not named or not Path(str(named)).is_dir():
        return None
    return RequestFiles(Path(str(named)), info)


def _cures(info: ServerInfo) -> str:
    told = dict.fromkeys(offer.how for offer in info.offers if not offer.available)
    return " or ".join(told) or "start the server with speculative decoding and its metrics"
