"""One connection: opened without waiting, secured where asked, read with the kernel's times of arrival."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from select import POLLIN, POLLOUT
from typing import Any

from nemo_skills_specdec.client.endpoint import Endpoint
from nemo_skills_specdec.client.http_response import READ_BYTES, FramingError, HttpResponse

Address = tuple[Any, ...]
"""An entry of `getaddrinfo`."""

_SO_TIMESTAMPNS = 35
"""From the kernel's headers; Python does not name it."""
KERNEL_STAMPS = sys.platform.startswith("linux") and sys.maxsize > 2**32
"""Whether the kernel can be asked to note when each packet arrived."""
STAMP_BYTES = 64
"""Room for what the kernel notes."""
read_stamp = struct.Struct("qq").unpack
"""Seconds and nanoseconds of the system's clock."""


class ConnectError(Exception):
    """No connection could be made; the text says why, without secrets."""


def resolve(endpoint: Endpoint) -> list[Address]:
    """The addresses to try, in order.

    Raises:
        ConnectError: the host is unknown.
    """
    host, port = endpoint.connect_to
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"cannot connect: the host {host} is unknown") from error


class Connection:
    """A socket that sends requests and reads responses, one after the other, and never waits.

    Attributes:
        opening: to be advanced whenever the socket is ready; yields what to wait for next, and ends once it is open.
            Raises ConnectError.
        used: whether an answer has come over it.
        since: when it was opened, or last became idle.
        response: what is being answered over it; None while it has no request.
        unsent: what the socket would not take yet.
        ended: whether the server has said that nothing more follows.
        recvmsg: of the socket, for who reads plainly.
        receive: reads once: the bytes and when they arrived, in seconds of the system's clock (0 where the kernel does
            not tell). No bytes if there is nothing to read, or at the end. Raises OSError.
    """

    __slots__ = (
        "_endpoint",
        "_incoming",
        "_outgoing",
        "_socket",
        "_tls",
        "descriptor",
        "ended",
        "opening",
        "receive",
        "recvmsg",
        "response",
        "since",
        "unsent",
        "used",
    )

    def __init__(self, endpoint: Endpoint, address: Address, context: ssl.SSLContext | None, since: float) -> None:
        """Starts to connect.

        Raises:
            OSError: no socket is to be had.
        """
        family, kind, protocol, _, where = address
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        # Small requests must not wait for Nagle; a long prefill must not be taken for a dead connection.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.recvmsg = self._socket.recvmsg
        _ask_for_stamps(self._socket)
        self._endpoint = endpoint
        self._tls: ssl.SSLObject | None = None
        self.descriptor = self._socket.fileno()
        self.used = self.ended = False
        self.since = since
        self.response: HttpResponse | None = None
        self.unsent = b""
        self.receive: Callable[[], tuple[bytes, float]] = self._receive
        self.opening = self._open(where, context)

    @property
    def secured(self) -> bool:
        """Whether TLS lies between."""
        return self._tls is not None

    def write(self, data: bytes) -> None:
        """Sends as much as the socket takes; the rest is left in `unsent`, to be sent by `flush`.

        Raises:
            OSError: the connection is lost.
        """
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Goes on sending what was left.

        Raises:
            OSError: the connection is lost.
        """
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[self._socket.send(self.unsent) :]

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()

    def _open(self, where: Any, context: ssl.SSLContext | None) -> Iterator[int]:
        number = self._socket.connect_ex(where)
        while number in (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN):
            yield POLLOUT
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            host, port = self._endpoint.connect_to
            raise ConnectError(f"cannot connect to {host}:{port}: {os.strerror(number)}")
        try:
            if self._endpoint.tunnel:
                yield from self._tunnel()
            if context is not None:
                yield from self._secure(context)
        except ssl.SSLCertVerificationError as error:
            raise ConnectError(
                f"cannot connect: the server's certificate is not trusted ({error.verify_message}); "
                "name the certificates to trust in SSL_CERT_FILE"
            ) from error
        except ssl.SSLError as error:
            raise ConnectError(
                f"cannot connect: TLS failed ({error.reason or error}); is it http:// rather than https://?"
            ) from error
        except (OSError, FramingError) as error:
            raise ConnectError(f"cannot connect: {error}") from error

    def _tunnel(self) -> Iterator[int]:
        response = HttpResponse(limit=1 << 16)
        self.write(self._endpoint.tunnel)
        while response.status is None:
            yield POLLOUT if self.unsent else POLLIN
            self.flush()
            data = self._some()
            response.feed(data, 0.0)
        if response.status != 200:
            raise ConnectError(f"cannot connect: the proxy refuses (HTTP {response.status})")

    def _secure(self, context: ssl.SSLContext) -> Iterator[int]:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._endpoint.host)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._send_outgoing()  # the alert that tells the server why
                raise
            self._send_outgoing()
            if not done:
                yield POLLOUT if self.unsent else POLLIN
                self.flush()
                self._incoming.write(self._some())
        self._tls = tls
        self.receive = self._receive_secured

    def _send_outgoing(self) -> None:
        self.unsent += self._outgoing.read()
        self.flush()

    def _some(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            return data
        return b""

    def _receive(self) -> tuple[bytes, float]:
        try:
            data, extra, _, _ = self.recvmsg(READ_BYTES, STAMP_BYTES)
        except BlockingIOError:
            return b"", 0.0
        if extra:
            seconds, nanoseconds = read_stamp(extra[0][2])
            return data, seconds + nanoseconds * 1e-9
        if not data:
            self.ended = True
        return data, 0.0

    def _receive_secured(self) -> tuple[bytes, float]:
        data, at = self._receive()
        assert self._tls is not None
        if not data:
            return data, at
        self._incoming.write(data)
        pieces = []
        try:
            while piece := self._tls.read(READ_BYTES):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            self._send_outgoing()
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(pieces), at


def _ask_for_stamps(made: socket.socket) -> None:
    if KERNEL_STAMPS:
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
