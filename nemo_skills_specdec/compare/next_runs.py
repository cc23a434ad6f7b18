"""What to measure next so that advice becomes surer."""

from __future__ import annotations

from typing import Literal

import msgspec

from nemo_skills_specdec.compare.advice import Advice

Why = Literal[
    "no baseline", "one draft length", "best is the longest", "best was not measured", "no repeats", "range too wide"
]
LONGER_BY = 2


class NextRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run worth making, most useful first.

    Attributes:
        draft_length: 0 for no speculation.
        label: of the advice that it is for.
        runs: how many of it.
    """

    why: Why
    draft_length: int
    concurrency: int | None
    message: str
    label: str = ""
    runs: int = 1


def next_runs(advice: Advice) -> list[NextRun]:
    """Runs at this load that would say most."""
    measured = {one.draft_length for one in advice.measured}
    lengths = sorted(measured - {0})
    found = []
    if 0 not in measured:
        found.append(_run("no baseline", 0, advice, "Without speculation, at the same load: no speedup is known yet."))
    if len(lengths) == 1:
        other = 1 if lengths[0] > 2 else lengths[0] + 3
        message = f"Draft length {other}: the cost of a draft token takes two lengths."
        found.append(_run("one draft length", other, advice, message))
    best = advice.best
    if best is not None and best.at_edge:
        longer = best.draft_length + LONGER_BY
        message = f"Draft length {longer}: the best measured one is the longest, so a longer one may be better."
        found.append(_run("best is the longest", longer, advice, message))
    if best is not None and best.draft_length not in measured:
        message = f"Draft length {best.draft_length}: predicted to be the best, but not measured."
        found.append(_run("best was not measured", best.draft_length, advice, message))
    if not advice.noise.freedom:
        length = best.draft_length if best is not None else lengths[-1]
        message = f"Draft length {length} again, twice: noise from run to run is only assumed."
        found.append(_run("no repeats", length, advice, message, runs=2))
    elif best is not None and advice.possible is not None and advice.possible[1] - advice.possible[0] > 2:
        low, high = advice.possible
        end = high if high - best.draft_length >= best.draft_length - low else low
        message = f"Draft length {end}, twice more: lengths from {low} to {high} may be the best."
        found.append(_run("range too wide", end, advice, message, runs=2))
    return found


def _run(why: Why, draft_length: int, advice: Advice, message: str, *, runs: int = 1) -> NextRun:
    return NextRun(
        why=why,
        draft_length=draft_length,
        concurrency=advice.concurrency,
        message=message,
        label=advice.label,
        runs=runs,
    )
