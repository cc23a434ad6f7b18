"""The ranking of drafters as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nemo_skills_specdec.compare.ranking import Ranking


def print_drafters(rankings: Sequence[Ranking], console: Console) -> None:
    """Prints one line a drafter for every load and draft length; categories are in `drafters.md`."""
    for ranking in rankings:
        console.print(f"\n{ranking.label}: drafters by AL on {ranking.prompts} prompts", markup=False)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("rank", justify="right")
        table.add_column("drafter", overflow="fold")
        for name in ("AL", "of the best", "tok/s per user"):
            table.add_column(name, justify="right")
        for one in ranking.overall:
            interval, ratio = one.to_best_interval, one.to_best
            told = "-" if ratio is None else f"{ratio:.3f}"
            told += f" {interval.low:.3f}-{interval.high:.3f}" if interval is not None else ""
            speed = one.user_tokens_per_second
            table.add_row(
                str(one.rank),
                one.drafter,
                f"{one.acceptance_length:.3f}",
                told,
                "-" if speed is None else f"{speed:.1f}",
            )
        console.print(table)
