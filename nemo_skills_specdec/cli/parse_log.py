"""`ns-specdec parse-log`: a vLLM server log to acceptance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._streams import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from nemo_skills_specdec.logs.analysis import CounterComparison, LogAnalysis
    from nemo_skills_specdec.logs.figures import LogAcceptance


def parse_log(
    file: Annotated[Path, typer.Argument(help="Log of one or several vLLM servers.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write acceptance_analysis.txt and acceptance_analysis.json into this folder.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Ignore lines before this time, e.g. '11-22 19:16:20'.")] = None,
    until: Annotated[str | None, typer.Option(help="Ignore lines after this time.")] = None,
    metrics_before: Annotated[
        Path | None,
        typer.Option(help="/metrics text from the start of the window to compare with [default: counters of 0]."),
    ] = None,
    metrics_after: Annotated[
        Path | None, typer.Option(help="/metrics text from the end of the window to compare with.")
    ] = None,
) -> None:
    """Compute acceptance from a vLLM server log: interval-weighted rates, with rounding bounds."""
    from nemo_skills_specdec.errors import UsageError
    from nemo_skills_specdec.logs.analysis import analyse_log

    if metrics_before is not None and metrics_after is None:
        raise UsageError("--metrics-before needs --metrics-after, the counters at the end of the window")
    analysis = analyse_log(file, since=since, until=until, before=metrics_before, after=metrics_after)
    body = _body(analysis)
    if output is not None:
        _write(output, analysis, body)
    if json_output:
        write_json(body.encode())
    else:
        _show(analysis)


def _body(analysis: LogAnalysis) -> str:
    import msgspec

    # The figures of the whole log stand at the top, as in every other acceptance result.
    whole = msgspec.to_builtins(analysis)
    figures = whole.pop("acceptance")
    return msgspec.json.encode({**figures, **whole}).decode()


def _write(folder: Path, analysis: LogAnalysis, body: str) -> None:
    from nemo_skills_specdec.errors import UsageError
    from nemo_skills_specdec.logs.text import acceptance_analysis_text

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "acceptance_analysis.txt").write_text(acceptance_analysis_text(analysis.acceptance), encoding="utf-8")
        (folder / "acceptance_analysis.json").write_text(body + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}; give another --output") from error


def _show(analysis: LogAnalysis) -> None:
    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.report.terminal import findings_lines

    console = screen()
    _table(console, analysis.acceptance)
    for name, acceptance in analysis.servers.items():
        console.print(f"\n{name or '(no name)'}")
        _table(console, acceptance)
    if analysis.comparison is not None:
        _comparison(console, analysis.comparison)
    for line in findings_lines(analysis.acceptance.findings):
        console.print(line)


def _table(console: Console, acceptance: LogAcceptance) -> None:
    from rich.table import Table

    from nemo_skills_specdec.logs.text import vector

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    bounds, length = acceptance.acceptance_length_bounds, acceptance.acceptance_length
    drafts = acceptance.num_drafts_bounds
    steps = acceptance.num_drafts if acceptance.num_drafts is not None or drafts is None else f"{drafts[0]}-{drafts[1]}"
    printed = acceptance.printed_length_estimate
    rows = {
        "intervals": f"{acceptance.num_intervals}, {acceptance.first_time or '?'} to {acceptance.last_time or '?'}",
        "draft tokens T": str(acceptance.num_draft_tokens),
        "accepted tokens A": str(acceptance.num_accepted_tokens),
        "verification steps D": "unknown" if steps is None else str(steps),
        "acceptance length AL": ("unknown" if length is None else f"{length:.4f}")
        + (f"  rounding allows {bounds.low:.4f}-{bounds.high:.4f}" if bounds and bounds.low != bounds.high else ""),
        "AL from printed lengths": "unknown" if printed is None else f"{printed:.4f}",
        "acceptance rate AR": "unknown" if acceptance.acceptance_rate is None else f"{acceptance.acceptance_rate:.4f}",
        "rate per position": vector(acceptance.per_position_acceptance_rates),
        "conditional rate": vector(acceptance.conditional_acceptance_rates),
        "T-weighted rate": vector(acceptance.drafted_weighted_rates),
        "T-weighted conditional": vector(acceptance.drafted_weighted_conditional_rates),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _comparison(console: Console, comparison: CounterComparison) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("log", "counters", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, figure in comparison.figures.items():
        both = None if figure.log is None or figure.counters is None else figure.log - figure.counters
        table.add_row(name, _number(figure.log), _number(figure.counters), _number(both, signed=True))
    console.print()
    console.print(table)
    console.print(comparison.explanation)


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    sign = "+" if signed else ""
    return f"{value:{sign}d}" if isinstance(value, int) else f"{value:{sign}.4f}"
