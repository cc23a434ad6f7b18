"""One run of a study: measures a server that answers, and leaves a run directory that can be run again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.client.body import count_turns
from nemo_skills_specdec.client.exchange import LoadOptions
from nemo_skills_specdec.client.interrupt import first_signal
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.registry import ENGINES, tells_per_request
from nemo_skills_specdec.engines.remarks import REMEMBERS, UNCHECKED
from nemo_skills_specdec.errors import UsageError, WriteError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.launch.caches import empty_caches
from nemo_skills_specdec.launch.start import Started
from nemo_skills_specdec.measurement.evidence import Evidence
from nemo_skills_specdec.measurement.hooks import Hooks, both
from nemo_skills_specdec.measurement.measure import (
    Gathered,
    Measurement,
    Plan,
    Sender,
    Workload,
    concluded,
    gather,
    send_with_client,
)
from nemo_skills_specdec.measurement.resume import (
    Earlier,
    finished_records,
    read_earlier,
    together,
    torn_line,
    windows_of,
)
from nemo_skills_specdec.measurement.run_directory import (
    RunAttempt,
    RunWriter,
    new_manifest,
    prepare_directory,
    stored_snapshots,
)
from nemo_skills_specdec.prompts.load import LoadedPrompts
from nemo_skills_specdec.records import Finding, PromptRow, RequestRecord, prompt_sha256
from nemo_skills_specdec.redaction import redacted_data, redacting, secrets_of
from nemo_skills_specdec.studies import guidellm
from nemo_skills_specdec.studies.arguments import arguments_of
from nemo_skills_specdec.studies.config import (
    OWN_MODEL,
    RunConfig,
    load_options,
    request_options,
)
from nemo_skills_specdec.studies.prompts import EMULATED, load_prompts, server_tokenizer
from nemo_skills_specdec.studies.stored_config import config_hash, config_yaml

CONFIG = "config.yaml"
SERVER_LOG = "server.log"


class Reporter(msgspec.Struct, frozen=True, kw_only=True):
    """How a study tells what it does; silent by default.

    Attributes:
        say: a line about what comes next or what happened.
        detected: told what the server is, what will be sent, from which prompt set and how many prompts of it.
        waiting: around the start of a server: given its name, yields what is called while it loads.
        sending: around the sending: given the prompts and how they are sent, yields the client's hooks.
    """

    say: Callable[[str], None] = lambda _: None
    detected: Callable[[ServerInfo, Plan, str, int], None] = lambda _info, _plan, _name, _prompts: None
    waiting: Callable[[str], AbstractContextManager[Callable[[float, str], None]]] = lambda _: contextlib.nullcontext(
        lambda _seconds, _line: None
    )
    sending: Callable[[Sequence[PromptRow], LoadOptions], AbstractContextManager[Hooks]] = lambda _rows, _load: (
        contextlib.nullcontext(Hooks())
    )


def new_directory(config: RunConfig, runs: Path) -> Path:
    """A directory for a run that is about to start, with its `config.yaml`: time, name and hash in its name.

    Raises:
        UsageError: it cannot be written.
    """
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}_{config.label}_{config_hash(config)[:8]}"
    directory = runs / stem
    for number in range(2, 1000):
        if not directory.exists():
            break
        directory = runs / f"{stem}-{number}"
    prepare_directory(directory)
    write_atomically(directory / CONFIG, config_yaml(config))
    return directory


def execute(
    config: RunConfig,
    started: Started,
    directory: Path,
    *,
    prompts: LoadedPrompts | None = None,
    findings: tuple[Finding, ...] = (),
    flushed: bool = False,
    reporter: Reporter | None = None,
) -> Measurement:
    """Measures a running server as a config says, and writes everything into the run's directory.

    Args:
        directory: prepared, and held.
        prompts: where they are known already; None to load those that the config names.
        findings: remarks on the server's state, added to those of the run.
        flushed: whether the server's caches were emptied just now, so that it remembers no earlier prompt.

    Raises:
        UsageError: the server cannot be measured, or the prompts cannot be had.
        WriteError: the directory cannot be written, so nothing was measured.
    """
    secrets = secrets_in(config, started)
    with redacting(secrets):
        return _execute(config, started, directory, prompts, findings, flushed, reporter or Reporter(), secrets)


def secrets_in(config: RunConfig, started: Started) -> tuple[str, ...]:
    """The texts of a run that must come into no file and no message."""
    options = (config.sampling.extra_body, config.sampling.chat_template_kwargs)
    return secrets_of((started.base_url, *started.metrics_urls), started.headers, options)


def _execute(
    config: RunConfig,
    started: Started,
    directory: Path,
    prompts: LoadedPrompts | None,
    findings: tuple[Finding, ...],
    flushed: bool,
    reporter: Reporter,
    secrets: tuple[str, ...],
) -> Measurement:
    info = redacted_data(_server_info(config, started), secrets)
    if config.fresh_cache and not flushed and started.engine == "running":
        _empty_cache(started, info)
        flushed = True
    if flushed:
        info.findings = [finding for finding in info.findings if finding.code != REMEMBERS]
    model = _model_name(config, info)
    prompts = prompts or prompts_of(config, started, model)
    rows, remarks = prompts.rows, [*prompts.findings, *findings, *_tls_remarks(config)]
    plan = Plan(
        base_url=started.base_url,
        metrics_urls=started.metrics_urls,
        request=request_options(config, model=model),
        load=load_options(config),
        warmup_requests=config.warmup,
        by_category=_by_category(config, info),
        request_files=started.request_files,
        speculates=config.method.name != "none",
        max_failed=config.max_failed,
        seed=config.seed,
        speed=config.speed,
        order_seed=config.repeat or None,
    )
    send = send_with_client
    if config.load.generator == "guidellm":
        rows, left_out = guidellm.check(config, rows, started.headers)
        remarks += left_out
        send = guidellm.sender(config, directory)
    reporter.detected(info, plan, prompts.name, len(rows))
    if not (directory / CONFIG).exists():
        write_atomically(directory / CONFIG, config_yaml(config))
    task = _Execution(
        plan=plan,
        info=info,
        headers=started.headers,
        send=send,
        arguments=arguments_of(config, started, plan),
        secrets=secrets,
        same_server=config.server.engine == "running",
    )
    return _carry_out(task, Workload(name=prompts.name, rows=rows, remarks=remarks), directory, reporter)


class _Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is about to start: everything but its prompts and its place."""

    plan: Plan
    info: ServerInfo
    headers: dict[str, str]
    send: Sender
    arguments: dict[str, Any]
    secrets: tuple[str, ...]
    same_server: bool


