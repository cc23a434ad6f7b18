"""Requests that were sent and are not answered yet."""

from __future__ import annotations

from collections import OrderedDict

from nemo_skills_specdec.client.connection import Connection
from nemo_skills_specdec.client.turn import Turn


class InFlight:
    """The turn that every busy connection carries, and when its time is up; all have the same time to be answered."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._turns: OrderedDict[Connection, Turn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def __getitem__(self, connection: Connection) -> Turn:
        return self._turns[connection]

    def items(self) -> list[tuple[Connection, Turn]]:
        """All of them as they are now, the one sent first in front."""
        return list(self._turns.items())

    def add(self, connection: Connection, turn: Turn) -> None:
        """Takes a turn that is being sent now; none was sent later."""
        self._turns[connection] = turn

    def pop(self, connection: Connection) -> Turn:
        """Takes out what the connection carries."""
        return self._turns.pop(connection)

    def overdue(self, now: float) -> Connection | None:
        """The connection that has been waited for longest, if its time is up."""
        for connection, turn in self._turns.items():
            return connection if turn.sent_at + self._timeout_seconds <= now else None
        return None
