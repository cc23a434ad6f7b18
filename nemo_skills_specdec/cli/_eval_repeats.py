"""What `eval --repeats` does: a study of one configuration, and how far its figures move from run to run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer
from rich.table import Table

from nemo_skills_specdec.cli._screen import screen
from nemo_skills_specdec.cli._streams import write_json
from nemo_skills_specdec.cli._study_run import reporter
from nemo_skills_specdec.cli._view import ViewFlags, end_with_report
from nemo_skills_specdec.compare.repeats import group_runs, runs_in
from nemo_skills_specdec.compare.spread import FigureSpread, RunSpread, spread
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.measurement.run_directory import METRICS
from nemo_skills_specdec.report.terminal import findings_lines
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.studies.config import RunConfig, resolve
from nemo_skills_specdec.studies.one_run import default_directory
from nemo_skills_specdec.studies.study import run_study

REPEATS = "repeats.json"
MILLI = 1000.0


def run(
    config: RunConfig, repeats: int, output_dir: Path | None, view: ViewFlags, *, json_output: bool, strict: bool
) -> None:
    """Measures so many times on one server, writes and shows the spread. A directory given again is resumed.

    Raises:
        UsageError: the server or the directory cannot be used.
        typer.Exit: 1 if a run failed, or is invalid with `--strict`; 130 after Ctrl-C.
    """
    study = output_dir or default_directory(f"{config.benchmark.label}-repeats")
    if (study / METRICS).exists():
        raise UsageError(f"{study} holds a single run; give another --output-dir for the repeats")
    config = resolve(config)
    configs = [_repeat(config, number) for number in range(1, repeats + 1)]
    errors = view.console()
    outcome = run_study(configs, study, retry_failed=True, reporter=reporter(errors))
    good = outcome.done + outcome.skipped
    if good > 1:
        group = group_runs(runs_in(study))[0]
        found = spread(group)
        write_atomically(study / REPEATS, pretty(found))
        if json_output:
            write_json(msgspec.json.encode(found))
        else:
            _show(found)
            findings = {f.code: f for one in group.runs for f in one.evaluation.overall.acceptance.findings}
            for line in findings_lines(list(findings.values())):
                screen().print(line)
        valid = all(one.evaluation.valid for one in group.runs)
    else:
        valid = False
    errors.print(f"written to {study}", style="dim")
    if good:
        end_with_report([study], view)
    if outcome.interrupted:
        errors.print(f"interrupted; rerun with --output-dir {study} to resume")
        raise typer.Exit(130)
    if outcome.failed or (strict and not valid):
        raise typer.Exit(1)


def _repeat(config: RunConfig, number: int) -> RunConfig:
    """One of the repeats, counted from 1: sampled answers have a seed of their own in each, greedy ones need none."""
    sampling = config.sampling
    if sampling.seed is not None and sampling.temperature > 0:
        sampling = msgspec.structs.replace(sampling, seed=sampling.seed + number - 1)
    return msgspec.structs.replace(config, sampling=sampling, repeat=number)


def _show(found: RunSpread) -> None:
    console = screen(width=110)
    left_out = f", {found.left_out} left out" if found.left_out else ""
    console.print(f"{found.label}: {len(found.directories)} runs, {found.prompts} prompts{left_out}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("figure", no_wrap=True)
    for name in ("mean", "95% CI", "prompts alone", "lowest", "highest", "SD prompts", "SD runs", "variance of runs"):
        table.add_column(name, justify="right", no_wrap=name != "variance of runs")
    for one in found.figures:
        table.add_row(
            one.title + (", ms" if _scale(one) == MILLI else ""),
            _number(one, one.mean),
            _range(one, one.interval),
            _range(one, one.prompts_interval),
            _number(one, min(one.values)),
            _number(one, max(one.values)),
            _deviation(one, one.prompts_deviation),
            _deviation(one, one.runs_deviation),
            "-" if one.runs_share is None else f"{one.runs_share:.0%}",
        )
    console.print(table)
    for title, reason in found.unknown.items():
        console.print(f"{title}: {reason}")


def _scale(one: FigureSpread) -> float:
    return MILLI if one.figure.endswith("_seconds") else 1.0


def _number(one: FigureSpread, value: float) -> str:
    scaled = value * _scale(one)
    return f"{scaled:.1f}" if abs(scaled) >= 100 else f"{scaled:.3f}"


def _range(one: FigureSpread, interval: Interval | None) -> str:
    return "-" if interval is None else f"{_number(one, interval.low)}-{_number(one, interval.high)}"


def _deviation(one: FigureSpread, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if one.relative else f"{value:.4f}"
