"""Options about what a study runs, shared by `experiment` and `sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

RUNS, PROMPTS, REQUEST, LOAD, OUTPUT = "Runs", "Prompts", "Requests", "Load", "Output"


class StudyEngine(str, Enum):
    """Engines that a study can start."""

    vllm = "vllm"
    sglang = "sglang"
    llamacpp = "llamacpp"
    embedded = "embedded"


ModelPath = Annotated[
    str | None,
    typer.Option("--model", help="A model that no study names: folder or Hub name.", rich_help_panel=RUNS),
]
ServerUrl = Annotated[
    str | None, typer.Option(help="Measure this running server, as it is set up.", rich_help_panel=RUNS)
]
SkipBaseline = Annotated[
    bool, typer.Option("--skip-baseline", help="No run without speculation.", rich_help_panel=RUNS)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print every command, and run nothing.", rich_help_panel=RUNS)]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Make runs again that failed before.", rich_help_panel=RUNS)
]
BenchmarkName = Annotated[
    str | None,
    typer.Option("--benchmark", help="mini (built in), emulated, or one made by `prepare`.", rich_help_panel=PROMPTS),
]
BenchmarkConfig = Annotated[
    str | None, typer.Option("--config", help="Of a prompt set that has several.", rich_help_panel=PROMPTS)
]
DataDir = Annotated[Path | None, typer.Option(help="Folder given when preparing.", rich_help_panel=PROMPTS)]
PromptsFile = Annotated[Path | None, typer.Option("--prompts", help="A JSONL file instead.", rich_help_panel=PROMPTS)]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="Only this one; may be repeated.", rich_help_panel=PROMPTS)
]
LimitPerCategory = Annotated[
    int | None, typer.Option(min=1, help="Only the first N prompts of each.", rich_help_panel=PROMPTS)
]
NumPrompts = Annotated[
    int | None,
    typer.Option(min=1, help="At most N prompts, taken in turn from the categories.", rich_help_panel=PROMPTS),
]
PromptTokens = Annotated[int | None, typer.Option(min=1, help="Length of emulated prompts.", rich_help_panel=PROMPTS)]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer (256).", rich_help_panel=REQUEST)]
Temperature = Annotated[float | None, typer.Option(min=0.0, help="0 is greedy (0).", rich_help_panel=REQUEST)]
TopP = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Nucleus.", rich_help_panel=REQUEST)]
Seed = Annotated[int | None, typer.Option(help="Sampling seed of every request.", rich_help_panel=REQUEST)]
IgnoreEos = Annotated[
    bool,
    typer.Option("--ignore-eos", help="Write on after the end; misstates acceptance.", rich_help_panel=REQUEST),
]
MaxSeconds = Annotated[float | None, typer.Option(help="Start no prompt later than this.", rich_help_panel=LOAD)]
Warmup = Annotated[
    int | None,
    typer.Option(
        min=1, help="Requests before the window. Default: as many as will be in flight.", rich_help_panel=LOAD
    ),
]
LoadGenerator = Annotated[
    str | None,
    typer.Option("--load", help="client (our own) or guidellm, from an environment of its own.", rich_help_panel=LOAD),
]
GuidellmPython = Annotated[
    str | None, typer.Option(help="Python of the environment that has guidellm.", rich_help_panel=LOAD)
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        help="Study directory; one that exists is taken up again. Default: results/<time>-<name>.",
        rich_help_panel=OUTPUT,
    ),
]
JsonOutput = Annotated[
    bool, typer.Option("--json", help="Print the summary as JSON, nothing else.", rich_help_panel=OUTPUT)
]


def base_of(*, warmup: int | None, **parts: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked of every run, in the words of a run's file; parts of which nothing was said are left out."""
    given = {name: without_gaps(part) for name, part in parts.items()}
    return {**{name: part for name, part in given.items() if part}, **without_gaps({"warmup": warmup})}


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
