"""What `eval` does once its options are read: find or start the server, measure, show, write."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import typer
from rich.console import Console

from nemo_skills_specdec.cli._engine_options import show_waiting
from nemo_skills_specdec.cli._progress import live_progress
from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.engines.base import EngineName, ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.fetch import bearer, public_url
from nemo_skills_specdec.errors import ServerError, UsageError, WriteError
from nemo_skills_specdec.launch.methods import Method, MethodName
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.launch.start import Started, start_server
from nemo_skills_specdec.measurement.measure import Measurement, Plan, evaluate
from nemo_skills_specdec.measurement.run_directory import (
    manifest_of,
    output_rows,
    prepare_directory,
    removed_if_empty,
    write_run,
    write_snapshots,
)
from nemo_skills_specdec.records import Finding, PromptRow
from nemo_skills_specdec.report.terminal import print_evaluation
from nemo_skills_specdec.studies.config import OWN_MODEL


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one `eval`, checked. It never holds the API key, only the name of its variable."""

    benchmark: str
    rows: list[PromptRow]
    remarks: list[Finding]
    server_url: str | None
    metrics_urls: tuple[str, ...]
    server_type: EngineName | None
    api_key_env: str
    request_files: Path | None
    request: RequestOptions
    load: LoadOptions
    warmup: int | None
    by_category: bool | None
    output_dir: Path | None
    json_output: bool
    strict: bool
    seed: int
    launch: Literal["embedded", "llamacpp", "vllm", "sglang"]
    dialect: Literal["vllm", "sglang"]
    method: MethodName | None
    draft_length: int
    draft_model: str | None
    draft_tensor_parallel_size: int | None
    engine: dict[str, Any]


def run(job: Job) -> None:
    """Measures and reports.

    Raises:
        UsageError: the server or the run directory cannot be used.
        typer.Exit: 1 for an invalid measurement with `--strict`, 130 after Ctrl-C.
    """
    errors = Console(stderr=True, highlight=False)
    directory = (
        job.output_dir or Path("results") / f"{time.strftime('%Y%m%d-%H%M%S')}-{job.benchmark.replace('/', '-')}"
    )
    prepare_directory(directory)
    with removed_if_empty(directory), _server(job, directory, errors) as started:
        base_url = started.base_url
        headers = bearer(os.environ.get(job.api_key_env))
        metrics_urls = job.metrics_urls or (base_url,)
        info = detect(base_url, metrics_urls, headers, server_type=job.server_type)
        if job.server_url is None and info.speculation == "on":
            info.method = info.method or job.method or _OWN_METHODS.get(job.launch)
        # A server started here knows its model by the name it was started with.
        named = job.request.model if started.engine not in ("vllm", "sglang") else None
        request = msgspec.structs.replace(job.request, model=named or _first_model(info))
        errors.print(_introduction(info, job, request))
        plan = Plan(
            base_url=base_url,
            metrics_urls=tuple(metrics_urls),
            request=request,
            load=job.load,
            warmup_requests=job.warmup,
            by_category=job.by_category,
            request_files=job.request_files or started.request_files,
            seed=job.seed,
        )
        with live_progress(errors, prompts=len(job.rows), requests=_turns(job.rows)) as progress:
            measured = evaluate(
                job.benchmark, job.rows, plan, info, headers=headers, remarks=job.remarks, progress=progress
            )
    if job.json_output:
        sys.stdout.write(msgspec.json.encode(measured.evaluation).decode() + "\n")
    else:
        print_evaluation(measured.evaluation, Console(highlight=False))
    _write(directory, job, plan, info, measured)
    errors.print(f"written to {directory}", style="dim")
    if measured.gave_up is not None:
        raise ServerError(f"the server is gone, so the rest of the prompts was not sent: {measured.gave_up}")
    if measured.evaluation.status == "interrupted":
        raise typer.Exit(130)
    if job.strict and not measured.evaluation.valid:
        raise typer.Exit(1)


