"""Options about an engine that we start, shared by `eval`, `experiment` and `sweep`."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemo_skills_specdec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ENGINE = "Engine started here"


class DraftMethod(str, Enum):
    """Where drafts come from, in the words that hold for every engine."""

    none = "none"
    ngram = "ngram"
    draft_model = "draft_model"
    eagle = "eagle"
    eagle3 = "eagle3"
    mtp = "mtp"
    suffix = "suffix"
    dflash = "dflash"


EnginePython = Annotated[
    str | None,
    typer.Option(
        help="Python of the environment that has the engine. Default: the engine on the PATH.", rich_help_panel=ENGINE
    ),
]
DraftModel = Annotated[
    str | None, typer.Option(help="Path or Hub name of the drafter, for methods with one.", rich_help_panel=ENGINE)
]
TensorParallelSize = Annotated[int | None, typer.Option(min=1, help="GPUs of the model.", rich_help_panel=ENGINE)]
DraftTensorParallelSize = Annotated[
    int | None, typer.Option(min=1, help="GPUs of the drafter (vLLM).", rich_help_panel=ENGINE)
]
GpuMemoryUtilization = Annotated[
    float | None,
    typer.Option(help="Share of the GPU's memory (SGLang: --mem-fraction-static).", rich_help_panel=ENGINE),
]
MaxNumSeqs = Annotated[int | None, typer.Option(min=1, help="Requests decoded together.", rich_help_panel=ENGINE)]
MaxModelLen = Annotated[int | None, typer.Option(min=1, help="Context in tokens.", rich_help_panel=ENGINE)]
EnforceEager = Annotated[bool, typer.Option("--enforce-eager", help="No CUDA graphs.", rich_help_panel=ENGINE)]
Dtype = Annotated[str | None, typer.Option(help="Number format of the weights.", rich_help_panel=ENGINE)]
Port = Annotated[int | None, typer.Option(help="Port. Default: a free one.", rich_help_panel=ENGINE)]
EngineArgs = Annotated[
    str | None,
    typer.Option(help="Further arguments, as one text, passed on as they stand; they win.", rich_help_panel=ENGINE),
]
EngineEnv = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE for the engine's environment; may be repeated.", rich_help_panel=ENGINE),
]
ReadyTimeout = Annotated[
    float | None, typer.Option(help="Seconds that loading may take (1800).", rich_help_panel=ENGINE)
]


def server_fields(
    *,
    python: str | None,
    tensor_parallel_size: int | None,
    gpu_memory_utilization: float | None,
    max_num_seqs: int | None,
    max_model_len: int | None,
    enforce_eager: bool,
    dtype: str | None,
    port: int | None,
    arguments: str | None,
    environment: list[str] | None,
    ready_timeout: float | None,
) -> dict[str, Any]:
    """The fields of `ServerOptions` that were given.

    Raises:
        UsageError: the arguments or the environment cannot be read.
    """
    fields: dict[str, Any] = {
        "python": python,
        "tensor_parallel_size": tensor_parallel_size,
        "gpu_memory_utilization": gpu_memory_utilization,
        "max_num_seqs": max_num_seqs,
        "max_model_len": max_model_len,
        "enforce_eager": enforce_eager or None,
        "dtype": dtype,
        "port": port,
        "arguments": _split(arguments),
        "environment": _pairs(environment),
        "ready_timeout_seconds": ready_timeout,
    }
    return {name: value for name, value in fields.items() if value is not None}


@contextlib.contextmanager
def show_waiting(console: Console, name: str) -> Iterator[Callable[[float, str], None]]:
    """Shows a server that is starting: seconds and its last line; without a terminal, a line now and then."""
    told = 0.0

    def tell(seconds: float, line: str) -> None:
        nonlocal told
        line = _COLOURS.sub("", line)
        text = f"{name}: {seconds:.0f} s"
        if status is not None:
            status.update(f"{text}  {line[: max(console.width - len(text) - 8, 0)]}")
        elif seconds - told > 30:
            told = seconds
            console.print(f"{text}  {line}", style="dim", markup=False)

    console.print(f"{name} ...", style="dim", markup=False)
    with console.status(name) if console.is_terminal else contextlib.nullcontext() as status:
        yield tell


def _split(text: str | None) -> list[str] | None:
    try:
        return None if text is None else shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--engine-args cannot be split ({error}); quote it as for a shell") from error


def _pairs(items: list[str] | None) -> dict[str, str] | None:
    if not items:
        return None
    pairs = [item.partition("=") for item in items]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise UsageError(f"--engine-env {wrong[0]} is not NAME=VALUE")
    return {name: value for name, _, value in pairs}
