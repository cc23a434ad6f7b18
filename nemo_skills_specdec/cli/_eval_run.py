"""What `eval` does once its options are a config: measure, and show what came of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer
from rich.console import Console

from nemo_skills_specdec.cli import _eval_repeats
from nemo_skills_specdec.cli._engine_options import show_waiting
from nemo_skills_specdec.cli._progress import live_progress
from nemo_skills_specdec.cli._screen import screen
from nemo_skills_specdec.cli._streams import write_json
from nemo_skills_specdec.cli._view import ViewFlags, end_with_report
from nemo_skills_specdec.client.exchange import as_sent
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.errors import ServerError, UsageError, WriteError
from nemo_skills_specdec.measurement.measure import Plan
from nemo_skills_specdec.measurement.run_directory import is_unfinished
from nemo_skills_specdec.report.terminal import print_evaluation
from nemo_skills_specdec.studies.config import RunConfig, read_config
from nemo_skills_specdec.studies.execute import CONFIG, Reporter
from nemo_skills_specdec.studies.one_run import default_directory, run_once


def resume(directory: Path, view: ViewFlags, *, json_output: bool, strict: bool) -> None:
    """Goes on with a run that was killed or interrupted.

    Raises:
        UsageError: there is no such run, or it is complete.
    """
    if not is_unfinished(directory):
        raise UsageError(f"{directory} holds no unfinished run; give the --output-dir of one that was interrupted")
    run(read_config(directory / CONFIG), directory, view, json_output=json_output, strict=strict)


def run(
    config: RunConfig,
    output_dir: Path | None,
    view: ViewFlags,
    *,
    repeats: int = 1,
    json_output: bool,
    strict: bool,
) -> None:
    """Measures, writes and reports, in this order; several times, if that is asked for.

    Raises:
        UsageError: the server or the run directory cannot be used.
        typer.Exit: 1 for an invalid measurement with `--strict`, 130 after Ctrl-C.
    """
    if repeats > 1:
        _eval_repeats.run(config, repeats, output_dir, view, json_output=json_output, strict=strict)
        return
    errors = view.console()
    directory = output_dir or default_directory(config.benchmark.label)
    measured = run_once(config, directory, reporter=_reporter(errors))
    if json_output:
        write_json(msgspec.json.encode(measured.evaluation))
    else:
        print_evaluation(measured.evaluation, screen(width=None))
    if measured.not_written is not None:
        raise WriteError(measured.not_written)
    errors.print(f"written to {directory}", style="dim")
    end_with_report([directory], view)
    if measured.gave_up is not None:
        raise ServerError(f"the server is gone, so the remaining prompts were not sent: {measured.gave_up}")
    if measured.evaluation.status == "interrupted":
        raise typer.Exit(130)
    overall = measured.evaluation.overall
    if overall.num_requests and overall.num_failed == overall.num_requests:
        raise typer.Exit(1)
    if strict and not measured.evaluation.valid:
        raise typer.Exit(1)


def _reporter(console: Console) -> Reporter:
    return Reporter(
        say=lambda line: console.print(line, style="yellow"),
        detected=lambda info, plan, name, prompts: console.print(_introduction(info, plan, name, prompts)),
        waiting=lambda name: show_waiting(console, name),
        sending=lambda rows, load: live_progress(console, rows, load),
    )


def _introduction(info: ServerInfo, plan: Plan, name: str, prompts: int) -> str:
    request = as_sent(plan.request)
    method = info.method or ("speculation off" if info.speculation == "off" else "method unknown")
    draft = f", draft length {info.draft_length}" if info.draft_length else ""
    load = f"concurrency {plan.load.concurrency}" if plan.load.concurrency else "no concurrency limit"
    if plan.load.request_rate:
        load += f", {plan.load.request_rate:g} prompts/s {plan.load.arrival}"
    return (
        f"{info.engine or 'unknown engine'} {info.version or ''}  {request.model}  {method}{draft}\n"
        f"{name}: {prompts} prompts, {_temperature(request.temperature)}, "
        f"at most {request.max_tokens} tokens, {load}"
    )


def _temperature(value: float | None) -> str:
    return "the server's own temperature" if value is None else f"temperature {value:g}"
