"""A study: many runs, one directory, one summary. What is done stays done; it can be stopped and taken up again.

<study>/runs/<time>_<name>_<hash>/   one a run, see `execute`
<study>/servers/                     logs of the servers
<study>/summary.{csv,md,json}        see `summary`
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.errors import DataError, ServerError, SpecdecError, UsageError, WriteError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.launch.caches import can_be_reused, empty_caches
from nemo_skills_specdec.launch.hints import hint
from nemo_skills_specdec.launch.start import Started, answers
from nemo_skills_specdec.measurement.request_statistics import has_statistics
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.resume import read_earlier
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS, Manifest, held
from nemo_skills_specdec.processes import last_line
from nemo_skills_specdec.records import Finding, prompt_sha256
from nemo_skills_specdec.studies.config import RunConfig, read_config, server_key
from nemo_skills_specdec.studies.execute import (
    CONFIG,
    SERVER_LOG,
    Reporter,
    execute,
    new_directory,
)
from nemo_skills_specdec.studies.failure import forget_failure, read_failure, write_failure
from nemo_skills_specdec.studies.one_run import serving
from nemo_skills_specdec.studies.prompts import EMULATED, load_rows
from nemo_skills_specdec.studies.stored_config import config_hash, with_secrets

RUNS = "runs"
SERVERS = "servers"
State = Literal["finished", "interrupted", "failed", "unfinished"]


class FoundRun(msgspec.Struct, kw_only=True):
    """A run directory of a study, as far as it got.

    Attributes:
        state: `unfinished` has neither result nor error: its process ended without a word.
    """

    directory: Path
    config: RunConfig
    config_hash: str
    state: State
    evaluation: Evaluation | None = None
    manifest: Manifest | None = None
    error: str | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """What one call of `run_study` did, in numbers of runs.

    Attributes:
        skipped: finished before.
        held_back: failed before, and not asked for again.
    """

    done: int = 0
    skipped: int = 0
    held_back: int = 0
    failed: int = 0
    interrupted: bool = False


def find_runs(study: Path) -> list[FoundRun]:
    """All runs of a study, oldest first; directories that are no runs are left out."""
    folders = sorted((study / RUNS).glob(f"*/{CONFIG}")) if (study / RUNS).is_dir() else []
    return [_found(path.parent) for path in folders]


def latest(runs: Sequence[FoundRun]) -> dict[str, FoundRun]:
    """By config hash, the run that counts: the newest finished one, else the newest."""
    best: dict[str, FoundRun] = {}
    for run in runs:
        known = best.get(run.config_hash)
        if known is None or run.state == "finished" or known.state != "finished":
            best[run.config_hash] = run
    return best


def run_study(
    configs: Sequence[RunConfig], study: Path, *, retry_failed: bool = False, reporter: Reporter | None = None
) -> Outcome:
    """Makes all runs that are not finished yet, one after the other, starting each server once.

    A run that fails is noted and the others go on. Ctrl-C ends the study after the request in flight; everything
    measured until then is kept, and a run that was cut off or killed is resumed next time.

    Args:
        configs: resolved.

    Raises:
        UsageError: two configs are the same, or the study directory cannot be used.
    """
    reporter = reporter or Reporter()
    outcome = Outcome()
    configs = [with_secrets(config, os.environ) for config in configs]
    _check_distinct(configs)
    known = latest(find_runs(study))
    pending = []
    for config in configs:
        found = known.get(config_hash(config))
        if found is not None and found.state == "finished" and _same_prompts(config, found):
            outcome.skipped += 1
            reporter.say(f"already complete: {config.label}")
        elif found is not None and found.state == "failed" and not retry_failed:
            outcome.held_back += 1
            reporter.say(f"failed earlier (--retry-failed reruns it): {config.label}")
        else:
            pending.append(config)
    try:
        place = _places(study, known)
        for group in _by_server(pending):
            _run_group(group, study, place, outcome, reporter)
            if outcome.interrupted:
                break
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome


def _places(study: Path, known: Mapping[str, FoundRun]) -> Callable[[RunConfig], Path]:
    """Where a run goes: on with what an unfinished one left, if its answers can be counted with those to come."""

    def place(config: RunConfig) -> Path:
        found = known.get(config_hash(config))
        if found is None or found.state == "finished" or not _can_go_on(config, found.directory):
            return new_directory(config, study / RUNS)
        forget_failure(found.directory)
        return found.directory

    return place


def _can_go_on(config: RunConfig, directory: Path) -> bool:
    try:
        earlier = read_earlier(directory)
    except DataError:
        return False
    if earlier is None or not earlier.records:
        return False
    rows = load_rows(config.benchmark) if config.benchmark.name != EMULATED else []
    if earlier.manifest.prompts_sha256 != {row.question_id: prompt_sha256(row.messages) for row in rows}:
        return False
    # The counters of a server that was started anew know nothing of what the last one did.
    return config.server.engine == "running" or has_statistics(earlier.records)


def _run_group(
    configs: Sequence[RunConfig],
    study: Path,
    place: Callable[[RunConfig], Path],
    outcome: Outcome,
    reporter: Reporter,
) -> None:
    """Runs that share a server. It is started anew where its memory of earlier prompts cannot be emptied."""
    waiting = list(configs)
    while waiting and not outcome.interrupted:
        directory = place(waiting[0])
        log = _log_path(waiting[0], study)
        try:
            with serving(waiting[0], log, log.with_suffix(".request-metrics"), reporter) as started:
                _serve(waiting, started, directory, place, outcome, reporter)
        except SpecdecError as error:
            # The server did not start, so nothing can be said of any run that wanted it.
            _copy_log(log, 0, 0, directory)
            for number, config in enumerate(waiting):
                where = directory if number == 0 else place(config)
                _fail(config, where, error, outcome, reporter)
            return


def _serve(
    waiting: list[RunConfig],
    started: Started,
    directory: Path,
    place: Callable[[RunConfig], Path],
    outcome: Outcome,
    reporter: Reporter,
) -> None:
    """Makes runs on one server, taking them off the list, until it is empty or a fresh server is needed."""
    ready = _size(started.log)
    findings: tuple[Finding, ...] = ()
    flushed = False
    while waiting:
        config = waiting.pop(0)
        begin = _size(started.log)
        good = _run_one(config, started, directory, findings, flushed, outcome, reporter)
        _copy_log(started.log, ready, begin, directory)
        if not waiting or outcome.interrupted:
            return
        problem = _emptied(started, config, waiting[0])
        if started.engine != "running" and (problem is not None or not good):
            return
        # With `fresh_cache` the next run empties the cache itself, or fails.
        findings = () if waiting[0].fresh_cache and started.engine == "running" else _warm(problem)
        flushed = problem is None
        directory = place(waiting[0])


def _emptied(started: Started, done: RunConfig, following: RunConfig) -> str | None:
    """Empties the server's caches before a further run; why they are not empty now, None if they are.

    A server of somebody else is left alone, except for repetitions: they are to show noise, not what a cache does.
    """
    if not can_be_reused(started, done.method):
        return "it remembers earlier prompts"
    engine = None
    if started.engine == "running" and following.repeat:
        engine = detect(started.base_url, started.metrics_urls, started.headers, tls=started.tls).engine
    return empty_caches(started, engine)


def _run_one(
    config: RunConfig,
    started: Started,
    directory: Path,
    findings: tuple[Finding, ...],
    flushed: bool,
    outcome: Outcome,
    reporter: Reporter,
) -> bool:
    """Makes one run; whether it is good."""
    reporter.say(f"measuring {config.label}")
    try:
        with held(directory):
            run = execute(config, started, directory, findings=findings, flushed=flushed, reporter=reporter)
        overall = run.evaluation.overall
        if run.not_written is not None:
            raise WriteError(run.not_written)
        if run.gave_up is not None:
            raise ServerError(f"the server is gone: {run.gave_up}{_last_words(started.log)}")
        if run.evaluation.status == "interrupted":
            outcome.interrupted = True
            return False
        if overall.num_failed and not answers(started):
            raise ServerError(
                f"the server ended during the run, {overall.num_failed} of {overall.num_requests} requests failed"
                + _last_words(started.log)
            )
        if overall.num_failed == overall.num_requests:
            raise ServerError(f"all {overall.num_requests} requests failed; see {directory / METRICS}")
    except SpecdecError as error:
        _fail(config, directory, error, outcome, reporter)
        return False
    outcome.done += 1
    return True


def _fail(config: RunConfig, directory: Path, error: SpecdecError, outcome: Outcome, reporter: Reporter) -> None:
    write_failure(directory, config, error)
    outcome.failed += 1
    reporter.say(f"failed: {config.label}: {_first_line(error)}")


def _log_path(config: RunConfig, study: Path) -> Path:
    folder = study / SERVERS
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}_{config.label}"
    return next(path for n in range(1000) if not (path := folder / f"{stem}{f'-{n}' if n else ''}.log").exists())


def _copy_log(log: Path | None, ready: int, begin: int, directory: Path) -> None:
    """Copies a server's log into a run: the start of the server, then what it printed during this run."""
    if log is None:
        return
    with contextlib.suppress(OSError):
        content = log.read_bytes()
        write_atomically(directory / SERVER_LOG, content[:ready] + content[begin:] if begin > ready else content)


