"""The commands by name. A command's module is loaded when the command is called: a name and a line do for the list."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

SETTINGS = {"help_option_names": ["-h", "--help"]}


class _Home(NamedTuple):
    """Where a command is: its module, its function in it, and what the list of commands says about it."""

    module: str
    function: str
    about: str


COMMANDS = {
    "eval": _Home(
        "eval", "eval_command", "Send prompts to a server and measure how many of its draft tokens are accepted."
    ),
    "doctor": _Home(
        "doctor",
        "doctor",
        "What is this server, and where can acceptance be read? Exits with 1 if certainly nowhere.",
    ),
    "report": _Home(
        "report",
        "report",
        "Write a report: one HTML file that needs no network, the same as Markdown, and the figures as CSV.",
    ),
    "compare": _Home(
        "compare",
        "compare",
        "Compare runs with a baseline, prompt by prompt, with the noise of prompts and of runs in every interval.",
    ),
    "advise": _Home(
        "advise",
        "advise",
        "Advise on the draft length: AL of every length, cost of a draft token, predicted speedup, and how sure that is.",  # noqa: E501
    ),
    "diff": _Home("diff", "diff", "Acceptance between two saved /metrics texts of one server."),
    "publish": _Home("publish", "publish", "Publish a finished run: figures with intervals, settings and categories."),
    "watch": _Home("watch", "watch", "Watch the acceptance of running servers from their counters; no prompt is sent."),
    "grafana": _Home(
        "grafana", "grafana", "Write a Grafana dashboard to import, and recording and alerting rules for Prometheus."
    ),
    "serve": _Home(
        "serve", "serve", "Serve the embedded engine: a small real one for machines without a GPU. Stop it with Ctrl-C."
    ),
    "prepare": _Home(
        "prepare",
        "prepare",
        "Prepare a prompt set: rows in NeMo-Skills' shape, and a manifest that records where each comes from.",
    ),
    "verify": _Home(
        "verify",
        "verify",
        "Check prepared prompts: counts, ids, placeholders, hashes, tokens. Exits 1 if they are not fit for use.",
    ),
    "export": _Home("export", "export", "Write prepared prompts in another tool's format; prints the files written."),
    "experiment": _Home(
        "experiment",
        "experiment",
        "Run a study: every method on every model, always against a baseline without speculation.",
    ),
    "sweep": _Home(
        "sweep",
        "sweep",
        "Sweep over loads and draft lengths, with a baseline at every load; the server restarts only when it must "
        "change.",
    ),
    "parse-log": _Home(
        "parse_log",
        "parse_log",
        "Compute acceptance from a vLLM server log: interval-weighted rates, with rounding bounds.",
    ),
    "tree": _Home("tree", "tree", "Build the draft tree of N nodes with the largest expected acceptance length."),
}
"""In the order of the list."""


class LazyGroup(TyperGroup):
    """Knows all commands, and loads the one that is called."""

    def __init__(self, **settings: Any) -> None:
        """Fills in the names."""
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=home.about) for name, home in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, with its options."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, loaded(name) if name is not None else None, rest


def loaded(name: str) -> Any:
    """A command with its options."""
    home = COMMANDS[name]
    module = import_module(f"nemo_skills_specdec.cli.{home.module}")
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=SETTINGS)
    single.command(name)(getattr(module, home.function))
    return typer.main.get_command(single)
