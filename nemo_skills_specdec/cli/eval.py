"""`ns-specdec eval`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nemo_skills_specdec.cli._choices import ServerType
from nemo_skills_specdec.cli._engine_options import (
    EngineFlags,
    MethodChoice,
    TlsFlags,
    only_drafter,
    server_fields,
    tls_fields,
)
from nemo_skills_specdec.cli._prompt_options import PromptFlags, benchmark_of
from nemo_skills_specdec.cli._view import ViewFlags
from nemo_skills_specdec.errors import JSON_ERRORS, UsageError
from nemo_skills_specdec.option_groups import spread

if TYPE_CHECKING:
    from nemo_skills_specdec.launch.methods import MethodName

SERVER, REQUEST, LOAD, OUTPUT, OWN = (
    "Server",
    "Requests",
    "Load",
    "Output",
    "Server to start (without --server-url)",
)


Launch = Literal["embedded", "llamacpp", "vllm", "sglang"]

OWN_METHODS: dict[str, MethodName] = {"embedded": "draft_model", "llamacpp": "ngram"}
"""What the servers that bring their model along speculate with, unless told otherwise."""


@spread
def eval_command(
    *,
    server_url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of a running server, with or without /v1. Without it, one is started.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    metrics_url: Annotated[
        list[str] | None,
        typer.Option(
            help="URL of /metrics, if not below the server URL. Repeat for every replica behind a router.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    server_type: Annotated[
        ServerType | None, typer.Option(help="Engine type, if a router hides it.", rich_help_panel=SERVER)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model name. Default: the first one that the server lists.", rich_help_panel=SERVER),
    ] = None,
    api_key_env: Annotated[
        str,
        typer.Option(help="Environment variable that holds the API key, if any.", rich_help_panel=SERVER),
    ] = "SPECDEC_API_KEY",
    request_metrics_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of SGLang's request-metric files, if readable from this machine.", rich_help_panel=SERVER
        ),
    ] = None,
    tls: TlsFlags,
    prompts: PromptFlags,
    api: Annotated[
        Literal["chat", "completions"], typer.Option(help="API endpoint.", rich_help_panel=REQUEST)
    ] = "chat",
    stream: Annotated[
        bool, typer.Option(help="Stream answers; needed for TTFT and TPOT.", rich_help_panel=LOAD)
    ] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens per answer.", rich_help_panel=REQUEST)] = 256,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.", rich_help_panel=REQUEST)
    ] = 0.0,
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Nucleus sampling probability.", rich_help_panel=REQUEST)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Sampling seed sent with every request.", rich_help_panel=REQUEST)
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Samples per request.", rich_help_panel=REQUEST)] = 1,
    logprobs: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=20,
            help="Store log-probabilities of the tokens and of N alternatives.",
            rich_help_panel=REQUEST,
        ),
    ] = None,
    ignore_eos: Annotated[
        bool,
        typer.Option("--ignore-eos", help="Keep generating past EOS (biases acceptance).", rich_help_panel=REQUEST),
    ] = False,
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option(
            help="Arguments of the chat template, as a JSON object.",
            rich_help_panel=REQUEST,
        ),
    ] = None,
    extra_body: Annotated[
        str | None,
        typer.Option(help="JSON object merged into every request; overrides other options.", rich_help_panel=REQUEST),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of prompts in flight.", rich_help_panel=LOAD)
    ] = None,
    request_rate: Annotated[
        float | None,
        typer.Option(
            help="Prompts started per second; without --concurrency, any number may be in flight.", rich_help_panel=LOAD
        ),
    ] = None,
    arrival: Annotated[
        Literal["poisson", "constant"], typer.Option(help="Arrival process of --request-rate.", rich_help_panel=LOAD)
    ] = "poisson",
    warmup: Annotated[
        int | None,
        typer.Option(
            min=1, help="Warm-up requests before the measurement. Default: the number in flight.", rich_help_panel=LOAD
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Timeout of one request, in seconds.", rich_help_panel=LOAD)] = 600.0,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop starting prompts after this many seconds.", rich_help_panel=LOAD)
    ] = None,
    by_category: Annotated[
        bool | None,
        typer.Option(
            help="Measure one category after the other, each in its own window. Default: only if the server gives no "
            "per-request statistics.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    fresh_cache: Annotated[
        bool,
        typer.Option(
            "--fresh-cache",
            help="Empty the server's prefix cache before the run, where the engine can.",
            rich_help_panel=LOAD,
        ),
    ] = False,
    percentiles: Annotated[
        str | None,
        typer.Option(help="Percentiles of the latencies to show. Default: 50,90,99.", rich_help_panel=OUTPUT),
    ] = None,
    slo: Annotated[
        str | None,
        typer.Option(
            help="Count requests within these bounds as goodput, e.g. ttft=200ms,e2e=5s.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    steady_state: Annotated[
        bool,
        typer.Option(
            "--steady-state",
            help="Also report speed without ramp-up and tail (fewer than --concurrency in flight).",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    repeats: Annotated[
        int,
        typer.Option(
            min=1,
            help="Measure N times, each in a window of its own with the prompts shuffled and caches emptied, and show "
            "the spread from run to run.",
            rich_help_panel=LOAD,
        ),
    ] = 1,
    output_dir: Annotated[
        Path | None, typer.Option(help="Run directory. Default: a new one in results/.", rich_help_panel=OUTPUT)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Resume this run directory, with the options it was started with; others are ignored.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print metrics.json on stdout and nothing else.", rich_help_panel=OUTPUT)
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a finding says the numbers are invalid.", rich_help_panel=OUTPUT),
    ] = False,
    max_failed: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Fraction of failed requests above which the numbers are invalid.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0.05,
    bootstrap_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the bootstrap intervals.", rich_help_panel=OUTPUT)
    ] = 0,
    launch: Annotated[
        Launch,
        typer.Option(
            help="Server to start: the embedded engine, llama.cpp with SmolLM2-135M, or vLLM or SGLang with --model, "
            "from their own environment.",
            rich_help_panel=OWN,
        ),
    ] = "embedded",
    dialect: Annotated[
        Literal["vllm", "sglang"],
        typer.Option(help="API and metrics dialect of the embedded engine.", rich_help_panel=OWN),
    ] = "vllm",
    method: Annotated[
        MethodChoice | None,
        typer.Option(
            help="Speculation method. Default: draft_model (embedded), none (vLLM, SGLang), ngram (llama.cpp).",
            rich_help_panel=OWN,
        ),
    ] = None,
    draft_length: Annotated[int, typer.Option(min=1, help="Draft tokens per step.", rich_help_panel=OWN)] = 3,
    view: ViewFlags,
    engine: EngineFlags,
) -> None:
    """Send prompts to a server and measure how many of its draft tokens are accepted.

    Without --server-url, the embedded engine is started on this machine.
    """
    import msgspec

    from nemo_skills_specdec.cli import _eval_run
    from nemo_skills_specdec.launch.methods import Method
    from nemo_skills_specdec.launch.options import ServerOptions
    from nemo_skills_specdec.measurement.speed_options import parse_speed_options
    from nemo_skills_specdec.studies.config import OWN_MODEL, Load, Model, RunConfig, Sampling

    if resume is not None:
        _eval_run.resume(resume, view, json_output=json_output, strict=strict)
        return
    if server_url is not None:
        if method is not None or launch != "embedded":
            raise UsageError("--launch and --method are for a server started here; drop them, or drop --server-url")
        if engine != EngineFlags():
            raise UsageError("options of an engine are for one started here; drop them, or drop --server-url")
        server = ServerOptions(
            engine="running",
            url=server_url,
            metrics_urls=list(metrics_url or ()),
            server_type=server_type,
            api_key_env=api_key_env,
            request_files=str(request_metrics_dir) if request_metrics_dir else None,
            **tls_fields(tls),
        )
        drafts = Method(name="as_served")
    else:
        if tls != TlsFlags():
            raise UsageError("--ca-file and --insecure are for a running server; give its --server-url")
        name: MethodName = method or OWN_METHODS.get(launch, "none")
        drafts = Method(
            name=name,
            draft_length=draft_length if name != "none" else None,
            draft_model=only_drafter(engine),
            draft_tensor_parallel_size=engine.draft_tensor_parallel_size,
            prompt_lookup_min=2 if launch in OWN_METHODS else None,
        )
        server = msgspec.convert({"engine": launch, "dialect": dialect, **server_fields(engine)}, ServerOptions)
        if launch == "llamacpp" and server.max_num_seqs is None:
            server = msgspec.structs.replace(server, max_num_seqs=min(concurrency or 8, 32))
    config = RunConfig(
        model=Model(path=model or OWN_MODEL),
        method=drafts,
        server=server,
        benchmark=benchmark_of(prompts),
        sampling=Sampling(
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            n=n,
            logprobs=logprobs,
            ignore_eos=ignore_eos,
            api=api,
            stream=stream,
            chat_template_kwargs=_json_object(chat_template_kwargs, "--chat-template-kwargs"),
            extra_body=_json_object(extra_body, "--extra-body"),
        ),
        load=Load(
            concurrency=concurrency,
            request_rate=request_rate,
            arrival=arrival,
            max_seconds=max_seconds,
            timeout_seconds=timeout,
            seed=bootstrap_seed,
        ),
        warmup=warmup,
        by_category=by_category,
        seed=bootstrap_seed,
        max_failed=max_failed,
        fresh_cache=fresh_cache,
        speed=parse_speed_options(percentiles, slo, steady_state),
    )
    _eval_run.run(config, output_dir, view, repeats=repeats, json_output=json_output, strict=strict)


def _json_object(text: str | None, option: str) -> dict[str, Any]:
    import msgspec

    if text is None:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except JSON_ERRORS as error:
        raise UsageError(f"{option} is not a JSON object ({error}); write e.g. '{{\"key\": 1}}'") from error