def _size(log: Path | None) -> int:
    return log.stat().st_size if log is not None and log.exists() else 0


def _last_words(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    printed = log.read_text(errors="replace")
    advice = hint(printed)
    return f" ({advice or last_line(printed)})" if printed.strip() else ""


def _by_server(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Runs that share a server, in the order of their making.

    Repetitions take turns, baseline, method, baseline, method, so that a machine that gets slower with time slows all
    of them alike. Where there is one server only, nothing has to take turns.
    """
    take_turns = len({server_key(config) for config in configs}) > 1
    groups: dict[tuple[int, bytes], list[RunConfig]] = {}
    for config in sorted(configs, key=lambda config: config.repeat if take_turns else 0):
        groups.setdefault((config.repeat if take_turns else 0, server_key(config)), []).append(config)
    return list(groups.values())


def _check_distinct(configs: Sequence[RunConfig]) -> None:
    seen: dict[str, str] = {}
    for config in configs:
        key = config_hash(config)
        if key in seen:
            raise UsageError(f"{config.label} is requested twice; drop one, or give them different `repeat` numbers")
        seen[key] = config.label


def _same_prompts(config: RunConfig, found: FoundRun) -> bool:
    """Whether the prompts of a finished run are still those of its config: a file may have changed since."""
    if config.benchmark.name == EMULATED or found.manifest is None:
        return found.manifest is not None
    rows = load_rows(config.benchmark)
    return found.manifest.prompts_sha256 == {row.question_id: prompt_sha256(row.messages) for row in rows}


def _found(directory: Path) -> FoundRun:
    config = read_config(directory / CONFIG)
    run = FoundRun(directory=directory, config=config, config_hash=config_hash(config), state="unfinished")
    try:
        run.evaluation = msgspec.json.decode((directory / METRICS).read_bytes(), type=Evaluation)
        run.manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
        run.state = "finished" if run.evaluation.status == "complete" else "interrupted"
    except FileNotFoundError:
        run.error = "it ended without a result"
    except (OSError, msgspec.MsgspecError) as error:
        run.state, run.error = "failed", f"{directory} cannot be read ({error})"
    if (failure := read_failure(directory)) is not None:
        run.error, run.state = failure, "failed"
    return run


def _warm(problem: str | None) -> tuple[Finding, ...]:
    if problem is None:
        return ()
    return (
        Finding(
            code="server_not_fresh",
            severity="warning",
            message=f"The server has served an earlier run: {problem}, and a prefix cache shortens TTFT.",
        ),
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
