"""The command line, `ns-specdec`. One file a command; each imports what it needs when it is called."""

from __future__ import annotations

import sys

import typer

from nemo_skills_specdec import __version__
from nemo_skills_specdec.cli._streams import forgiving_streams, write_line
from nemo_skills_specdec.cli.advise import advise
from nemo_skills_specdec.cli.compare import compare
from nemo_skills_specdec.cli.diff import diff
from nemo_skills_specdec.cli.doctor import doctor
from nemo_skills_specdec.cli.eval import eval_command
from nemo_skills_specdec.cli.experiment import experiment
from nemo_skills_specdec.cli.export import export
from nemo_skills_specdec.cli.grafana import grafana
from nemo_skills_specdec.cli.parse_log import parse_log
from nemo_skills_specdec.cli.prepare import prepare
from nemo_skills_specdec.cli.publish import publish
from nemo_skills_specdec.cli.report import report
from nemo_skills_specdec.cli.serve import serve
from nemo_skills_specdec.cli.sweep import sweep
from nemo_skills_specdec.cli.tree import tree
from nemo_skills_specdec.cli.verify import verify
from nemo_skills_specdec.cli.watch import watch
from nemo_skills_specdec.errors import SpecdecError
from nemo_skills_specdec.redaction import redacted

app = typer.Typer(
    name="ns-specdec",
    help="Measures speculative decoding on a live vLLM, SGLang or llama.cpp server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("eval")(eval_command)
app.command()(doctor)
app.command()(report)
app.command()(compare)
app.command()(advise)
app.command()(diff)
app.command()(publish)
app.command()(watch)
app.command()(grafana)
app.command()(serve)
app.command()(prepare)
app.command()(verify)
app.command()(export)
app.command()(experiment)
app.command()(sweep)
app.command()(parse_log)
app.command()(tree)


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


def main() -> None:
    """Runs the command line: one line on stderr and exit code 2 for what the user can mend, 130 after Ctrl-C."""
    with forgiving_streams():
        try:
            app()
        except SpecdecError as error:
            write_line(f"ns-specdec: {redacted(str(error)).removesuffix('.')}", stderr=True)
            sys.exit(2)
        except KeyboardInterrupt:
            write_line("ns-specdec: interrupted", stderr=True)
            sys.exit(130)
