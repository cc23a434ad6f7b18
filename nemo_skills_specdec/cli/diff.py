"""`ns-specdec diff`: two saved metrics texts to acceptance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._choices import ServerType
from nemo_skills_specdec.cli._streams import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_skills_specdec.engines.base import CounterReading
    from nemo_skills_specdec.records import Acceptance


def diff(
    before: Annotated[
        str,
        typer.Argument(
            help="/metrics text from the start of the window; an empty file, /dev/null or - means "
            "that all counters were 0."
        ),
    ],
    after: Annotated[str, typer.Argument(help="/metrics text from the end of the window.")],
    server_type: Annotated[ServerType | None, typer.Option(help="Engine, if the text has series of several.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if the numbers are invalid.")] = False,
) -> None:
    """Acceptance between two saved /metrics texts of one server."""
    from nemo_skills_specdec.measurement.saved_metrics import read_saved

    reading = read_saved(None if before == "-" else before, after, engine=server_type)
    _print(reading, json_output=json_output)
    if strict and any(finding.severity == "invalid" for finding in reading.findings):
        raise typer.Exit(1)


def _print(reading: CounterReading, *, json_output: bool) -> None:
    import msgspec

    from nemo_skills_specdec.measurement.saved_metrics import acceptance_between

    acceptance = acceptance_between(reading)
    if json_output:
        body = {
            **msgspec.to_builtins(acceptance),
            "engine": reading.engine,
            "traffic": msgspec.to_builtins(reading.traffic),
        }
        write_json(msgspec.json.encode(body))
        return
    _show(acceptance, reading)


def _show(acceptance: Acceptance, reading: CounterReading) -> None:
    from rich.table import Table

    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.report.terminal import findings_lines

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    bounds, rate_bounds = acceptance.acceptance_length_bounds, acceptance.acceptance_rate_bounds
    rows = {
        "engine": reading.engine or "unknown",
        "source": acceptance.source or "none",
        "verification steps D": _text(acceptance.num_drafts),
        "draft tokens T": _text(acceptance.num_draft_tokens),
        "accepted tokens A": _text(acceptance.num_accepted_tokens),
        "accepted per position": _list(acceptance.accepted_per_position),
        "acceptance length AL": _text(acceptance.acceptance_length)
        + (f"  within [{bounds.low:.4f}, {bounds.high:.4f}]" if bounds else ""),
        "acceptance rate AR": _text(acceptance.acceptance_rate)
        + (f"  within [{rate_bounds.low:.4f}, {rate_bounds.high:.4f}]" if rate_bounds else ""),
        "rate per position": _list(acceptance.per_position_acceptance_rates),
        "conditional rate": _list(acceptance.conditional_acceptance_rates),
        "tokens per decode step": _text(acceptance.tokens_per_step),
        "requests ended": _text(reading.traffic.requests),
        "generated tokens": _text(reading.traffic.generation_tokens),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = screen(width=80)
    console.print(table)
    for line in findings_lines(acceptance.findings):
        console.print(line)


def _text(value: float | None) -> str:
    return "unknown" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"


def _list(values: Sequence[float | None] | None) -> str:
    return "unknown" if values is None else " ".join("-" if value is None else _text(value) for value in values)
