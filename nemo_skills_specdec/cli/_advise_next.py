"""What `advise --run-next` does: the runs that the advice asks for, made like those that it rests on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.cli._screen import screen
from nemo_skills_specdec.cli._study_run import reporter
from nemo_skills_specdec.compare.next_runs import NextRun
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.measurement.run import Run, load_run
from nemo_skills_specdec.studies.config import RunConfig, read_config, resolve
from nemo_skills_specdec.studies.execute import CONFIG
from nemo_skills_specdec.studies.one_run import default_directory
from nemo_skills_specdec.studies.stored_config import config_hash, with_secrets
from nemo_skills_specdec.studies.study import RUNS, find_runs, run_study
from nemo_skills_specdec.studies.sweep import sweep


def measure_next(groups: Sequence[RunGroup], wanted: Sequence[NextRun]) -> list[Run]:
    """Makes these runs, in the study that the others are in or in a new one, and reads those that were completed.

    Raises:
        UsageError: there is nothing to run, or nothing that can be run from here.
    """
    errors = screen(stderr=True, width=None)
    if not wanted:
        raise UsageError("the advice asks for no further run")
    by_label = {group.label: group.runs[0] for group in groups}
    study = _study_of(by_label[wanted[0].label].directory)
    known = {run.config_hash for run in find_runs(study) if run.state == "finished"}
    configs: list[RunConfig] = []
    problems: list[str] = []
    for one in wanted:
        try:
            made = _configs(by_label[one.label].directory, one, known)
        except UsageError as error:
            problems.append(str(error))
            continue
        known |= {config_hash(config) for config in made}
        configs += made
    for problem in problems:
        errors.print(f"not possible: {problem}", style="yellow")
    if not configs:
        raise UsageError("none of the runs that the advice asks for can be made from here; see the reasons above")
    run_study(configs, study, retry_failed=True, reporter=reporter(errors))
    hashes = {config_hash(config) for config in configs}
    found = [run for run in find_runs(study) if run.config_hash in hashes]
    for run in found:
        if run.state != "finished":
            errors.print(f"{run.state}: {run.config.label}: {run.error}", style="yellow")
    errors.print(f"written to {study}", style="dim")
    return [load_run(run.directory) for run in found if run.state == "finished"]


def _study_of(directory: Path) -> Path:
    """The study that a run is in; a new one for a single run."""
    inside = directory.resolve().parent
    return inside.parent if inside.name == RUNS else default_directory("advise-next")


def _configs(directory: Path, wanted: NextRun, known: set[str]) -> list[RunConfig]:
    """The wanted runs, like the one in this directory and none of those that are known."""
    path = directory / CONFIG
    if not path.is_file():
        raise UsageError(f"{directory} has no {CONFIG} that says how to make another run like it")
    config = with_secrets(read_config(path), os.environ)
    length = wanted.draft_length
    if config.server.engine == "running" and wanted.why != "no repeats" and wanted.why != "range too wide":
        start = f"with draft length {length}" if length else "without speculation"
        raise UsageError(f"{config.server.url} was started elsewhere; start it {start} and measure it with `eval`")
    method = config.method
    if config.server.engine != "running":
        method = Method(name="none") if not length else msgspec.structs.replace(method, draft_length=length)
    base = resolve(msgspec.structs.replace(config, method=method, repeat=0))
    enough = sweep([base], repeats=len(known) + wanted.runs)
    return [one for one in enough if config_hash(one) not in known][: wanted.runs]
