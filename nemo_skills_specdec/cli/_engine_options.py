"""Options about an engine that we start, shared by `eval`, `experiment` and `sweep`."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from nemo_skills_specdec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SERVER, ENGINE = "Server", "Options of the started engine"


MethodChoice = Literal["none", "ngram", "draft_model", "eagle", "eagle3", "mtp", "suffix", "dflash"]
"""Where drafts come from, in the words that hold for every engine."""


class EngineFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about the engine and its drafter."""

    draft_model: Annotated[
        list[str] | None,
        typer.Option(
            help="Drafter (folder or Hub name), for methods that use one; a study ranks several.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    engine_python: Annotated[
        str | None,
        typer.Option(
            help="Python of the environment that has the engine. Default: the engine on the PATH.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    tensor_parallel_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Number of GPUs for the model.", rich_help_panel=ENGINE)
    ] = None
    draft_tensor_parallel_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of GPUs for the drafter (vLLM).", rich_help_panel=ENGINE),
    ] = None
    gpu_memory_utilization: Annotated[
        float | None,
        typer.Option(help="Fraction of the GPU's memory (SGLang: --mem-fraction-static).", rich_help_panel=ENGINE),
    ] = None
    max_num_seqs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Maximum number of requests decoded together.", rich_help_panel=ENGINE),
    ] = None
    max_model_len: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Context length, in tokens.", rich_help_panel=ENGINE)
    ] = None
    enforce_eager: Annotated[
        bool, typer.Option("--enforce-eager", help="Disable CUDA graphs.", rich_help_panel=ENGINE)
    ] = False
    dtype: Annotated[str | None, typer.Option(help="Data type of the weights.", rich_help_panel=ENGINE)] = None
    port: Annotated[int | None, typer.Option(help="Port. Default: a free one.", rich_help_panel=ENGINE)] = None
    engine_args: Annotated[
        str | None,
        typer.Option(
            help="Additional engine arguments as one string; they override the others.", rich_help_panel=ENGINE
        ),
    ] = None
    engine_env: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE for the engine's environment; repeatable.", rich_help_panel=ENGINE),
    ] = None
    ready_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for the server to be ready (1800).", rich_help_panel=ENGINE)
    ] = None


class TlsFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How the certificate of a running server is checked."""

    ca_file: Annotated[
        Path | None,
        typer.Option(
            help="Certificates to trust (PEM), in place of the system's and of SSL_CERT_FILE.", rich_help_panel=SERVER
        ),
    ] = None
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Do not check the server's certificate (unsafe).", rich_help_panel=SERVER),
    ] = False


def tls_fields(tls: TlsFlags) -> dict[str, Any]:
    """The fields of `ServerOptions` that were given."""
    fields = {"ca_file": str(tls.ca_file) if tls.ca_file is not None else None, "insecure": tls.insecure or None}
    return {name: value for name, value in fields.items() if value is not None}


def server_fields(engine: EngineFlags) -> dict[str, Any]:
    """The fields of `ServerOptions` that were given.

    Raises:
        UsageError: the arguments or the environment cannot be read.
    """
    fields: dict[str, Any] = {
        "python": engine.engine_python,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "max_num_seqs": engine.max_num_seqs,
        "max_model_len": engine.max_model_len,
        "enforce_eager": engine.enforce_eager or None,
        "dtype": engine.dtype,
        "port": engine.port,
        "arguments": _split(engine.engine_args),
        "environment": _pairs(engine.engine_env),
        "ready_timeout_seconds": engine.ready_timeout,
    }
    return {name: value for name, value in fields.items() if value is not None}


def only_drafter(engine: EngineFlags) -> str | None:
    """The drafter of a single run.

    Raises:
        UsageError: there are several.
    """
    if len(engine.draft_model or ()) > 1:
        raise UsageError("eval measures one drafter; give one --draft-model, or compare several with `experiment`")
    return engine.draft_model[0] if engine.draft_model else None


@contextlib.contextmanager
def show_waiting(console: Console, name: str) -> Iterator[Callable[[float, str], None]]:
    """Shows a server that is starting: seconds and its last line; without a terminal, a line now and then."""
    from rich.text import Text

    told = 0.0

    def tell(seconds: float, line: str) -> None:
        nonlocal told
        line = _COLOURS.sub("", line)
        text = f"{name}: {seconds:.0f} s"
        if status is not None:
            status.update(Text(f"{text}  {line[: max(console.width - len(text) - 8, 0)]}"))
        elif seconds - told > 30:
            told = seconds
            console.print(f"{text}  {line}", style="dim")

    console.print(f"{name} ...", style="dim")
    with console.status(Text(name)) if console.is_terminal else contextlib.nullcontext() as status:
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
