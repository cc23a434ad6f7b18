"""The connections of a run: opened when they are wanted, kept as long as they may be used, and given back."""

from __future__ import annotations

import errno
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable
from select import POLLIN, POLLOUT
from typing import Any

from nemo_skills_specdec.client.connection import Address, ConnectError, Connection, resolve
from nemo_skills_specdec.client.endpoint import Endpoint
from nemo_skills_specdec.client.poller import Poller

_CONNECT_SECONDS = 20.0
_NEXT_ADDRESS_SECONDS = 2.0
"""How long an address may be silent where there is another one."""
_OPENING_AT_ONCE = 64
_KEEP_IDLE_SECONDS = 2.0
"""Idle connections are dropped sooner than servers do (uvicorn and cpp-httplib: 5 s), or a request could meet one that
is just being closed and fail through no fault of the server."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


ChunkRead = tuple[Callable[[int, int], Any], Callable[[bytes], None], Callable[[float], None]]


class ConnectionPool:
    """Every connection of a run, by what it does: opening, idle, or with a request.

    Attributes:
        by_descriptor: all that are open.
        at_chunks: those whose response goes on with a new chunk, without TLS: how to read, and where to keep the chunk
            and its time.
        opened: those that have just become ready for a request, to be taken from here.
        failures: why connections could not be opened, to be taken from here.
        connected: whether one ever was.
        failed: whether one ever could not be opened.
        lowered: how many there were when the limit on open files let no more be opened; None if it never did.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        context: ssl.SSLContext | None,
        poller: Poller,
        clock: Callable[[], float],
        timeout_seconds: float,
    ) -> None:
        self.by_descriptor: dict[int, Connection] = {}
        self.at_chunks: dict[int, ChunkRead] = {}
        self.opened: deque[Connection] = deque()
        self.failures: deque[str] = deque()
        self.connected = self.failed = False
        self.lowered: int | None = None
        self._endpoint, self._context = endpoint, context
        self._poller, self._clock = poller, clock
        self._connect_seconds = min(_CONNECT_SECONDS, timeout_seconds)
        self._addresses: list[Address] = []
        self._opening: dict[Connection, int] = {}
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._dropped: list[Connection] = []

    @property
    def num_idle(self) -> int:
        """Connections that are ready for a request."""
        return len(self._idle)

    @property
    def num_opening(self) -> int:
        """Connections that are being opened."""
        return len(self._opening)

    def open(self, wanted: int) -> int:
        """Sees to it that `wanted` connections are being opened, or as many as a server may be asked to accept at once.

        Returns:
            How many were begun.
        """
        missing = max(min(wanted, _OPENING_AT_ONCE) - len(self._opening), 0)
        for begun in range(missing):
            if not self._open(0):
                return begun
        return missing

    def take(self) -> Connection | None:
        """An idle connection, the one used last; None if there is none."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if self._clock() - connection.since > _KEEP_IDLE_SECONDS:
                self.drop(connection)
            else:
                return connection
        return None

    def give(self, connection: Connection) -> None:
        """Takes a connection as idle."""
        connection.since = self._clock()
        connection.response = None
        self.at_chunks.pop(connection.descriptor, None)
        self._idle[connection] = None

    def keep_idle(self) -> None:
        """Counts the time for which connections have been idle from now."""
        for connection in self._idle:
            connection.since = self._clock()

    def attend(self, connection: Connection) -> None:
        """Goes on with a connection that has no request, and whose socket is ready."""
        if connection not in self._opening:
            try:
                data, _ = connection.receive()
                if data or connection.ended:
                    self.drop(connection)  # closed by the server, or about to be
            except OSError:
                self.drop(connection)
            return
        try:
            self._poller.modify(connection.descriptor, next(connection.opening))
        except StopIteration:
            attempt = self._opening.pop(connection)
            # What worked is tried first from now on.
            self._addresses.insert(0, self._addresses.pop(attempt))
            self.connected = True
            self._poller.modify(connection.descriptor, POLLIN)
            self.opened.append(connection)
        except ConnectError as error:
            self._next_address(connection, str(error))

    def write(self, connection: Connection, data: bytes) -> None:
        """Begins to send a request.

        A failure is left to reading, which shows what there is to know: an early answer, or why the connection broke.
        """
        try:
            connection.write(data)
        except OSError:
            connection.unsent = b""
        if connection.unsent:
            self._poller.modify(connection.descriptor, POLLIN | POLLOUT)

    def flush(self, connection: Connection) -> None:
        """Goes on sending a request whose socket takes more."""
        try:
            connection.flush()
        except OSError:
            connection.unsent = b""
        if not connection.unsent:
            self._poller.modify(connection.descriptor, POLLIN)

    def drop(self, connection: Connection) -> None:
        """Gives a connection up. Its socket is closed by `close_dropped`."""
        self._opening.pop(connection, None)
        self._idle.pop(connection, None)
        self.at_chunks.pop(connection.descriptor, None)
        if self.by_descriptor.pop(connection.descriptor, None) is not None:
            self._poller.unregister(connection.descriptor)
            self._dropped.append(connection)

    def close_dropped(self) -> None:
        """Closes the sockets of what was dropped.

        Not at once: another socket would get the descriptor while events of the old one are still being looked at.
        """
        for connection in self._dropped:
            connection.close()
        self._dropped.clear()

    def expire(self) -> None:
        """Drops what has been idle, and gives up what has been opening, for too long."""
        now = self._clock()
        while self._idle and next(iter(self._idle)).since < now - _KEEP_IDLE_SECONDS:
            self.drop(next(iter(self._idle)))
        for connection, attempt in list(self._opening.items()):
            another = attempt + 1 < len(self._addresses)
            if now - connection.since > (_NEXT_ADDRESS_SECONDS if another else self._connect_seconds):
                self._next_address(connection, "cannot connect: no answer from the address")

    def close(self) -> None:
        """Closes everything."""
        for connection in list(self.by_descriptor.values()):
            self.drop(connection)
        self.close_dropped()

    def _open(self, attempt: int) -> bool:
        """Begins to open a connection; whether it makes sense to begin another one."""
        try:
            self._addresses = self._addresses or resolve(self._endpoint)
            connection = Connection(self._endpoint, self._addresses[attempt], self._context, self._clock())
        except ConnectError as error:
            self._fail(str(error))
            return True
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS and self.by_descriptor:
                self.lowered = len(self.by_descriptor)
                return False
            self._fail(f"cannot connect: {error.strerror}")
            return True
        self.by_descriptor[connection.descriptor] = connection
        self._opening[connection] = attempt
        self._poller.register(connection.descriptor, POLLOUT)
        self.attend(connection)
        return True

    def _next_address(self, connection: Connection, why: str) -> None:
        attempt = self._opening[connection] + 1
        self.drop(connection)
        if attempt < len(self._addresses):
            self._open(attempt)
        else:
            self._fail(why)

    def _fail(self, why: str) -> None:
        self.failed = True
        self.failures.append(why)
