"""`ns-specdec experiment`: many runs and their summary."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from nemo_skills_specdec.cli._engine_options import EngineFlags, TlsFlags, tls_fields
from nemo_skills_specdec.cli._study_options import (
    LOAD,
    RUNS,
    LoadFlags,
    OutputFlags,
    SamplingFlags,
    StudyEngine,
    StudyFlags,
    StudyPromptFlags,
    base_of,
    merged,
)
from nemo_skills_specdec.cli._view import ViewFlags
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.option_groups import one_of, spread

CONFIG_SUFFIXES = (".yaml", ".yml", ".json")


@spread
def experiment(
    *,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="A study by name (embedded, small, qwen2_7b, llama3, all, ...), files of runs (YAML or JSON), or "
            "Hydra overrides such as model=qwen2_7b method=none,ngram."
        ),
    ] = None,
    configs: Annotated[
        list[str] | None, typer.Option(help="Files of runs (YAML or JSON).", rich_help_panel=RUNS)
    ] = None,
    group: Annotated[list[str] | None, typer.Option(help="A study by name.", rich_help_panel=RUNS)] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Engine of a study; repeatable. Default: vllm.", rich_help_panel=RUNS, **one_of(StudyEngine)),
    ] = None,
    draft_length: Annotated[
        int | None, typer.Option(min=1, help="Draft tokens per step. Default: the method's.", rich_help_panel=RUNS)
    ] = None,
    multirun: Annotated[
        bool,
        typer.Option(
            "--multirun", "-m", help="Hydra multirun: one run for each combination of values.", rich_help_panel=RUNS
        ),
    ] = False,
    runs: StudyFlags,
    tls: TlsFlags,
    server: EngineFlags,
    prompts: StudyPromptFlags,
    sampling: SamplingFlags,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of prompts in flight (8).", rich_help_panel=LOAD)
    ] = None,
    request_rate: Annotated[
        float | None, typer.Option(help="Prompts started per second.", rich_help_panel=LOAD)
    ] = None,
    sending: LoadFlags,
    output: OutputFlags,
    view: ViewFlags,
) -> None:
    """Run a study: every method on every model, always against a baseline without speculation.

    Rerun with the same --output-dir to resume; finished runs are kept.
    """
    given = [*(targets or []), *(configs or [])]
    if not given and not group and runs.model is None:
        raise UsageError("nothing to run; name a study, e.g. `ns-specdec experiment embedded`, or give a file")
    base = base_of(
        server,
        prompts,
        sampling,
        sending,
        draft_length=draft_length,
        concurrency=concurrency,
        request_rate=request_rate,
    )
    if own := tls_fields(tls):
        base = merged(base, {"server": own})
    if any(_is_override(target) for target in given):
        if base or group or runs.model:
            raise UsageError(
                "options and Hydra overrides do not mix; write everything as key=value, e.g. load.concurrency=4"
            )
        _hydra(given, multirun=multirun, dry_run=runs.dry_run, output=output, view=view)
        return
    from nemo_skills_specdec.cli import _study_run
    from nemo_skills_specdec.cli._study_plan import Wanted, plan
    from nemo_skills_specdec.studies.one_run import default_directory
    from nemo_skills_specdec.studies.sweep import sweep

    files = [Path(target) for target in given if target.endswith(CONFIG_SUFFIXES)]
    names = [*(group or []), *(target for target in given if not target.endswith(CONFIG_SUFFIXES))]
    engines = list(engine or []) or (["vllm", "sglang"] if runs.dry_run else ["vllm"])
    planned, refused = plan(
        Wanted(
            files=files,
            names=names,
            model=runs.model,
            drafters=server.draft_model or (),
            engines=engines,
            methods=list(runs.method or []),
            skip_baseline=runs.skip_baseline,
            base=base,
        )
    )
    planned = sweep(planned, repeats=runs.repeats)
    if runs.dry_run:
        _study_run.dry_run(planned, refused)
        return
    name = [*names, *(file.stem for file in files), Path(runs.model or "study").name][0]
    _study_run.run(
        planned,
        refused,
        output.output_dir or default_directory(name),
        retry_failed=runs.retry_failed,
        view=view,
        json_output=output.json_output,
    )


def _is_override(target: str) -> bool:
    return "=" in target and not target.endswith(CONFIG_SUFFIXES)


def _hydra(overrides: list[str], *, multirun: bool, dry_run: bool, output: OutputFlags, view: ViewFlags) -> None:
    if stray := [target for target in overrides if "=" not in target]:
        raise UsageError(f"{stray[0]} is not a Hydra override; a study by name and overrides do not mix")
    from nemo_skills_specdec.cli import _study_run
    from nemo_skills_specdec.studies.hydra_app import run_hydra
    from nemo_skills_specdec.studies.one_run import default_directory

    if dry_run:
        # Hydra makes a folder for every job, even for one that does nothing.
        with tempfile.TemporaryDirectory(prefix="ns-specdec-") as folder:
            run_hydra(overrides, Path(folder), multirun=multirun, dry_run=True)
        return
    study = output.output_dir or default_directory("study")
    outcome = run_hydra(overrides, study, multirun=multirun)
    _study_run.finish(study, outcome, view=view, json_output=output.json_output)
