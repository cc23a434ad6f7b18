"""One run of a study: measures a server that answers, and leaves a run directory that can be run again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.client.body import count_turns
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.fetch import public_url
from nemo_skills_specdec.engines.registry import tells_per_request
from nemo_skills_specdec.engines.remarks import REMEMBERS
from nemo_skills_specdec.errors import UsageError, WriteError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.launch.start import Started
from nemo_skills_specdec.measurement.measure import Measurement, Plan, Progress, evaluate
from nemo_skills_specdec.measurement.run_directory import (
    manifest_of,
    output_rows,
    prepare_directory,
    pretty,
    write_run,
    write_snapshots,
)
from nemo_skills_specdec.records import Finding, PromptRow
from nemo_skills_specdec.studies import guidellm
from nemo_skills_specdec.studies.config import RunConfig, config_hash, config_yaml, load_options, request_options
from nemo_skills_specdec.studies.prompts import EMULATED, load_prompts, server_tokenizer

CONFIG = "config.yaml"
FAILED = "failed.json"
SERVER_LOG = "server.log"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `failed.json`: why a run could not be made."""

    error: str
    config_hash: str
    at: str


class Reporter(msgspec.Struct, frozen=True, kw_only=True):
    """How a study tells what it does; silent by default.

    Attributes:
        say: a line about what comes next or what happened.
        waiting: around the start of a server: given its name, yields what is called while it loads.
        sending: around the sending: given the numbers of prompts and of requests, yields the client's hooks.
    """

    say: Callable[[str], None] = lambda _: None
    waiting: Callable[[str], AbstractContextManager[Callable[[float, str], None]]] = lambda _: contextlib.nullcontext(
        lambda _seconds, _line: None
    )
    sending: Callable[[int, int], AbstractContextManager[Progress]] = lambda _prompts, _requests: (
        contextlib.nullcontext(Progress())
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
    findings: tuple[Finding, ...] = (),
    flushed: bool = False,
    reporter: Reporter | None = None,
) -> Measurement:
    """Measures a running server as a config says, and writes everything into the run's directory.

    Args:
        directory: from `new_directory`.
        findings: remarks on the server's state, added to those of the run.
        flushed: whether the server's caches were emptied just now, so that it remembers no earlier prompt.

    Raises:
        UsageError: the server cannot be measured, or the prompts cannot be had.
    """
    reporter = reporter or Reporter()
    info = detect(started.base_url, started.metrics_urls, started.headers)
    if flushed:
        info.findings = [finding for finding in info.findings if finding.code != REMEMBERS]
    _check_speculation(config, info)
    model = config.server.served_model_name or (info.models[0] if info.models else config.model.path)
    rows, remarks = prompts_of(config, started, model)
    plan = Plan(
        base_url=started.base_url,
        metrics_urls=started.metrics_urls,
        request=request_options(config, model=model),
        load=load_options(config),
        warmup_requests=config.warmup,
        by_category=_by_category(config, info),
        request_files=started.request_files,
        seed=config.seed,
    )
    said = [*remarks, *findings]
    if config.load.generator == "guidellm":
        run = guidellm.measure(config, rows, plan, info, directory, headers=started.headers, remarks=said)
    else:
        with reporter.sending(len(rows), sum(count_turns(row.messages) for row in rows)) as progress:
            run = evaluate(config.label, rows, plan, info, headers=started.headers, remarks=said, progress=progress)
    write(directory, config, started, info, rows, plan, run)
    return run


def _check_speculation(config: RunConfig, info: ServerInfo) -> None:
    """Refuses a server that does something else than the config says: a baseline that speculates is none."""
    name = config.method.name
    if name == "none" and info.speculation == "on":
        raise UsageError(
            f"the run is to be without speculation, but {info.base_url} speculates; say method as_served, or give "
            "another server"
        )
    if name not in ("none", "as_served") and info.speculation == "off":
        raise UsageError(f"the run is to use {name}, but {info.base_url} does not speculate; see its log")


def _by_category(config: RunConfig, info: ServerInfo) -> bool | None:
    """Whether each category gets a window of its own; None leaves it to what the answers carry.

    Without speculation answers carry nothing, so it would always be so, and a baseline that drains between categories
    has another load than a run that does not. A baseline therefore does what runs with speculation do on its engine.
    """
    if config.by_category is not None or config.method.name != "none":
        return config.by_category
    return tells_per_request(info.engine, info.version) is not True


def prompts_of(config: RunConfig, started: Started, model: str) -> tuple[list[PromptRow], list[Finding]]:
    """The prompts of a run; emulated ones are measured by the server's own tokenizer, where it offers one."""
    count = None
    if config.benchmark.name == EMULATED:
        count = server_tokenizer(started.base_url, model, started.headers)
    return load_prompts(config.benchmark, count)


def write(
    directory: Path,
    config: RunConfig,
    started: Started,
    info: ServerInfo,
    rows: list[PromptRow],
    plan: Plan,
    run: Measurement,
) -> None:
    """Writes the run directory; `metrics.json` comes last, so that a directory that has it is complete.

    Raises:
        WriteError: the disk is full or the like.
    """
    manifest = manifest_of(arguments_of(config, started, plan, run), info, rows, run.started_at, run.ended_at)
    write_snapshots(directory, run.snapshots)
    write_run(directory, rows=output_rows(rows, run.records), evaluation=run.evaluation, manifest=manifest)


def arguments_of(config: RunConfig, started: Started, plan: Plan, run: Measurement) -> dict[str, Any]:
    """What a run was asked to do, for its manifest; addresses without credentials."""
    arguments: dict[str, Any] = msgspec.to_builtins(plan, enc_hook=str)
    # Two runs are compared only if both drained the server between categories, or neither did.
    arguments["windows"] = "one a category" if len(run.snapshots) > 2 else "one"
    arguments["base_url"] = public_url(plan.base_url)
    arguments["metrics_urls"] = [public_url(url) for url in plan.metrics_urls]
    return {
        "benchmark": config.benchmark.label,
        **arguments,
        "config_hash": config_hash(config),
        "launch": config.server.engine,
        "method": config.method.name,
        "draft_length": config.method.length,
        "command": started.command,
        "remarks": list(started.remarks),
    }


def write_failure(directory: Path, config: RunConfig, error: Exception) -> None:
    """Notes in the run's directory why it could not be made."""
    failure = Failure(
        error=str(error),
        config_hash=config_hash(config),
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    with contextlib.suppress(WriteError):
        write_atomically(directory / FAILED, pretty(failure))
