"""`ns-specdec eval`: the main job."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemo_skills_specdec.cli._engine_options import DraftMethod, EngineFlags, server_fields
from nemo_skills_specdec.cli._prompt_options import PromptFlags
from nemo_skills_specdec.errors import JSON_ERRORS, UsageError
from nemo_skills_specdec.option_groups import spread

if TYPE_CHECKING:
    from nemo_skills_specdec.client.exchange import LoadOptions
    from nemo_skills_specdec.records import Finding, PromptRow

SERVER, REQUEST, LOAD, OUTPUT, OWN = (
    "Server",
    "Requests",
    "Load",
    "Output",
    "Server of our own (no --server-url)",
)


class ServerType(str, Enum):
    """Engines that can be told apart."""

    vllm = "vllm"
    sglang = "sglang"
    llamacpp = "llamacpp"


class Launch(str, Enum):
    """Servers that `eval` can start itself."""

    embedded = "embedded"
    llamacpp = "llamacpp"
    vllm = "vllm"
    sglang = "sglang"


class Dialect(str, Enum):
    """Whose metrics the embedded engine speaks."""

    vllm = "vllm"
    sglang = "sglang"


class Api(str, Enum):
    """OpenAI endpoints."""

    chat = "chat"
    completions = "completions"


class Arrival(str, Enum):
    """Spacing of a request rate."""

    poisson = "poisson"
    constant = "constant"


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
            help="Where /metrics is, if not at the server URL. Repeat it for every replica behind a router.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    server_type: Annotated[
        ServerType | None, typer.Option(help="Engine, if a router hides it.", rich_help_panel=SERVER)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model name. Default: the first the server lists.", rich_help_panel=SERVER)
    ] = None,
    api_key_env: Annotated[
        str,
        typer.Option(help="Environment variable that holds the API key, if any.", rich_help_panel=SERVER),
    ] = "SPECDEC_API_KEY",
    request_metrics_dir: Annotated[
        Path | None,
        typer.Option(
            help="SGLang's --export-metrics-to-file-dir, if it can be read from here.", rich_help_panel=SERVER
        ),
    ] = None,
    prompts: PromptFlags,
    api: Annotated[Api, typer.Option(help="Endpoint.", rich_help_panel=REQUEST)] = Api.chat,
    stream: Annotated[
        bool, typer.Option(help="Stream answers; needed for TTFT and TPOT.", rich_help_panel=REQUEST)
    ] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.", rich_help_panel=REQUEST)] = 256,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 is greedy. Printed with every result.", rich_help_panel=REQUEST)
    ] = 0.0,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Nucleus.", rich_help_panel=REQUEST)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Sampling seed sent with every request.", rich_help_panel=REQUEST)
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Samples per request.", rich_help_panel=REQUEST)] = 1,
    ignore_eos: Annotated[
        bool,
        typer.Option("--ignore-eos", help="Write on after the end; misstates acceptance.", rich_help_panel=REQUEST),
    ] = False,
    chat_template_kwargs: Annotated[
        str | None, typer.Option(help="JSON object, e.g. '{\"enable_thinking\": false}'.", rich_help_panel=REQUEST)
    ] = None,
    extra_body: Annotated[
        str | None, typer.Option(help="JSON object merged into every request; wins.", rich_help_panel=REQUEST)
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Prompts in flight at most.", rich_help_panel=LOAD)
    ] = None,
    request_rate: Annotated[
        float | None,
        typer.Option(
            help="Prompts started per second; without --concurrency there is no limit in flight.", rich_help_panel=LOAD
        ),
    ] = None,
    arrival: Annotated[
        Arrival, typer.Option(help="Spacing of the request rate.", rich_help_panel=LOAD)
    ] = Arrival.poisson,
    warmup: Annotated[
        int | None,
        typer.Option(
            min=1, help="Requests before the window. Default: as many as will be in flight.", rich_help_panel=LOAD
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one request.", rich_help_panel=LOAD)] = 600.0,
    max_seconds: Annotated[
        float | None, typer.Option(help="Start no prompt later than this.", rich_help_panel=LOAD)
    ] = None,
    by_category: Annotated[
        bool | None,
        typer.Option(
            help="One category after the other, each with snapshots of its own. Default: only if the server gives no "
            "per-request statistics.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Run directory. Default: results/<time>-<benchmark>.", rich_help_panel=OUTPUT)
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print metrics.json on stdout, nothing else.", rich_help_panel=OUTPUT)
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a finding says the numbers are invalid.", rich_help_panel=OUTPUT),
    ] = False,
    bootstrap_seed: Annotated[int, typer.Option(min=0, help="Seed of the intervals.", rich_help_panel=OUTPUT)] = 0,
    launch: Annotated[
        Launch,
        typer.Option(
            help="Which server to start: the embedded engine, llama.cpp with SmolLM2-135M, or vLLM or SGLang with "
            "--model, from an environment of their own.",
            rich_help_panel=OWN,
        ),
    ] = Launch.embedded,
    dialect: Annotated[
        Dialect, typer.Option(help="Metrics of the embedded engine.", rich_help_panel=OWN)
    ] = Dialect.vllm,
    method: Annotated[
        DraftMethod | None,
        typer.Option(
            help="Drafts. Default: draft_model (embedded), none (vLLM, SGLang), ngram (llama.cpp).",
            rich_help_panel=OWN,
        ),
    ] = None,
    draft_length: Annotated[int, typer.Option(min=1, help="Draft tokens per step.", rich_help_panel=OWN)] = 3,
    engine: EngineFlags,
) -> None:
    """Send prompts to a server and measure how many of its drafts are accepted.

    Without --server-url a small engine is started on this machine, so that the first numbers need nothing else.
    """
    from nemo_skills_specdec.cli import _eval_run
    from nemo_skills_specdec.client.exchange import RequestOptions

    if server_url is not None and (method is not None or launch is not Launch.embedded):
        raise UsageError("--launch and --method are for a server of our own; drop them, or drop --server-url")
    name, rows, remarks = _rows(prompts)
    request = RequestOptions(
        model=model or "",
        api=api.value,
        stream=stream,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        n=n,
        ignore_eos=ignore_eos,
        chat_template_kwargs=_json_object(chat_template_kwargs, "--chat-template-kwargs"),
        extra_body=_json_object(extra_body, "--extra-body"),
    )
    load = _load(concurrency, request_rate, arrival.value, timeout, max_seconds, bootstrap_seed)
    _eval_run.run(
        _eval_run.Job(
            benchmark=name,
            rows=rows,
            remarks=remarks,
            server_url=server_url,
            metrics_urls=tuple(metrics_url or ()),
            server_type=server_type.value if server_type else None,
            api_key_env=api_key_env,
            request_files=request_metrics_dir,
            request=request,
            load=load,
            warmup=warmup,
            by_category=by_category,
            output_dir=output_dir,
            json_output=json_output,
            strict=strict,
            seed=bootstrap_seed,
            launch=launch.value,
            dialect=dialect.value,
            method=method.value if method else None,
            draft_length=draft_length,
            draft_model=engine.draft_model,
            draft_tensor_parallel_size=engine.draft_tensor_parallel_size,
            engine=server_fields(engine),
        )
    )


def _rows(wanted: PromptFlags) -> tuple[str, list[PromptRow], list[Finding]]:
    """Name, prompts, and what is to be said about them."""
    from nemo_skills_specdec.prompts.load import load_with_findings

    if wanted.benchmark is not None and wanted.prompts is not None:
        raise UsageError("--benchmark and --prompts exclude each other; give one of them")
    loaded = load_with_findings(
        wanted.prompts or wanted.benchmark or "mini",
        config=wanted.config,
        data_dir=wanted.data_dir,
        categories=wanted.category or (),
        limit_per_category=wanted.limit_per_category,
    )
    return loaded.name, loaded.rows, loaded.findings


def _load(
    concurrency: int | None,
    request_rate: float | None,
    arrival: Any,
    timeout: float,
    max_seconds: float | None,
    seed: int,
) -> LoadOptions:
    from nemo_skills_specdec.client.exchange import LoadOptions

    if concurrency is None and request_rate is None:
        concurrency = 8
    return LoadOptions(
        concurrency=concurrency,
        request_rate=request_rate,
        arrival=arrival,
        timeout_seconds=timeout,
        max_seconds=max_seconds,
        seed=seed,
    )


def _json_object(text: str | None, option: str) -> dict[str, Any]:
    import msgspec

    if text is None:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except JSON_ERRORS as error:
        raise UsageError(f"{option} is not a JSON object ({error}); write e.g. '{{\"key\": 1}}'") from error
