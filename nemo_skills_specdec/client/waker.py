"""Wakes a thread that waits for sockets, from another thread."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """A pair of sockets: a byte sent on one makes the other readable.

    Attributes:
        descriptor: what the waiting thread waits for.
    """

    def __init__(self) -> None:
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self.descriptor = self._woken.fileno()

    def wake(self) -> None:
        """Wakes the waiting thread."""
        with contextlib.suppress(BlockingIOError):  # it wakes anyhow then
            self._waking.send(b".")

    def was_woken(self) -> bool:
        """Whether it was woken since the last call."""
        with contextlib.suppress(BlockingIOError):
            return bool(self._woken.recv(4096))
        return False

    def close(self) -> None:
        """Gives both sockets back."""
        self._woken.close()
        self._waking.close()