def _carry_out(task: _Execution, workload: Workload, directory: Path, reporter: Reporter) -> Measurement:
    """Measures, or goes on with what an earlier attempt left, and writes everything as it comes."""
    earlier = read_earlier(directory)
    rows, kept = list(workload.rows), _kept(earlier, task, workload, directory)
    remaining = [row for row in rows if row.question_id not in kept]
    remarks = [*workload.remarks, *([torn_line()] if earlier is not None and earlier.torn else [])]
    kept_records = [record for turns in kept.values() for record in turns]
    manifest = new_manifest(task.arguments, task.info, rows, time.time())
    if earlier is not None:
        manifest.started_at = earlier.manifest.started_at
        manifest.snapshots, manifest.attempts = earlier.manifest.snapshots, earlier.manifest.attempts
        if manifest.attempts:
            manifest.attempts[-1].finished_rows = len(kept)
        reporter.say(f"resuming {directory}: {len(kept)} of {len(rows)} prompts already complete")
    manifest.attempts.append(
        RunAttempt(
            started_at=time.time(),
            planned_rows=len(remaining),
            longest_row=max((count_turns(row.messages) for row in remaining), default=0),
            concurrency=task.plan.load.concurrency or len(remaining),
            first_set=len({file.number for file in manifest.snapshots}),
        )
    )
    writer = RunWriter(directory, rows, manifest, kept_records, task.secrets, same_server=task.same_server)
    with reporter.sending(remaining, task.plan.load) as shown:
        hooks = Hooks(
            stage=shown.stage,
            record=both(shown.record, writer.record),
            snapshots=writer.snapshots,
            recall=writer.recall,
        )
        try:
            gathered = gather(
                Workload(name=workload.name, rows=remaining, remarks=remarks),
                task.plan,
                task.info,
                headers=task.headers,
                hooks=hooks,
                send=task.send,
            )
        except BaseException:
            writer.abandon()
            raise
    gathered.evidence.conditions.categories_planned = len({row.category for row in rows})
    with first_signal(lambda: None):
        return _finish(gathered, earlier, kept_records, writer, task)


def _finish(
    gathered: Gathered,
    earlier: Earlier | None,
    kept_records: Sequence[RequestRecord],
    writer: RunWriter,
    task: _Execution,
) -> Measurement:
    """Concludes and writes; whoever interrupts this once gets the run all the same."""
    manifest = writer.manifest
    if earlier is not None:
        _join(gathered.evidence, earlier, kept_records, writer)
    gathered.evidence.conditions.prompts_planned = len(manifest.prompts_sha256)
    measurement = concluded(gathered)
    measurement.evaluation = redacted_data(measurement.evaluation, task.secrets)
    # Two runs are compared only if both drained the server between categories, or neither did.
    manifest.arguments["windows"] = "one a category" if measurement.evidence.categories else "one"
    try:
        writer.finish(measurement)
    except WriteError as error:
        measurement.not_written = str(error)
    return measurement


