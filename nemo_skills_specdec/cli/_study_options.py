"""Options about what a study runs, shared by `experiment` and `sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from nemo_skills_specdec.cli._engine_options import EngineFlags, MethodChoice, server_fields
from nemo_skills_specdec.cli._prompt_options import PROMPTS, PromptFlags
from nemo_skills_specdec.option_groups import one_of

RUNS, REQUEST, LOAD, OUTPUT = "Runs", "Requests", "Load", "Output"


StudyEngine = Literal["vllm", "sglang", "llamacpp", "embedded"]
"""Engines that a study can start."""


class StudyFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about which runs to make."""

    model: Annotated[str | None, typer.Option(help="Model to run: folder or Hub name.", rich_help_panel=RUNS)] = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this method; repeatable. Default: the study's.",
            rich_help_panel=RUNS,
            **one_of(MethodChoice),
        ),
    ] = None
    repeats: Annotated[
        int,
        typer.Option(min=1, help="Repeat every run N times, in turns; a speed claim takes 3.", rich_help_panel=RUNS),
    ] = 1
    skip_baseline: Annotated[
        bool, typer.Option("--skip-baseline", help="Skip the baseline run (without speculation).", rich_help_panel=RUNS)
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands without running them.", rich_help_panel=RUNS)
    ] = False
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Rerun failed runs.", rich_help_panel=RUNS)] = (
        False
    )


class StudyPromptFlags(PromptFlags, frozen=True, kw_only=True):
    """Options about the prompts of a study."""

    num_prompts: Annotated[
        int | None,
        typer.Option(min=1, help="At most N prompts, taken round-robin from the categories.", rich_help_panel=PROMPTS),
    ] = None
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of emulated prompts, in tokens.", rich_help_panel=PROMPTS)
    ] = None


class SamplingFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about every request; what is not given is left to the files of runs."""

    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum tokens per answer (256).", rich_help_panel=REQUEST)
    ] = None
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy (0).", rich_help_panel=REQUEST)
    ] = None
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Nucleus sampling probability.", rich_help_panel=REQUEST)
    ] = None
    seed: Annotated[int | None, typer.Option(help="Sampling seed of every request.", rich_help_panel=REQUEST)] = None
    ignore_eos: Annotated[
        bool,
        typer.Option("--ignore-eos", help="Keep generating past EOS (biases acceptance).", rich_help_panel=REQUEST),
    ] = False


class LoadFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about how the prompts are sent, but for those that a sweep varies."""

    max_seconds: Annotated[
        float | None, typer.Option(help="Stop starting prompts after this many seconds.", rich_help_panel=LOAD)
    ] = None
    warmup: Annotated[
        int | None,
        typer.Option(
            min=1, help="Warm-up requests before the measurement. Default: the number in flight.", rich_help_panel=LOAD
        ),
    ] = None
    fresh_cache: Annotated[
        bool,
        typer.Option(
            "--fresh-cache",
            help="Empty a running server's prefix cache before each run; repetitions always do.",
            rich_help_panel=LOAD,
        ),
    ] = False
    load: Annotated[
        str | None,
        typer.Option(
            help="Load generator: client (built in) or guidellm (in its own environment).", rich_help_panel=LOAD
        ),
    ] = None
    guidellm_python: Annotated[
        str | None, typer.Option(help="Python of the environment that has guidellm.", rich_help_panel=LOAD)
    ] = None


class OutputFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about what a study leaves."""

    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Study directory; an existing one is resumed. Default: a new one in results/.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else.", rich_help_panel=OUTPUT)
    ] = False


def base_of(
    engine: EngineFlags,
    prompts: StudyPromptFlags,
    sampling: SamplingFlags,
    load: LoadFlags,
    *,
    draft_length: int | None = None,
    concurrency: int | None = None,
    request_rate: float | None = None,
) -> dict[str, Any]:
    """What was asked of every run, in the words of a run's file; parts of which nothing was said are left out.

    Raises:
        UsageError: the engine's arguments or environment cannot be read.
    """
    parts: dict[str, Mapping[str, Any]] = {
        "server": server_fields(engine),
        "method": {"draft_length": draft_length, "draft_tensor_parallel_size": engine.draft_tensor_parallel_size},
        "benchmark": {
            "name": prompts.benchmark,
            "config": prompts.config,
            "data_dir": prompts.data_dir,
            "prompts": prompts.prompts,
            "categories": prompts.category,
            "limit_per_category": prompts.limit_per_category,
            "num_prompts": prompts.num_prompts,
            "prompt_tokens": prompts.prompt_tokens,
        },
        "sampling": msgspec.structs.asdict(sampling),
        "load": {
            "concurrency": concurrency,
            "request_rate": request_rate,
            "max_seconds": load.max_seconds,
            "generator": load.load,
            "guidellm_python": load.guidellm_python,
        },
    }
    given = {name: without_gaps(part) for name, part in parts.items()}
    own = without_gaps({"warmup": load.warmup, "fresh_cache": load.fresh_cache})
    return {**{name: part for name, part in given.items() if part}, **own}


def without_gaps(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given: not None, not False, not an empty list."""
    return {
        name: (str(value) if isinstance(value, Path) else value)
        for name, value in fields.items()
        if value is not None and value is not False and value != []
    }


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
