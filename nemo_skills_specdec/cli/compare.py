"""`ns-specdec compare`: is it better, by how much, and is that more than noise?"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._streams import write_json, write_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from nemo_skills_specdec.compare.breakdown import By, Slice
    from nemo_skills_specdec.compare.comparison import ComparedGroup, Comparison
    from nemo_skills_specdec.compare.pareto import ParetoPoint
    from nemo_skills_specdec.compare.published import NearResult

GATES, ANSWERS, OUTPUT = "Thresholds", "Answers", "Output"


class AllowedKey(str, Enum):
    """Differences that may be accepted."""

    prompts = "prompts"
    sampling = "sampling"
    max_tokens = "max_tokens"
    concurrency = "concurrency"
    load = "load"
    model = "model"
    validity = "validity"


class BreakdownKey(str, Enum):
    """What acceptance may be shown by."""

    category = "category"
    sub_category = "sub_category"
    language = "language"
    turn = "turn"
    prompt_length = "prompt_length"
    output_position = "output_position"


class Undecided(str, Enum):
    """What a threshold that the measurements do not decide amounts to."""

    passes = "pass"
    fails = "fail"


def compare(
    baseline: Annotated[Path, typer.Argument(help="Run directory, or a study or folder with its repeats.")],
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, studies or folders; repeats are found.")
    ],
    baseline_repeat: Annotated[list[Path] | None, typer.Option(help="Another run of the baseline; repeatable.")] = None,
    allow: Annotated[
        list[AllowedKey] | None, typer.Option(help="Compare even though this differs; repeatable.")
    ] = None,
    significance: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Probability of a false verdict to accept.")
    ] = 0.05,
    run_noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Relative run-to-run noise of timings to assume without repeats.")
    ] = 0.1,
    max_al_drop: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Maximum relative drop of AL.", rich_help_panel=GATES),
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option(min=0.0, help="Minimum ratio of tok/s per user.", rich_help_panel=GATES)
    ] = None,
    min_system_speedup: Annotated[
        float | None, typer.Option(min=0.0, help="Minimum ratio of tok/s of the system.", rich_help_panel=GATES)
    ] = None,
    undecided: Annotated[
        Undecided, typer.Option(help="How to treat a threshold that lies inside the interval.", rich_help_panel=GATES)
    ] = Undecided.passes,
    slo: Annotated[
        str | None,
        typer.Option(help="Also compare goodput under these bounds, e.g. ttft=200ms,tpot=30ms."),
    ] = None,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Compare answers too: is speculation lossless?", rich_help_panel=ANSWERS)
    ] = False,
    itself: Annotated[
        list[Path] | None,
        typer.Option("--self", help="Another run of the baseline: what rounding changes.", rich_help_panel=ANSWERS),
    ] = None,
    by: Annotated[
        list[BreakdownKey] | None,
        typer.Option(help="Show acceptance of every run by this; repeatable.", rich_help_panel=OUTPUT),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs of the server: show tok/s per user and per GPU.", rich_help_panel=OUTPUT),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Show the nearest published results.", rich_help_panel=OUTPUT)
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Write comparison.json and comparison.md into this folder.", rich_help_panel=OUTPUT),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the thresholds to this file as JUnit XML.", rich_help_panel=OUTPUT)
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print comparison.json on stdout and nothing else.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Compare runs with a baseline, prompt by prompt, with the noise of prompts and of runs in every interval.

    Exit code 1 if a threshold is violated or speculation changes answers, 2 if the runs were not measured alike.
    """
    import msgspec

    from nemo_skills_specdec.compare.breakdown import KEYS as BREAKDOWNS
    from nemo_skills_specdec.compare.breakdown import breakdown
    from nemo_skills_specdec.compare.comparability import KEYS
    from nemo_skills_specdec.compare.comparison import How, compare_groups
    from nemo_skills_specdec.compare.gate import Thresholds
    from nemo_skills_specdec.compare.outputs import changed, with_outputs
    from nemo_skills_specdec.compare.pareto import pareto
    from nemo_skills_specdec.compare.published import nearest
    from nemo_skills_specdec.compare.repeats import runs_in
    from nemo_skills_specdec.compare.selection import select
    from nemo_skills_specdec.measurement.speed_options import parse_slo

    how = How(
        significance=significance,
        run_noise=run_noise,
        slo=parse_slo(slo) if slo is not None else None,
        thresholds=Thresholds(max_al_drop=max_al_drop, min_speedup=min_speedup, min_system_speedup=min_system_speedup),
    )
    allowed = [key for key in KEYS if AllowedKey(key) in (allow or ())]
    chosen = select([baseline, *(baseline_repeat or ())], runs, allowed)
    comparisons = [compare_groups(one.baseline, one.run, how, one.accepted) for one in chosen]
    if outputs:
        again = [run for path in itself or () for run in runs_in(path)]
        comparisons = [
            with_outputs(found, one.baseline, one.run, again) for found, one in zip(comparisons, chosen, strict=True)
        ]
    groups = list({id(group): group for one in chosen for group in (one.baseline, one.run)}.values())
    keys = [key for key in BREAKDOWNS if BreakdownKey(key) in (by or ())]
    parts = {key: {group.label: breakdown(group.runs[0].rows, key) for group in groups} for key in keys}
    points = pareto(groups, gpus=gpus) if gpus is not None else []
    near = {one.run.label: nearest(one.run) for one in chosen} if published else {}
    encoded = msgspec.json.encode(
        {"comparisons": comparisons, "breakdowns": parts, "pareto": points, "published": near}
    )
    _write(comparisons, encoded, output_dir, junit)
    if json_output:
        write_json(encoded)
    else:
        _show(comparisons)
        _show_parts(parts, points)
        _show_published(near)
    outcomes = {result.outcome for one in comparisons for result in one.thresholds}
    failing = {"violated", "undecided"} if undecided is Undecided.fails else {"violated"}
    if outcomes & failing or any(map(changed, comparisons)):
        raise typer.Exit(1)


