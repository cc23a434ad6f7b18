"""The load at which speculation stops paying: where the speedup of the best draft length falls to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.statistics import Interval

Paying = Literal["at every measured load", "at no measured load", "up to a load", "from a load on"]


class LoadSpeedup(msgspec.Struct, frozen=True, kw_only=True):
    """The largest measured speedup at one concurrency.

    Attributes:
        ratio: tokens per second over those without speculation.
    """

    concurrency: int
    draft_length: int
    ratio: float
    interval: Interval | None


class PayingLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Where speculation pays.

    Attributes:
        crossing: concurrency at which the speedup is one, interpolated between the loads around it, both in logarithms.
        surely_below: the largest load up to which every interval lies above one; 0 if there is none.
        surely_above: the smallest load from which every interval lies below one; None if there is none.
    """

    paying: Paying
    crossing: float | None = None
    surely_below: int = 0
    surely_above: int | None = None


def paying_load(speedups: Sequence[LoadSpeedup]) -> PayingLoad | None:
    """Where the speedup crosses one, from two or more loads; None for fewer."""
    points = sorted(speedups, key=lambda point: point.concurrency)
    if len(points) < 2:
        return None
    below, above = 0, None
    for point in points:
        if point.interval is None or point.interval.low <= 1:
            break
        below = point.concurrency
    for point in reversed(points):
        if point.interval is None or point.interval.high >= 1:
            break
        above = point.concurrency
    gains = [point.ratio > 1 for point in points]
    if all(gains) or not any(gains):
        paying: Paying = "at every measured load" if gains[0] else "at no measured load"
        return PayingLoad(paying=paying, surely_below=below, surely_above=above)
    number = next(n for n in range(1, len(points)) if gains[n] != gains[0])
    before, after = points[number - 1], points[number]
    share = math.log(before.ratio) / (math.log(before.ratio) - math.log(after.ratio))
    crossing = before.concurrency * (after.concurrency / before.concurrency) ** share
    return PayingLoad(
        paying="up to a load" if gains[0] else "from a load on",
        crossing=crossing,
        surely_below=below,
        surely_above=above,
    )
