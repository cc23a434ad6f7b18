"""What `experiment` and `sweep` do once their options are read: show, run, sum up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import typer
from rich.console import Console

from nemo_skills_specdec.cli._engine_options import show_waiting
from nemo_skills_specdec.cli._progress import live_progress
from nemo_skills_specdec.cli._screen import screen
from nemo_skills_specdec.cli._streams import write_json, write_line
from nemo_skills_specdec.cli._view import ViewFlags, end_with_report
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.command import shell_line
from nemo_skills_specdec.launch.start import command_of
from nemo_skills_specdec.report.drafters_table import print_drafters
from nemo_skills_specdec.report.study_table import print_study
from nemo_skills_specdec.studies.config import RunConfig
from nemo_skills_specdec.studies.drafters import MARKDOWN as DRAFTERS
from nemo_skills_specdec.studies.drafters import write_drafters
from nemo_skills_specdec.studies.execute import Reporter
from nemo_skills_specdec.studies.parts import Refused
from nemo_skills_specdec.studies.study import Outcome, find_runs, run_study
from nemo_skills_specdec.studies.summary_files import MARKDOWN, to_json, write_summary


def reporter(console: Console) -> Reporter:
    """Tells on stderr what a study does."""

    return Reporter(
        say=lambda line: console.print(line),
        waiting=lambda name: show_waiting(console, name),
        sending=lambda rows, load: live_progress(console, rows, load),
    )


def dry_run(configs: Sequence[RunConfig], refused: Sequence[Refused]) -> None:
    """Prints the command of every server on stdout, and on stderr what cannot be and why."""
    for config in configs:
        if config.server.engine in ("vllm", "sglang"):
            line = shell_line(command_of(config.model.path, config.method, config.server))
        else:
            line = f"# {config.label}: no command, {config.server.engine} is started or reached from within"
        write_line(line)
    for item in refused:
        write_line(f"not possible: {item.label}: {item.reason}", stderr=True)


def run(
    configs: Sequence[RunConfig],
    refused: Sequence[Refused],
    study: Path,
    *,
    view: ViewFlags,
    retry_failed: bool,
    json_output: bool,
) -> None:
    """Makes the runs and sums up the study.

    Raises:
        UsageError: there is nothing to run.
        typer.Exit: 1 if a run failed, 130 after Ctrl-C.
    """
    errors = view.console()
    for item in refused:
        errors.print(f"not possible: {item.label}: {item.reason}", style="yellow")
    if not configs:
        raise UsageError("there is nothing to run; see the reasons above" if refused else "there is nothing to run")
    outcome = run_study(configs, study, retry_failed=retry_failed, reporter=reporter(errors))
    finish(study, outcome, view=view, json_output=json_output)


def finish(study: Path, outcome: Outcome, *, view: ViewFlags, json_output: bool) -> None:
    """Writes and shows the summary of a study.

    Raises:
        typer.Exit: 1 if a run failed, 130 after Ctrl-C.
    """
    errors = view.console()
    if find_runs(study):
        summary = write_summary(study)
        if json_output:
            write_json(msgspec.json.encode(to_json(summary, study)))
        else:
            print_study(to_json(summary, study), screen(width=None))
        errors.print(f"summary: {study / MARKDOWN}", style="dim")
        if (drafters := write_drafters(study)) is not None:
            if not json_output:
                print_drafters(drafters.rankings, screen(width=None))
            errors.print(f"drafters: {study / DRAFTERS}", style="dim")
        if summary.rows:
            end_with_report([study], view)
    told = f"{outcome.done} completed, {outcome.skipped} already complete, {outcome.failed} failed"
    if outcome.held_back:
        told += f", {outcome.held_back} failed earlier (--retry-failed reruns them)"
    errors.print(told)
    if outcome.interrupted:
        errors.print(f"interrupted; rerun with --output-dir {study} to resume")
        raise typer.Exit(130)
    if outcome.failed or outcome.held_back:
        raise typer.Exit(1)
