"""guidellm as the load generator, from an environment of its own, inside our window.

guidellm sends and times; we read the counters before and after, and the statistics that vLLM puts into each response,
which guidellm keeps but does not add up. Its report and its settings stay in the run directory.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.client.body import count_turns
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.errors import ServerError, UsageError
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.launch.environment import find_python
from nemo_skills_specdec.measurement.measure import Plan, Sender, Sending
from nemo_skills_specdec.measurement.request_statistics import contradictions, count_answer
from nemo_skills_specdec.records import Finding, PromptRow, RequestRecord
from nemo_skills_specdec.studies.config import RunConfig

FOLDER = "guidellm"


class _Request(msgspec.Struct, kw_only=True):
    """What is read of one request of guidellm's report; times are seconds since the epoch."""

    request_args: str = ""
    output: str | None = None
    reasoning_output: str | None = None
    response_id: str | None = None
    info: _Info
    response_metrics: dict[str, Any] | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


class _Info(msgspec.Struct, kw_only=True):
    error: str | None = None
    timings: _GuidellmTimings


class _GuidellmTimings(msgspec.Struct, kw_only=True):
    targeted_start: float | None = None
    request_start: float | None = None
    first_output_token_iteration: float | None = None
    last_token_iteration: float | None = None
    token_iterations: int | None = None
    request_end: float | None = None


class _Requests(msgspec.Struct, kw_only=True):
    successful: list[_Request] = []
    errored: list[_Request] = []
    incomplete: list[_Request] = []


class _GuidellmBenchmark(msgspec.Struct, kw_only=True):
    requests: _Requests


class Report(msgspec.Struct, kw_only=True):
    """What is read of guidellm's `json` output (0.8)."""

    benchmarks: list[_GuidellmBenchmark]


def sender(config: RunConfig, directory: Path) -> Sender:
    """A load generator that lets guidellm send the prompts; its settings and its report stay in the run directory.

    Raises:
        UsageError: guidellm is not installed where it should be.
    """
    python = find_python("guidellm", config.load.guidellm_python, option="--guidellm-python")

    def send(
        rows: Sequence[PromptRow],
        plan: Plan,
        info: ServerInfo,
        headers: Mapping[str, str],
        on_record: Callable[[RequestRecord], None],
    ) -> Sending:
        del headers  # `check` has refused them
        records, findings = _send(python, config, rows, plan, info, directory / FOLDER)
        for record in records:
            on_record(record)
        return Sending(wall_seconds=_wall_seconds(records), findings=findings)

    return send


def _send(
    python: str, config: RunConfig, rows: Sequence[PromptRow], plan: Plan, info: ServerInfo, folder: Path
) -> tuple[list[RequestRecord], list[Finding]]:
    write_atomically(
        folder / "prompts.jsonl", b"".join(msgspec.json.encode({"prompt": _text(r)}) + b"\n" for r in rows)
    )
    write_atomically(folder / "config.json", pretty(settings(config, rows, plan, folder)))
    _run(
        [python, "-m", "guidellm", "run", "-c", str(folder / "config.json"), "--disable-console"],
        folder / "guidellm.log",
    )
    return records_of(read_report(folder / "report.json"), rows, info)


def check(
    config: RunConfig, rows: Sequence[PromptRow], headers: Mapping[str, str]
) -> tuple[list[PromptRow], list[Finding]]:
    """The prompts that guidellm can send, those of one turn, and what is to be said of the others.

    Raises:
        UsageError: the run asks for something that guidellm cannot do.
    """
    if headers:
        raise UsageError(
            "guidellm would need the API key in a file; measure a server without a key, or use --load client"
        )
    if config.sampling.api != "chat" or not config.sampling.stream:
        raise UsageError("guidellm is used with streamed chat only; use --load client for anything else")
    if config.by_category:
        raise UsageError("guidellm sends all categories together; use --load client for a window a category")
    single = [row for row in rows if count_turns(row.messages) == 1 and len(row.messages) == 1]
    if not single:
        raise UsageError("none of the prompts is a single user message, the only kind sent through guidellm")
    return single, [_left_out(len(rows) - len(single), len(rows))] if len(single) < len(rows) else []


