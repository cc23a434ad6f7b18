"""Which conversation starts next, and when: the schedule, and the places among those in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.client.schedule import Start

_AHEAD_SECONDS = 0.2
"""How long before a start its connection is opened."""


class Due(msgspec.Struct, frozen=True):
    """A conversation that may start: which one, when the schedule wanted it, and since when a place was free for it."""

    index: int
    scheduled_at: float
    ready_at: float


class Pacer:
    """Goes through a schedule. Times are seconds since the epoch.

    Attributes:
        started_at: when the schedule begins.
    """

    def __init__(self, starts: Sequence[Start], places: int, max_seconds: float) -> None:
        self.started = bytearray(len(starts))
        self.started_at = 0.0
        self._starts, self._places, self._max_seconds = starts, places, max_seconds
        self._next = 0
        self._free: deque[float] = deque()

    @property
    def done(self) -> bool:
        """Whether nothing is left to be started."""
        return self._next >= len(self._starts)

    def begin(self, at: float) -> None:
        """Begins the schedule, with all places free."""
        self.started_at = at
        self._free = deque([at] * self._places)

    def end(self) -> None:
        """Starts nothing more."""
        self._next = len(self._starts)

    def give_back(self, at: float) -> None:
        """Takes note that a place has been free since then."""
        self._free.append(at)

    def take(self, now: float) -> Due | None:
        """What is due now and has a place; None if nothing is, or if time is up."""
        if self.done or not self._free:
            return None
        start, free_at = self._starts[self._next], self._free[0]
        due = free_at if start.offset is None else self.started_at + start.offset
        if max(due, now) >= self.started_at + self._max_seconds:
            self.end()
            return None
        if due > now:
            return None
        self._next += 1
        self._free.popleft()
        self.started[start.index] = 1
        return Due(start.index, due, max(due, free_at))

    def next_at(self, latest: float) -> float:
        """When the next start is due that has a place, but no later than `latest`."""
        if self._free and not self.done:
            return min(latest, self.started_at + (self._starts[self._next].offset or 0.0))
        return latest

    def due_soon(self, now: float) -> int:
        """How many connections the schedule needs in a moment."""
        until = now - self.started_at + _AHEAD_SECONDS
        count = 0
        for start in self._starts[self._next : self._next + len(self._free)]:
            if start.offset is not None and start.offset > until:
                break
            count += 1
        return count
