"""Turns that wait for a connection."""

from __future__ import annotations

from collections import deque

from nemo_skills_specdec.client.turn import Turn


class TurnQueue:
    """First in, first out, but that what is sent again goes first, and never over a connection that was kept."""

    def __init__(self) -> None:
        self._waiting: deque[Turn] = deque()
        self._again: deque[Turn] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, turn: Turn) -> None:
        """Takes a turn at the end."""
        (self._again if turn.num_resends else self._waiting).append(turn)

    def take(self, *, kept: bool) -> Turn | None:
        """The next turn for a connection; `kept` says whether an answer has come over it before."""
        queue = self._again if self._again and not kept else self._waiting
        return queue.popleft() if queue else None

    def empty(self) -> list[Turn]:
        """Takes out all of them."""
        turns = [*self._again, *self._waiting]
        self._again.clear()
        self._waiting.clear()
        return turns