@contextlib.contextmanager
def _server(job: Job, directory: Path, console: Console) -> Iterator[Started]:
    """The server to measure: the one given, or one started for this run and stopped after it."""
    if job.server_url is not None:
        if job.engine or job.draft_model or job.draft_tensor_parallel_size:
            raise UsageError("options of an engine are for one that is started here; drop them, or drop --server-url")
        yield Started(engine="running", base_url=job.server_url, metrics_urls=(job.server_url,))
        return
    name = job.method or _OWN_METHODS.get(job.launch, "none")
    method = Method(
        name=name,
        draft_length=job.draft_length if name != "none" else None,
        draft_model=job.draft_model,
        draft_tensor_parallel_size=job.draft_tensor_parallel_size,
        prompt_lookup_min=2 if job.launch in ("embedded", "llamacpp") else None,
    )
    options = msgspec.convert({"engine": job.launch, "dialect": job.dialect, **job.engine}, ServerOptions)
    model = OWN_MODEL
    if job.launch in ("vllm", "sglang"):
        if not job.request.model:
            raise UsageError(f"{job.launch} brings no model along; give its folder or Hub name with --model")
        model = job.request.model
    elif job.launch == "llamacpp" and options.max_num_seqs is None:
        options = msgspec.structs.replace(options, max_num_seqs=min(job.load.concurrency or 8, 32))
    with contextlib.ExitStack() as stack:
        with show_waiting(console, _STARTING[job.launch]) as on_wait:
            started = stack.enter_context(
                start_server(
                    model,
                    method,
                    options,
                    log=directory / "server.log",
                    request_files=directory / "request-metrics",
                    on_wait=on_wait,
                )
            )
        for remark in started.remarks:
            console.print(remark, style="yellow", markup=False)
        yield started


_OWN_METHODS: dict[str, MethodName] = {"embedded": "draft_model", "llamacpp": "ngram"}
"""What the servers that bring their model along speculate with, unless told otherwise."""
_STARTING = {
    "embedded": "no --server-url: starting the embedded engine",
    "llamacpp": "starting llama.cpp with SmolLM2-135M-Instruct",
    "vllm": "starting vLLM",
    "sglang": "starting SGLang",
}


def _write(directory: Path, job: Job, plan: Plan, info: ServerInfo, measured: Measurement) -> None:
    """Writes the run directory; if that fails, into the system's temporary folder, so that nothing measured is lost."""
    manifest = manifest_of(_arguments(job, plan), info, job.rows, measured.started_at, measured.ended_at)
    rows = output_rows(job.rows, measured.records)

    def write_to(target: Path) -> None:
        write_snapshots(target, measured.snapshots)
        write_run(target, rows=rows, evaluation=measured.evaluation, manifest=manifest)

    try:
        write_to(directory)
    except WriteError as error:
        try:
            rescue = Path(tempfile.mkdtemp(prefix="ns-specdec-run-"))
            write_to(rescue)
        except (OSError, WriteError) as second:
            raise UsageError(
                f"{error}; nor can the run be written to the temporary folder ({second}), so what is printed above is "
                "all that is kept"
            ) from error
        raise UsageError(f"{error}; the run is in {rescue} instead, move it where there is space") from error


def _arguments(job: Job, plan: Plan) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if job.server_url is None:
        names = ("launch", "dialect", "method", "draft_length", "draft_model", "engine")
        own = {name: getattr(job, name) for name in names}
    arguments = msgspec.to_builtins(plan, enc_hook=str)
    # An address may carry a password.
    arguments["base_url"] = public_url(plan.base_url)
    arguments["metrics_urls"] = [public_url(url) for url in plan.metrics_urls]
    return {"benchmark": job.benchmark, **arguments, **own}


def _first_model(info: ServerInfo) -> str:
    if not info.models:
        raise UsageError(f"{info.base_url} lists no model; give its name with --model")
    return info.models[0]


def _turns(rows: list[PromptRow]) -> int:
    from nemo_skills_specdec.client.body import count_turns

    return sum(count_turns(row.messages) for row in rows)


def _introduction(info: ServerInfo, job: Job, request: RequestOptions) -> str:
    method = info.method or ("speculation off" if info.speculation == "off" else "method unknown")
    draft = f", draft length {info.draft_length}" if info.draft_length else ""
    load = f"concurrency {job.load.concurrency}" if job.load.concurrency else "no concurrency limit"
    if job.load.request_rate:
        load += f", {job.load.request_rate:g} prompts/s {job.load.arrival}"
    return (
        f"{info.engine or 'unknown engine'} {info.version or ''}  {request.model}  {method}{draft}\n"
        f"{job.benchmark}: {len(job.rows)} prompts, temperature {request.temperature:g}, "
        f"at most {request.max_tokens} tokens, {load}"
    )
