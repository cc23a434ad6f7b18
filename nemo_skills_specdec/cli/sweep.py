"""`ns-specdec sweep`: one server under many loads, one model at many draft lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nemo_skills_specdec.cli import _engine_options as engine_options
from nemo_skills_specdec.cli import _study_options as study_options
from nemo_skills_specdec.cli._engine_options import DraftMethod
from nemo_skills_specdec.cli._study_options import LOAD, RUNS, StudyEngine
from nemo_skills_specdec.errors import UsageError


def sweep(
    study: Annotated[
        str | None, typer.Argument(help="A study by name, such as embedded, small or llama3_1_8b.")
    ] = None,
    server_url: study_options.ServerUrl = None,
    model: study_options.ModelPath = None,
    engine: Annotated[StudyEngine, typer.Option(help="Engine to start.", rich_help_panel=RUNS)] = StudyEngine.vllm,
    method: Annotated[
        list[DraftMethod] | None,
        typer.Option(help="Only this method; may be repeated. Default: the study's.", rich_help_panel=RUNS),
    ] = None,
    draft_length: Annotated[
        str | None, typer.Option(help="Draft lengths, such as 1..7 or 1,3,5.", rich_help_panel=RUNS)
    ] = None,
    concurrency: Annotated[
        str | None, typer.Option(help="Prompts in flight, such as 1,4,16,64.", rich_help_panel=LOAD)
    ] = None,
    request_rate: Annotated[
        str | None, typer.Option(help="Prompts started per second, such as 0.5,1,2.", rich_help_panel=LOAD)
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Make every run so many times.", rich_help_panel=RUNS)] = 1,
    skip_baseline: study_options.SkipBaseline = False,
    dry_run: study_options.DryRun = False,
    retry_failed: study_options.RetryFailed = False,
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
    max_seconds: study_options.MaxSeconds = None,
    warmup: study_options.Warmup = None,
    load: study_options.LoadGenerator = None,
    guidellm_python: study_options.GuidellmPython = None,
    output_dir: study_options.OutputDir = None,
    json_output: study_options.JsonOutput = False,
) -> None:
    """Sweep over loads and draft lengths, with a baseline at every load; the server restarts only when it must change.

    The same command with the same --output-dir goes on where it stopped.
    """
    if sum(item is not None for item in (study, server_url, model)) != 1:
        raise UsageError("say what to sweep: the name of a study, or --model, or --server-url (exactly one of them)")
    from nemo_skills_specdec.cli import _study_run
    from nemo_skills_specdec.cli._study_plan import Wanted, plan, running
    from nemo_skills_specdec.experiments.parts import Refused
    from nemo_skills_specdec.experiments.sweep import numbers, whole_numbers
    from nemo_skills_specdec.experiments.sweep import sweep as multiply

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
        method={"draft_tensor_parallel_size": draft_tensor_parallel_size},
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
        load={"max_seconds": max_seconds, "generator": load, "guidellm_python": guidellm_python},
        warmup=warmup,
    )
    no_refusal: list[Refused] = []
    if server_url is not None:
        if method or draft_model or skip_baseline:
            raise UsageError("a running server is measured as it is set up; drop method, drafter and --skip-baseline")
        runs, refused = [running(server_url, base)], no_refusal
    else:
        runs, refused = plan(
            Wanted(
                names=[study] if study is not None else [],
                model=model,
                draft_model=draft_model,
                engines=[engine.value],
                methods=[item.value for item in method or []],
                skip_baseline=skip_baseline,
                base=base,
            )
        )
    runs = multiply(
        runs,
        draft_lengths=whole_numbers(draft_length, "--draft-length") if draft_length is not None else (),
        concurrencies=whole_numbers(concurrency, "--concurrency") if concurrency is not None else (),
        request_rates=numbers(request_rate, "--request-rate") if request_rate is not None else (),
        repeats=repeats,
    )
    if dry_run:
        _study_run.dry_run(runs, refused)
        return
    name = study or (Path(model).name if model is not None else "server")
    _study_run.run(
        runs,
        refused,
        output_dir or _study_run.default_directory(f"sweep-{name}"),
        retry_failed=retry_failed,
        json_output=json_output,
    )
