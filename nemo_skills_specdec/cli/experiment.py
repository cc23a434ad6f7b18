"""`ns-specdec experiment`: many runs and their summary."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from nemo_skills_specdec.cli import _engine_options as engine_options
from nemo_skills_specdec.cli import _study_options as study_options
from nemo_skills_specdec.cli._engine_options import DraftMethod
from nemo_skills_specdec.cli._study_options import RUNS, StudyEngine
from nemo_skills_specdec.errors import UsageError

CONFIG_SUFFIXES = (".yaml", ".yml", ".json")


def experiment(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="A study by name (embedded, small, qwen2_7b, llama3, all, ...), files of runs (YAML or JSON), or "
            "Hydra overrides such as model=qwen2_7b method=none,ngram."
        ),
    ] = None,
    configs: Annotated[
        list[str] | None, typer.Option(help="Files of runs, one or several.", rich_help_panel=RUNS)
    ] = None,
    group: Annotated[list[str] | None, typer.Option(help="A study by name.", rich_help_panel=RUNS)] = None,
    engine: Annotated[
        list[StudyEngine] | None,
        typer.Option(help="Engine of a study; may be repeated. Default: vllm.", rich_help_panel=RUNS),
    ] = None,
    method: Annotated[
        list[DraftMethod] | None,
        typer.Option(help="Only this method; may be repeated. Default: the study's.", rich_help_panel=RUNS),
    ] = None,
    model: study_options.ModelPath = None,
    draft_length: Annotated[
        int | None, typer.Option(min=1, help="Draft tokens per step. Default: the method's.", rich_help_panel=RUNS)
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Make every run so many times.", rich_help_panel=RUNS)] = 1,
    skip_baseline: study_options.SkipBaseline = False,
    dry_run: study_options.DryRun = False,
    retry_failed: study_options.RetryFailed = False,
    multirun: Annotated[
        bool,
        typer.Option("--multirun", "-m", help="Hydra: a run for each combination of values.", rich_help_panel=RUNS),
    ] = False,
    draft_model: engine_options.DraftModel = None,
    engine_python: engine_options.EnginePython = None,
    tensor_parallel_size: engine_options.TensorParallelSize = None,
    draft_tensor_parallel_size: engine_options.DraftTensorParallelSize = None,
    gpu_memory_utilization: engine_options.GpuMemoryUtilization = None,
    max_num_seqs: engine_options.MaxNumSeqs = None,
    max_model_len: engine_options.MaxModelLen = None,
    enforce_eager: engine_options.EnforceEager = False,
    dtype: engine_options.Dtype = None,
    port: engine_options.Port = None,
    engine_args: engine_options.EngineArgs = None,
    engine_env: engine_options.EngineEnv = None,
    ready_timeout: engine_options.ReadyTimeout = None,
    benchmark: study_options.BenchmarkName = None,
    config: study_options.BenchmarkConfig = None,
    data_dir: study_options.DataDir = None,
    prompts: study_options.PromptsFile = None,
    category: study_options.Categories = None,
    limit_per_category: study_options.LimitPerCategory = None,
    num_prompts: study_options.NumPrompts = None,
    prompt_tokens: study_options.PromptTokens = None,
    max_tokens: study_options.MaxTokens = None,
    temperature: study_options.Temperature = None,
    top_p: study_options.TopP = None,
    seed: study_options.Seed = None,
    ignore_eos: study_options.IgnoreEos = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Prompts in flight at most (8).", rich_help_panel=study_options.LOAD)
    ] = None,
    request_rate: Annotated[
        float | None, typer.Option(help="Prompts started per second.", rich_help_panel=study_options.LOAD)
    ] = None,
    max_seconds: study_options.MaxSeconds = None,
    warmup: study_options.Warmup = None,
    load: study_options.LoadGenerator = None,
    guidellm_python: study_options.GuidellmPython = None,
    output_dir: study_options.OutputDir = None,
    json_output: study_options.JsonOutput = False,
) -> None:
    """Run a study: every method on every model, always against a baseline without speculation.

    What is finished stays finished: the same command with the same --output-dir goes on where it stopped.
    """
    given = [*(targets or []), *(configs or [])]
    if not given and not group and model is None:
        raise UsageError("nothing to run; name a study, e.g. `ns-specdec experiment embedded`, or give a file")
    base = study_options.base_of(
        server=engine_options.server_fields(
            python=engine_python,
            tensor_parallel_size=tensor_parallel_size,
            gpu_memory_utilization=gpu_memory_utilization,
            max_num_seqs=max_num_seqs,
            max_model_len=max_model_len,
            enforce_eager=enforce_eager,
            dtype=dtype,
            port=port,
            arguments=engine_args,
            environment=engine_env,
            ready_timeout=ready_timeout,
        ),
        method={"draft_length": draft_length, "draft_tensor_parallel_size": draft_tensor_parallel_size},
        benchmark={
            "name": benchmark,
            "config": config,
            "data_dir": data_dir,
            "prompts": prompts,
            "categories": category,
            "limit_per_category": limit_per_category,
            "num_prompts": num_prompts,
            "prompt_tokens": prompt_tokens,
        },
        sampling={
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "ignore_eos": ignore_eos,
        },
        load={
            "concurrency": concurrency,
            "request_rate": request_rate,
            "max_seconds": max_seconds,
            "generator": load,
            "guidellm_python": guidellm_python,
        },
        warmup=warmup,
    )
    if any(_is_override(target) for target in given):
        _hydra(given, base, group, model, multirun=multirun, dry_run=dry_run, output_dir=output_dir, json=json_output)
        return
    from nemo_skills_specdec.cli import _study_run
    from nemo_skills_specdec.cli._study_plan import Wanted, plan
    from nemo_skills_specdec.experiments.sweep import sweep

    files = [Path(target) for target in given if target.endswith(CONFIG_SUFFIXES)]
    names = [*(group or []), *(target for target in given if not target.endswith(CONFIG_SUFFIXES))]
    engines = [item.value for item in engine or []] or (["vllm", "sglang"] if dry_run else ["vllm"])
    runs, refused = plan(
        Wanted(
            files=files,
            names=names,
            model=model,
            draft_model=draft_model,
            engines=engines,
            methods=[item.value for item in method or []],
            skip_baseline=skip_baseline,
            base=base,
        )
    )
    runs = sweep(runs, repeats=repeats)
    if dry_run:
        _study_run.dry_run(runs, refused)
        return
    name = [*names, *(file.stem for file in files), Path(model or "study").name][0]
    _study_run.run(
        runs,
        refused,
        output_dir or _study_run.default_directory(name),
        retry_failed=retry_failed,
        json_output=json_output,
    )


def _is_override(target: str) -> bool:
    return "=" in target and not target.endswith(CONFIG_SUFFIXES)


def _hydra(
    overrides: list[str],
    base: dict[str, Any],
    group: list[str] | None,
    model: str | None,
    *,
    multirun: bool,
    dry_run: bool,
    output_dir: Path | None,
    json: bool,
) -> None:
    if base or group or model:
        raise UsageError("options and Hydra overrides do not mix; say everything as key=value, e.g. load.concurrency=4")
    if stray := [target for target in overrides if "=" not in target]:
        raise UsageError(f"{stray[0]} is no Hydra override; a study by name and overrides do not mix")
    from nemo_skills_specdec.cli import _study_run
    from nemo_skills_specdec.experiments.hydra_app import run_hydra

    if dry_run:
        # Hydra makes a folder for every job, even for one that does nothing.
        with tempfile.TemporaryDirectory(prefix="ns-specdec-") as folder:
            run_hydra(overrides, Path(folder), multirun=multirun, dry_run=True)
        return
    study = output_dir or _study_run.default_directory("study")
    outcome = run_hydra(overrides, study, multirun=multirun)
    _study_run.finish(study, outcome, json_output=json)