def _write(comparisons: Sequence[Comparison], encoded: bytes, output_dir: Path | None, junit: Path | None) -> None:
    import msgspec

    from nemo_skills_specdec.compare.junit import junit_xml
    from nemo_skills_specdec.compare.markdown import comparison_markdown
    from nemo_skills_specdec.files import write_atomically

    if output_dir is not None:
        write_atomically(output_dir / "comparison.json", msgspec.json.format(encoded, indent=2) + b"\n")
        text = "\n".join(map(comparison_markdown, comparisons))
        write_atomically(output_dir / "comparison.md", text.encode())
    if junit is not None:
        write_atomically(junit, junit_xml(comparisons))


def _show(comparisons: Sequence[Comparison]) -> None:
    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.compare.outputs import outputs_text
    from nemo_skills_specdec.compare.wording import reasons_of, threshold_text
    from nemo_skills_specdec.report.terminal import findings_lines

    console = screen()
    for comparison in comparisons:
        for name, side in (("baseline", comparison.baseline), ("run", comparison.run)):
            console.print(f"{name:8}  {_side(side)}")
        same = "" if comparison.same_text is None else f", {comparison.same_text:.0%} with the same text"
        console.print(f"{comparison.prompts} prompts answered by all runs{same}")
        console.print(_total_table(comparison))
        if comparison.categories:
            console.print("\nby category, with the verdict where there is one; intervals are in comparison.md")
            console.print(_category_table(comparison))
        if by_run := [change.title for change in comparison.overall if change.noise == ["runs"]]:
            console.print(
                f"intervals of {', '.join(by_run)} hold only noise from run to run, not the choice of prompts"
            )
        for reason, titles in reasons_of(comparison.overall).items():
            console.print(f"{', '.join(titles)}: {reason}")
        for said in outputs_text(comparison):
            console.print(said)
        for result in comparison.thresholds:
            console.print(threshold_text(result))
        for line in findings_lines(comparison.findings):
            console.print(line)
        console.print()


def _show_parts(parts: Mapping[By, Mapping[str, Sequence[Slice]]], points: Sequence[ParetoPoint]) -> None:
    from nemo_skills_specdec.cli._screen import screen

    console = screen()
    for key, by_group in parts.items():
        for label, slices in by_group.items():
            if not slices:
                continue
            console.print(f"{label}: acceptance by {key}")
            table = _empty_table(key, "prompts", "D", "AL", "95% CI", "tok/s per user")
            for part in slices:
                interval = f"{part.interval.low:.2f}-{part.interval.high:.2f}" if part.interval else "-"
                speed = f"{part.user_tokens_per_second:.1f}" if part.user_tokens_per_second else "-"
                length = f"{part.acceptance_length:.3f}" if part.acceptance_length else "-"
                table.add_row(part.name, str(part.prompts), str(part.num_drafts or "-"), length, interval, speed)
            console.print(table)
            console.print()
    if points:
        table = _empty_table("configuration", "tok/s per user", "tok/s per GPU", "not beaten")
        table.columns[0].max_width = 60
        for point in points:
            speeds = (f"{point.user_tokens_per_second:.1f}", f"{point.gpu_tokens_per_second:.1f}")
            table.add_row(point.label, *speeds, "yes" if point.best else "")
        console.print(table)


def _show_published(near: Mapping[str, Sequence[NearResult]]) -> None:
    for label, results in near.items():
        write_line(f"published results nearest to {label}:")
        for one in results:
            result = one.result
            length = f"AL {result.acceptance_length:.2f}" if result.acceptance_length is not None else "AL not told"
            speedup = f", speedup {result.speedup:.2f}" if result.speedup is not None else ""
            drafter = f" ({result.drafter})" if result.drafter else ""
            told = f"{result.target}, {result.method}{drafter}, {result.prompts}: {length}{speedup}"
            write_line(f"  {told}  {result.source}")
            write_line(f"    differs in {'; '.join(one.differences)}")


def _total_table(comparison: Comparison) -> Table:
    from nemo_skills_specdec.compare.wording import UNKNOWN, change_text, interval_text, value_text

    table = _empty_table("figure", "baseline", "run", "change", f"{100 * (1 - comparison.significance):g}% CI")
    table.add_column("verdict", no_wrap=True)
    for change in comparison.overall:
        if change.run is not None:
            table.add_row(
                change.title,
                value_text(change, change.baseline),
                value_text(change, change.run),
                change_text(change),
                interval_text(change),
                change.verdict if change.p_value is not None else UNKNOWN,
            )
    return table


def _category_table(comparison: Comparison) -> Table:
    from nemo_skills_specdec.compare.wording import change_text, value_text

    titles = [change.title for change in next(iter(comparison.categories.values()))]
    table = _empty_table("category", "AL", "", *titles)
    for name, changes in comparison.categories.items():
        words = [f" {change.verdict}" if change.verdict != "not distinguishable" else "" for change in changes]
        table.add_row(
            name,
            value_text(changes[0], changes[0].baseline),
            value_text(changes[0], changes[0].run),
            *(change_text(change) + word for change, word in zip(changes, words, strict=True)),
        )
    return table


def _empty_table(head: str, *names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(head, no_wrap=True, overflow="ellipsis", max_width=19)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _side(group: ComparedGroup) -> str:
    count = len(group.directories)
    return f"{group.label} ({group.directories[0] if count == 1 else f'{count} runs'})"
