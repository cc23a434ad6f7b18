"""Which sockets are ready: epoll where there is one, with waits finer than its milliseconds."""

from __future__ import annotations

import contextlib
import select

_FINE_SECONDS = 0.002
"""Waits below this are made by `select`, whose time-out has microseconds."""


class Poller:
    """`select.epoll`, or `select.poll` where there is none."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._set = self._epoll or select.poll()
        self.register, self.modify, self.unregister = self._set.register, self._set.modify, self._set.unregister

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """The descriptors that are ready and what for, after at most `timeout` seconds."""
        if self._epoll is None:
            return self._set.poll(1000 * timeout)
        if 0 < timeout < _FINE_SECONDS:
            with contextlib.suppress(ValueError):  # a descriptor too large for `select`
                select.select((self._epoll,), (), (), timeout)
                timeout = 0
        return self._epoll.poll(timeout)

    def close(self) -> None:
        """Gives its descriptor back."""
        if self._epoll is not None:
            self._epoll.close()
