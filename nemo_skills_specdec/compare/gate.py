"""Thresholds that a continuous-integration job may set: met, violated, or not decided by these measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.compare.change import FigureChange
from nemo_skills_specdec.statistics import Interval

Outcome = Literal["met", "violated", "undecided"]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a run.

    Attributes:
        max_al_drop: largest fraction of the baseline's AL that may be lost.
        min_speedup: smallest ratio of tokens per second per user.
        min_system_speedup: smallest ratio of tokens per second of the system.
    """

    max_al_drop: float | None = None
    min_speedup: float | None = None
    min_system_speedup: float | None = None


class ThresholdResult(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold.

    Attributes:
        threshold: as on the command line.
        least: smallest ratio of run to baseline that meets it.
        outcome: `met` if the whole interval is at or above `least`, `violated` if all of it is below.
    """

    threshold: str
    limit: float
    figure: str
    least: float
    ratio: float | None
    interval: Interval | None
    outcome: Outcome


def check_thresholds(thresholds: Thresholds, overall: Sequence[FigureChange]) -> list[ThresholdResult]:
    """Holds every threshold that is set against the total of its figure."""
    drop = thresholds.max_al_drop
    asked = [
        ("--max-al-drop", drop, "acceptance_length", None if drop is None else 1 - drop),
        ("--min-speedup", thresholds.min_speedup, "user_tokens_per_second", thresholds.min_speedup),
        (
            "--min-system-speedup",
            thresholds.min_system_speedup,
            "system_tokens_per_second",
            thresholds.min_system_speedup,
        ),
    ]
    by_name = {change.figure: change for change in overall}
    return [
        ThresholdResult(
            threshold=option,
            limit=limit,
            figure=figure,
            least=least,
            ratio=by_name[figure].ratio,
            interval=by_name[figure].ratio_interval,
            outcome=_outcome(by_name[figure].ratio_interval, least),
        )
        for option, limit, figure, least in asked
        if limit is not None and least is not None
    ]


def _outcome(interval: Interval | None, least: float) -> Outcome:
    if interval is None:
        return "undecided"
    if interval.low >= least:
        return "met"
    return "violated" if interval.high < least else "undecided"
