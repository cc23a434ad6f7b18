"""When an acceptance length is too low: over the whole watch, or over the last minutes of it."""

from __future__ import annotations

from collections import deque

import msgspec

from nemo_skills_specdec.watch.figures import WatchFigures, add_up
from nemo_skills_specdec.watch.session import Round


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A lower limit of the acceptance length, pooled over all replicas.

    Attributes:
        min_al: the limit.
        within: seconds over which it must hold, at any time; None for the whole watch, at its end.
    """

    min_al: float
    within: float | None = None


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """An acceptance length that is certainly below its limit.

    Attributes:
        acceptance_length: its upper bound, which is the value itself where it is exact.
        seconds: over how long.
        num_drafts: D of that time.
    """

    min_al: float
    acceptance_length: float
    seconds: float
    num_drafts: int


def breach_of(alarm: Alarm, figures: WatchFigures, seconds: float) -> Breach | None:
    """The breach in some figures; None where they hold, where nothing was drafted, or where bounds leave it open."""
    length = figures.acceptance_length
    if length is None or length.high >= alarm.min_al:
        return None
    return Breach(
        min_al=alarm.min_al, acceptance_length=length.high, seconds=seconds, num_drafts=figures.num_drafts or 0
    )


class RecentRounds:
    """The latest rounds, as far back as an alarm looks."""

    def __init__(self, alarm: Alarm, started_at: float) -> None:
        """Nothing yet."""
        self._alarm = alarm
        self._since = started_at
        self._rounds: deque[tuple[float, WatchFigures]] = deque()

    def take(self, latest: Round) -> Breach | None:
        """Adds a round; the breach of the time up to it, once the watch is as long as the alarm looks back."""
        within = self._alarm.within
        if within is None:
            return None
        self._rounds.append((latest.at, latest.total))
        while self._rounds and self._rounds[0][0] <= latest.at - within:
            self._since = self._rounds.popleft()[0]
        if latest.at - self._since < within:
            return None
        known = [figures for _, figures in self._rounds if figures.num_drafts is not None]
        return breach_of(self._alarm, add_up(known), latest.at - self._since) if known else None