def settings(config: RunConfig, rows: Sequence[PromptRow], plan: Plan, folder: Path) -> dict[str, Any]:
    """guidellm's own settings for a run, each prompt once."""
    load, sampling = config.load, config.sampling
    body = {
        "temperature": sampling.temperature,
        **({"top_p": sampling.top_p} if sampling.top_p is not None else {}),
        **({"seed": sampling.seed} if sampling.seed is not None else {}),
        **({"chat_template_kwargs": sampling.chat_template_kwargs} if sampling.chat_template_kwargs else {}),
        # guidellm says true of its own accord as soon as it is told a length.
        "ignore_eos": sampling.ignore_eos,
        **plan.request.extra_body,
    }
    profile: dict[str, Any] = {"kind": "concurrent", "streams": [load.in_flight]}
    if load.request_rate is not None:
        profile = {"kind": load.arrival, "rate": [load.request_rate]}
        if load.concurrency is not None:
            profile["max_concurrency"] = load.concurrency
    constraints: list[dict[str, Any]] = [{"kind": "max_requests", "count": len(rows)}]
    if load.max_seconds is not None:
        constraints.append({"kind": "max_duration", "seconds": load.max_seconds})
    return {
        "spec": {
            "backend": {
                "kind": "openai_http",
                "target": plan.base_url,
                "model": plan.request.model,
                "request_format": "/v1/chat/completions",
                "max_tokens": sampling.max_tokens,
                "timeout": load.timeout_seconds,
                "extras": {"body": body},
            },
            "profile": profile,
            "constraints": constraints,
            "data": [{"kind": "json_file", "path": str((folder / "prompts.jsonl").resolve())}],
            "outputs": [{"kind": "json", "path": str((folder / "report.json").resolve())}],
        }
    }


def read_report(path: Path) -> Report:
    """guidellm's report.

    Raises:
        ServerError: it left none, or one that cannot be understood.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError as error:
        raise ServerError(f"guidellm left no report; see {path.parent / 'guidellm.log'}") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise ServerError(f"guidellm's report cannot be read ({error}); this reads those of guidellm 0.8") from error


def records_of(
    report: Report, rows: Sequence[PromptRow], info: ServerInfo
) -> tuple[list[RequestRecord], list[Finding]]:
    """The requests of a report as records, joined with the prompts by their text.

    Times mean what they mean in our own client: guidellm notes when a request was sent, when its first and its last
    chunk with text arrived, and when it was over.
    """
    by_text = {_text(row): row for row in rows}
    records: list[RequestRecord] = []
    unknown = 0
    broken: list[str] = []
    for benchmark in report.benchmarks:
        requests = benchmark.requests
        kinds = [(requests.successful, None), (requests.errored, "failed"), (requests.incomplete, "not finished")]
        for found, problem in kinds:
            for request in found:
                row = by_text.get(_sent_text(request))
                if row is None:
                    unknown += 1
                    continue
                record = _record(request, row, problem)
                contradiction = count_answer(record, {"metrics": request.response_metrics}, info)
                broken += [contradiction] if contradiction is not None else []
                records.append(record)
    findings = contradictions(broken)
    if unknown:
        findings.append(
            Finding(
                code="guidellm_unknown_requests",
                severity="warning",
                message=f"The report of guidellm holds {unknown} requests that match no prompt and are left out.",
                numbers={"requests": unknown},
            )
        )
    return records, findings


def _record(request: _Request, row: PromptRow, problem: str | None) -> RequestRecord:
    times = request.info.timings
    start, end = times.request_start or 0.0, times.request_end or times.request_start or 0.0
    first, last = times.first_output_token_iteration, times.last_token_iteration
    tokens = request.output_tokens or 0
    timed = first is not None and last is not None and last > first and tokens > 1
    return RequestRecord(
        question_id=row.question_id,
        category=row.category,
        turn=0,
        response_id=request.response_id,
        error=None if problem is None else f"{problem}: {' '.join((request.info.error or 'no reason given').split())}",
        generation=request.output or "",
        reasoning=request.reasoning_output,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.output_tokens,
        start_time=start,
        end_time=end,
        queue_seconds=max(start - times.targeted_start, 0.0) if times.targeted_start is not None and start else 0.0,
        ttft_seconds=first - start if first is not None else None,
        tpot_seconds=(last - first) / (tokens - 1) if timed and last is not None and first is not None else None,
        num_chunks=times.token_iterations,
    )


def _sent_text(request: _Request) -> str:
    """The text of the last message that was sent."""
    try:
        content = msgspec.json.decode(request.request_args)["body"]["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, AttributeError):
        return ""


def _text(row: PromptRow) -> str:
    return row.messages[-1].content


def _wall_seconds(records: Sequence[RequestRecord]) -> float:
    sent = [record for record in records if record.start_time]
    return max(r.end_time for r in sent) - min(r.start_time for r in sent) if sent else 0.0


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
        )
    if done.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ServerError(
            f"guidellm ended with code {done.returncode}: {lines[-1].strip() if lines else 'it wrote nothing'}"
        )


def _left_out(missing: int, planned: int) -> Finding:
    return Finding(
        code="turns_left_out",
        severity="warning",
        message=f"{missing} of {planned} prompts have several turns or a system message and were not sent, since "
        "guidellm is given single user messages only; use --load client to measure conversations.",
        numbers={"left_out": missing, "prompts": planned},
    )
