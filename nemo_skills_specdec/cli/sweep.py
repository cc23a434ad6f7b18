"""`ns-specdec sweep`: one server under many loads, one model at many draft lengths."""

from __future__ import annotations

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
)
from nemo_skills_specdec.cli._view import ViewFlags
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.option_groups import spread


@spread
def sweep(
    *,
    study: Annotated[
        str | None, typer.Argument(help="A study by name, such as embedded, small or llama3_1_8b.")
    ] = None,
    server_url: Annotated[
        str | None, typer.Option(help="Measure this running server as it is configured.", rich_help_panel=RUNS)
    ] = None,
    engine: Annotated[StudyEngine, typer.Option(help="Engine to start.", rich_help_panel=RUNS)] = "vllm",
    draft_length: Annotated[
        str | None, typer.Option(help="Draft lengths, such as 1..7 or 1,3,5.", rich_help_panel=RUNS)
    ] = None,
    runs: StudyFlags,
    tls: TlsFlags,
    server: EngineFlags,
    prompts: StudyPromptFlags,
    sampling: SamplingFlags,
    concurrency: Annotated[
        str | None, typer.Option(help="Prompts in flight, such as 1,4,16,64.", rich_help_panel=LOAD)
    ] = None,
    request_rate: Annotated[
        str | None, typer.Option(help="Prompts started per second, such as 0.5,1,2.", rich_help_panel=LOAD)
    ] = None,
    sending: LoadFlags,
    output: OutputFlags,
    view: ViewFlags,
) -> None:
    """Sweep over loads and draft lengths, with a baseline at every load; the server restarts only when it must change.

    Rerun with the same --output-dir to resume.
    """
    if sum(item is not None for item in (study, server_url, runs.model)) != 1:
        raise UsageError("choose what to sweep: the name of a study, or --model, or --server-url (exactly one of them)")
    from nemo_skills_specdec.cli import _study_run
    from nemo_skills_specdec.cli._study_plan import Wanted, plan, running
    from nemo_skills_specdec.studies.one_run import default_directory
    from nemo_skills_specdec.studies.parts import Refused
    from nemo_skills_specdec.studies.sweep import numbers, whole_numbers
    from nemo_skills_specdec.studies.sweep import sweep as multiply

    base = base_of(server, prompts, sampling, sending)
    no_refusal: list[Refused] = []
    if server_url is None and tls != TlsFlags():
        raise UsageError("--ca-file and --insecure are for a running server; give its --server-url")
    if server_url is not None:
        if runs.method or server.draft_model or runs.skip_baseline:
            raise UsageError(
                "a running server is measured as it is configured; drop method, drafter and --skip-baseline"
            )
        configs, refused = [running(server_url, base, tls_fields(tls))], no_refusal
    else:
        configs, refused = plan(
            Wanted(
                names=[study] if study is not None else [],
                model=runs.model,
                drafters=server.draft_model or (),
                engines=[engine],
                methods=list(runs.method or []),
                skip_baseline=runs.skip_baseline,
                base=base,
            )
        )
    configs = multiply(
        configs,
        draft_lengths=whole_numbers(draft_length, "--draft-length") if draft_length is not None else (),
        concurrencies=whole_numbers(concurrency, "--concurrency") if concurrency is not None else (),
        request_rates=numbers(request_rate, "--request-rate") if request_rate is not None else (),
        repeats=runs.repeats,
    )
    if runs.dry_run:
        _study_run.dry_run(configs, refused)
        return
    name = study or (Path(runs.model).name if runs.model is not None else "server")
    _study_run.run(
        configs,
        refused,
        output.output_dir or default_directory(f"sweep-{name}"),
        retry_failed=runs.retry_failed,
        view=view,
        json_output=output.json_output,
    )
