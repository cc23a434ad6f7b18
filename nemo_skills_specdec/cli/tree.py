"""`ns-specdec tree`: the draft tree with the largest expected acceptance length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._streams import write_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_skills_specdec.records import Message
    from nemo_skills_specdec.trees.comparison import TreeReport


def tree(
    rates: Annotated[
        Path | None,
        typer.Option(help="JSON file with acceptance by depth and rank [default: measure it on the embedded engine]."),
    ] = None,
    nodes: Annotated[str, typer.Option(help="Sizes of the trees to build, in nodes, e.g. 12,63,512.")] = "12",
    levels: Annotated[int, typer.Option(min=1, help="Maximum depth of a tree.")] = 24,
    compare: Annotated[list[Path] | None, typer.Option(help="File with a tree to compare with; repeatable.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run every tree on the embedded engine: predicted against measured AL.")
    ] = False,
    probe: Annotated[
        str | None, typer.Option(help="Tree to measure the rates with, as children per level [default: 4x2x2x1x1x1].")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL file of prompts to measure with [default: mini, small].")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens per prompt when measuring.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="Temperature when measuring; 0 is greedy.")] = 0.0,
    steps: Annotated[int, typer.Option(min=2, help="Steps of the Monte Carlo simulation of each tree.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of simulation, sampling and bootstrap intervals.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Write rates.json, trees.json and a picture of every tree into this folder.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Build the draft tree of N nodes with the largest expected acceptance length."""
    from nemo_skills_specdec.embedded.draft_tree import DraftTree, parse_tree
    from nemo_skills_specdec.errors import UsageError
    from nemo_skills_specdec.trees.comparison import compare_trees, named_tree
    from nemo_skills_specdec.trees.measured import PROBE, TreeRun, run_tree
    from nemo_skills_specdec.trees.rank_rates import read_rank_rates

    sizes = _sizes(nodes)
    others = dict(named_tree(path) for path in compare or ())
    if rates is not None and check:
        raise UsageError("--check needs rates of the embedded engine itself; leave --rates out")
    texts = _messages(prompts) if rates is None else []

    def measure(name: str, shape: DraftTree) -> TreeRun:
        write_line(f"measuring {name}", stderr=True)
        return run_tree(shape, texts, max_tokens=max_tokens, temperature=temperature, seed=seed)

    run = None
    if rates is not None:
        known = read_rank_rates(rates)
    else:
        run = measure("acceptance by depth and rank", parse_tree(probe or PROBE))
        words = "greedy" if temperature == 0 else f"temperature {temperature:g}"
        known = run.rates(source=f"embedded engine, {len(texts)} prompts, {words}")
    report = compare_trees(
        known,
        sizes=sizes,
        levels=levels,
        others=others,
        steps=steps,
        seed=seed,
        probe=run,
        measure=measure if check else None,
    )
    if output is not None:
        _write(output, report)
    if json_output:
        write_line(_encoded(report))
    else:
        _show(report)


def _sizes(text: str) -> list[int]:
    from nemo_skills_specdec.errors import UsageError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--nodes is {text!r}; write whole numbers separated by commas, e.g. 12,63,512") from error


def _messages(path: Path | None) -> list[Sequence[Message]]:
    """First turns: later ones would need the answers."""
    from nemo_skills_specdec.prompts.rows import read_rows
    from nemo_skills_specdec.prompts.sets.mini import load_mini

    rows = load_mini("small") if path is None else read_rows(path).rows
    found: list[Sequence[Message]] = []
    for row in rows:
        first = next(i for i, message in enumerate(row.messages) if message.role == "user")
        found.append(row.messages[: first + 1])
    return found


def _encoded(report: TreeReport) -> str:
    import msgspec

    return msgspec.json.encode(report).decode()


def _write(folder: Path, report: TreeReport) -> None:
    import msgspec

    from nemo_skills_specdec.embedded.draft_tree import tree_of_paths
    from nemo_skills_specdec.errors import UsageError
    from nemo_skills_specdec.trees.drawing import tree_svg
    from nemo_skills_specdec.trees.rank_rates import node_probabilities

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rates.json").write_bytes(msgspec.json.encode(report.rates) + b"\n")
        (folder / "trees.json").write_text(_encoded(report) + "\n", encoding="utf-8")
        for item in report.trees:
            shape = tree_of_paths(item.nodes)
            title = f"{item.name}: {item.num_nodes} nodes, expected AL {item.expected_acceptance_length:.3f}"
            picture = tree_svg(shape, node_probabilities(shape, report.rates), title=title)
            name = "".join(c if c.isalnum() or c in "-_." else "-" for c in item.name)
            (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}; give another --output") from error


def _show(report: TreeReport) -> None:
    from rich.table import Table
    from rich.text import Text

    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.embedded.draft_tree import tree_of_paths
    from nemo_skills_specdec.report.terminal import findings_lines
    from nemo_skills_specdec.trees.drawing import tree_text
    from nemo_skills_specdec.trees.rank_rates import node_probabilities

    console = screen()
    console.print(f"acceptance by depth and rank ({report.rates.source})")
    for depth, row in enumerate(report.rates.rates, start=1):
        console.print(f"  {depth:2d}  " + "  ".join(f"{rate:.3f}" for rate in row))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("tree", no_wrap=True)
    for name in ("nodes", "levels", "expected AL", "simulated", "measured AL", "95% CI"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in report.trees:
        found = item.prediction
        interval = found.measured_interval if found else None
        table.add_row(
            Text(item.name),
            str(item.num_nodes),
            str(item.num_levels),
            f"{item.expected_acceptance_length:.3f}",
            f"{item.simulated_acceptance_length:.3f}",
            f"{found.measured:.3f}" if found else "-",
            f"{interval.low:.3f}-{interval.high:.3f}" if interval else "-",
        )
    console.print()
    console.print(table)
    for item in report.trees:
        if item.built:
            shape = tree_of_paths(item.nodes)
            console.print(f"\n{item.name}")
            console.print(tree_text(shape, node_probabilities(shape, report.rates)))
            for engine, arguments in item.engine_arguments.items():
                console.print(f"{engine}: {arguments}", soft_wrap=True)
    for line in findings_lines(report.findings):
        console.print(line)
