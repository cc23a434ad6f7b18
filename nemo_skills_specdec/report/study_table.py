"""The summary of a study as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from nemo_skills_specdec.report.terminal import WIDE


def print_study(summary: Mapping[str, Any], console: Console) -> None:
    """Prints one line a run, then what is missing. `summary` is what `summary.json` holds."""
    rows = [row for row in summary["rows"] if row["category"] == "overall"]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    names = list(dict.fromkeys((row["model"], row["engine"], row["engine_version"]) for row in rows))
    if len(names) == 1:
        console.print(" ".join(str(part) for part in names[0] if part), markup=False)
    else:
        table.add_column("model", overflow="fold")
        table.add_column("engine", overflow="fold")
    for name in ("method", "load"):
        table.add_column(name, no_wrap=True)
    wide = console.width >= WIDE
    ttft, interval = (["TTFT ms"], ["95% CI"]) if wide else ([], [])
    for name in ("tok/s", "ms/tok", *ttft, "AL", *interval, "tok/step", "AR %"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("speedup user", "total"):
        # In 80 columns an interval stands in a line of its own, but whole.
        table.add_column(name, justify="right", min_width=9)
    for row in rows:
        table.add_row(
            *([row["model"], row["engine"]] if len(names) > 1 else []),
            _method(row),
            _load(row),
            _number(row["output_tokens_per_second"], 1),
            _number(row["ms_per_token_mean"], 2),
            *([_number(row["ttft_ms_p50"], 0)] if wide else []),
            _number(row["acceptance_length"], 2),
            *([_interval(row, "acceptance_length")] if wide else []),
            _number(row["tokens_per_step"], 2),
            _number(_percent(row["acceptance_rate"]), 1),
            _with_interval(row, "speedup_user"),
            _with_interval(row, "speedup_total"),
        )
    console.print(table)
    _print_repeated(summary, console)
    without: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["speedup_reason"] and row["speedup_user"] is None and row["method"] != "none":
            lacking = "speedup" if row["speedup_total"] is None else "user speedup"
            without.setdefault((lacking, row["speedup_reason"]), []).append(f"{_method(row)} {_load(row)}")
    for (lacking, reason), runs in without.items():
        console.print(f"no {lacking} of {', '.join(runs)}: {reason}", markup=False)
    for item in summary["not_done"]:
        console.print(f"{item['state']}: {item['run']}: {(item['error'] or '-').splitlines()[0]}", markup=False)


def _print_repeated(summary: Mapping[str, Any], console: Console) -> None:
    """Speedups over all repetitions, or that the noise from run to run is not known."""
    repeated = [item for item in summary["repeated"] if item["speedup"] is not None]
    if repeated:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("over all repeats", no_wrap=True)
        table.add_column("load", no_wrap=True)
        for name in ("runs", "speedup user", "total"):
            table.add_column(name, justify="right")
        for item in repeated:
            found = item["speedup"]
            cells = [_estimate(found[name], found[f"{name}_interval"]) for name in ("user", "total")]
            table.add_row(item["method"], item["load"], f"{found['runs']}", *cells)
        console.print(table)
        console.print("Intervals over all repeats hold the noise from run to run too.", markup=False)
    if summary["noise_unknown"]:
        console.print(
            "Noise from run to run is unknown, and in no interval of a run made once; give --repeats 3.", markup=False
        )


def _estimate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" {interval[0]:.2f}-{interval[1]:.2f}" if interval else "")


def _method(row: Mapping[str, Any]) -> str:
    length = f" k{row['draft_length']}" if row["draft_length"] else ""
    repeat = f" #{row['repeat']}" if row["repeat"] else ""
    drafter = f" {row['drafter']}" if row.get("drafter") else ""
    return f"{row['method']}{length}{drafter}{repeat}"


def _load(row: Mapping[str, Any]) -> str:
    parts = [f"c{row['concurrency']}"] if row["concurrency"] else []
    parts += [f"{row['request_rate']:g}/s"] if row["request_rate"] else []
    return " ".join(parts)


def _interval(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"{low:.2f}-{high:.2f}"


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.2f}" + (f" {low:.2f}-{high:.2f}" if low is not None else "")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