def _kept(
    earlier: Earlier | None, task: _Execution, workload: Workload, directory: Path
) -> dict[str, list[RequestRecord]]:
    """The requests of an unfinished run that need not be sent again, by prompt.

    Raises:
        UsageError: the unfinished run is another one.
    """
    if earlier is None:
        return {}
    before = earlier.manifest
    if before.arguments.get("config_hash") != task.arguments["config_hash"]:
        raise UsageError(
            f"{directory} holds an unfinished run with other options; resume it with --resume, or give another "
            "--output-dir"
        )
    if before.prompts_sha256 != {row.question_id: prompt_sha256(row.messages) for row in workload.rows}:
        raise UsageError(f"the prompts have changed since {directory} was started; give another --output-dir")
    return finished_records(workload.rows, earlier.records)


def _join(evidence: Evidence, earlier: Earlier, kept: Sequence[RequestRecord], writer: RunWriter) -> None:
    """Puts the evidence of all attempts together."""
    manifest = writer.manifest
    evidence.conditions = together(earlier.manifest.conditions, kept, manifest.attempts, evidence)
    place = {row_id: number for number, row_id in enumerate(manifest.prompts_sha256)}
    evidence.records = sorted([*kept, *evidence.records], key=lambda record: (place[record.question_id], record.turn))
    sets = stored_snapshots(writer.directory, manifest.snapshots)
    ends = {file.number: file.category for file in manifest.snapshots}
    evidence.window, evidence.categories = windows_of(manifest.attempts, sets, ends)


def _server_info(config: RunConfig, started: Started) -> ServerInfo:
    info = detect(
        started.base_url, started.metrics_urls, started.headers, server_type=config.server.server_type, tls=started.tls
    )
    _check_speculation(config, info)
    if started.engine != "running" and info.speculation == "on":
        info.method = info.method or config.method.name
    return info


def _empty_cache(started: Started, info: ServerInfo) -> None:
    """Empties the caches of a server that somebody else started.

    Raises:
        UsageError: it does not let itself be emptied.
    """
    problem = empty_caches(started, info.engine)
    if problem is not None:
        cure = ENGINES[info.engine].FACTS.cache_cure if info.engine is not None else "restart the server"
        raise UsageError(f"--fresh-cache: the cache cannot be emptied ({problem}); {cure}")


def _tls_remarks(config: RunConfig) -> list[Finding]:
    return [UNCHECKED] if config.server.insecure else []


def _model_name(config: RunConfig, info: ServerInfo) -> str:
    """What the server calls the model that is asked for."""
    if config.server.served_model_name is not None:
        return config.server.served_model_name
    if config.server.engine == "running" and config.model.path != OWN_MODEL:
        return config.model.path
    if not info.models:
        raise UsageError(f"{info.base_url} lists no model; give a name with --model")
    return info.models[0]


def _check_speculation(config: RunConfig, info: ServerInfo) -> None:
    """Refuses a server that does something else than the config says: a baseline that speculates is none."""
    name = config.method.name
    if name == "none" and info.speculation == "on":
        raise UsageError(
            f"the run should not speculate, but {info.base_url} does; use method as_served, or give another server"
        )
    if name not in ("none", "as_served") and info.speculation == "off":
        raise UsageError(f"the run should use {name}, but {info.base_url} does not speculate; see its log")


def _by_category(config: RunConfig, info: ServerInfo) -> bool | None:
    """Whether each category gets a window of its own; None leaves it to what the answers carry.

    Without speculation answers carry nothing, so it would always be so, and a baseline that drains between categories
    has another load than a run that does not. A baseline therefore does what runs with speculation do on its engine.
    """
    speculates = config.method.name != "none" and info.speculation != "off"
    if config.by_category is not None or speculates:
        return config.by_category
    return tells_per_request(info.engine, info.version) is not True


def prompts_of(config: RunConfig, started: Started, model: str) -> LoadedPrompts:
    """The prompts of a run; emulated ones are measured by the server's own tokenizer, where it offers one."""
    count = None
    if config.benchmark.name == EMULATED:
        count = server_tokenizer(started, model)
    return msgspec.structs.replace(load_prompts(config.benchmark, count), name=config.label)
