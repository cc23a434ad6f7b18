"""How well `advise` predicts a draft length it has not seen: each measured length predicted from the others.

    python performance/held_out_lengths.py STUDY [STUDY ...] [--pairs]

A study has at least three draft lengths at one load, better with repeats and a run without speculation. For every load
and method each length is left out in turn, `advise` gets the rest, and what it says of the missing length stands beside
what was measured there: AL (from the next longer length), time of a step, TPOT, speedup. AL of the longest length
cannot be known from shorter ones, so there TPOT is predicted with the measured AL. With `--pairs` every length is
predicted from every two of the others.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from nemo_skills_specdec.compare.advice import Advice
from nemo_skills_specdec.compare.loads import advise_runs
from nemo_skills_specdec.compare.measured_length import draft_length_of
from nemo_skills_specdec.compare.repeats import RunGroup, group_runs, runs_in

MILLI = 1000.0
HEAD = ("load", "length", "from", "AL", "step, ms", "TPOT, ms", "speedup")


def main() -> None:
    """Prints a Markdown table, and the median and the largest error of each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--pairs", action="store_true", help="Predict every length from every two of the others.")
    options = parser.parse_args()
    groups = group_runs([run for study in options.studies for run in runs_in(study)])
    lengths = sorted({draft_length_of(group) for group in groups} - {0})
    if len(lengths) < 3:
        parser.error(f"the runs have draft lengths {lengths}; it takes at least three")
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD))
    errors: dict[str, list[float]] = {}
    for measured in (advice for method in advise_runs(groups) for advice in method.loads):
        for length, known in _splits(lengths, pairs=options.pairs):
            for told in _told_by(groups, measured, known):
                _row(measured, told, length, known, errors)
    print()
    for name, found in errors.items():
        sizes = [abs(error) for error in found]
        print(f"{name}: error {statistics.median(sizes):.1%} in the median, {max(sizes):.1%} at most ({len(sizes)})")


def _splits(lengths: Sequence[int], *, pairs: bool) -> Iterator[tuple[int, tuple[int, ...]]]:
    for length in lengths:
        others = [other for other in lengths if other != length]
        for known in itertools.combinations(others, 2) if pairs else [tuple(others)]:
            yield length, known


def _told_by(groups: Sequence[RunGroup], measured: Advice, known: Sequence[int]) -> list[Advice]:
    """Advice from the known lengths alone, at the load and with the method of `measured`."""
    kept = [group for group in groups if draft_length_of(group) in (0, *known)]
    methods = [method.loads for method in advise_runs(kept)]
    return [one for loads in methods for one in loads if _place(one) == _place(measured)]


def _place(advice: Advice) -> str:
    """The label without its draft length."""
    return " ".join(word for word in advice.label.replace(",", " ").split() if not word.startswith("k"))


def _row(measured: Advice, told: Advice, length: int, known: Sequence[int], errors: dict[str, list[float]]) -> None:
    found = {one.draft_length: one for one in measured.measured}
    here, baseline = found[length], measured.baseline_tpot
    if told.step is None or here.tpot_seconds is None or here.step is None:
        return
    point = next((one for one in told.lengths if one.draft_length == length), None)
    predicted = next((one for one in told.predictions if one.draft_length == length), None)
    step = told.step.seconds(length)
    tpot = predicted.tpot_seconds if predicted else step / (here.tokens_per_step or math.nan)
    pairs = {
        "AL": (point.acceptance_length if point else None, here.acceptance_length, 1.0),
        "step": (step, here.step.seconds, MILLI),
        "TPOT": (tpot, here.tpot_seconds, MILLI),
        "speedup": (baseline / tpot if baseline else None, baseline / here.tpot_seconds if baseline else None, 1.0),
    }
    cells = []
    for name, (guess, truth, scale) in pairs.items():
        if guess is None or truth is None:
            cells.append("-")
            continue
        errors.setdefault(name, []).append(guess / truth - 1)
        cells.append(f"{guess * scale:.3f} for {truth * scale:.3f} ({guess / truth - 1:+.1%})")
    print("| " + " | ".join([_place(measured), str(length), ", ".join(map(str, known)), *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
