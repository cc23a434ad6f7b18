"""`ns-specdec advise`: which draft length, at which load, for which text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._streams import write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nemo_skills_specdec.compare.advice import Advice
    from nemo_skills_specdec.compare.loads import MethodAdvice


def advise(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run directories, studies or folders: several draft lengths and loads, and a run without speculation.",
        ),
    ],
    run_noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Relative run-to-run noise of timings to assume without repeats.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap intervals and simulation.")] = 0,
    run_next: Annotated[
        bool,
        typer.Option("--run-next", help="Make the runs that would firm up the advice, then advise again."),
    ] = False,
    output_dir: Annotated[Path | None, typer.Option(help="Write advice.json into this folder.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print advice.json on stdout and nothing else.")] = False,
) -> None:
    """Advise on the draft length: AL of every length, cost of a draft token, predicted speedup, and how sure that is.

    One run with a long draft gives AL of all shorter ones. Two draft lengths give the time of a step, a run without
    speculation the speedup, several loads the load at which speculation stops paying.
    """
    import msgspec

    from nemo_skills_specdec.compare.loads import advise_runs
    from nemo_skills_specdec.compare.repeats import group_runs, runs_in
    from nemo_skills_specdec.files import write_atomically

    groups = group_runs([run for path in runs for run in runs_in(path)])
    methods = advise_runs(groups, assumed_noise=run_noise, seed=seed)
    if run_next:
        from nemo_skills_specdec.cli._advise_next import measure_next

        more = measure_next(groups, [one for method in methods for one in method.next])
        groups = group_runs([*(run for group in groups for run in group.runs), *more])
        methods = advise_runs(groups, assumed_noise=run_noise, seed=seed)
    encoded = msgspec.json.encode({"methods": methods})
    if output_dir is not None:
        write_atomically(output_dir / "advice.json", msgspec.json.format(encoded, indent=2) + b"\n")
    if json_output:
        write_json(encoded)
    else:
        _show(methods)


def _show(methods: list[MethodAdvice]) -> None:
    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.compare.advice_text import paying_text

    console = screen()
    for method in methods:
        for advice in method.loads:
            _show_load(advice, console)
        if method.paying is not None:
            console.print(paying_text(method.paying, method.speedups))
        if method.next:
            console.print("for more certainty, measure next:")
            for one in method.next:
                console.print(f"  concurrency {one.concurrency or '-'}: {one.message}")
        console.print()


def _show_load(advice: Advice, console: Console) -> None:
    from nemo_skills_specdec.compare.advice_text import conclusion_text, forecast_texts, leviathan_text, step_text

    console.print(f"{advice.label}, {advice.prompts} prompts")
    if advice.not_a_chain is not None:
        console.print(f"AL of other draft lengths is not known: {advice.not_a_chain}")
    console.print(_lengths_table(advice))
    for line in (*forecast_texts(advice), step_text(advice), *conclusion_text(advice), leviathan_text(advice)):
        if line:
            console.print(line)
    if advice.categories:
        console.print(_categories_table(advice))
    console.print()


def _lengths_table(advice: Advice) -> Table:
    from nemo_skills_specdec.compare.advice_text import MILLI

    table = _table("k", "AL", "95% CI", "from k", "gain", "break-even", "TPOT ms", "predicted", "speedup")
    measured = {one.draft_length: one for one in advice.measured}
    points = {point.draft_length: point for point in advice.lengths}
    predicted = {one.draft_length: one for one in advice.predictions}
    for k in sorted({*measured, *points, *predicted}):
        point, found, guess = points.get(k), measured.get(k), predicted.get(k)
        tpot = found.tpot_seconds if found is not None else None
        table.add_row(
            str(k),
            _number(point.acceptance_length if point else found.acceptance_length if found else None),
            f"{point.interval.low:.3f}-{point.interval.high:.3f}" if point and point.interval else "-",
            str(point.measured_at) if point else "-",
            _number(point.marginal if point else None),
            f"{point.break_even_cost:.1%}" if point else "-",
            _number(tpot * MILLI if tpot else None),
            _number(guess.tpot_seconds * MILLI if guess else None),
            _number(guess.speedup if guess else None),
        )
    return table


def _categories_table(advice: Advice) -> Table:
    table = _table("category", "AL", "best k", "as good", "speedup")
    for name, found in advice.categories.items():
        best = found.best
        table.add_row(
            name,
            _number(found.acceptance_length),
            str(best.draft_length) if best else "-",
            f"{best.low} to {best.high}" if best else "-",
            _number(found.speedup),
        )
    return table


def _table(head: str, *names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(head, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
