"""The command line as typer sees it."""

from __future__ import annotations

import typer

from nemo_skills_specdec import __version__
from nemo_skills_specdec.cli._commands import SETTINGS, LazyGroup
from nemo_skills_specdec.cli._streams import write_line

app = typer.Typer(
    name="ns-specdec",
    cls=LazyGroup,
    help="Measures speculative decoding on a live vLLM, SGLang or llama.cpp server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        write_line(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Measures speculative decoding on a live vLLM, SGLang or llama.cpp server."""
