"""What the operating system is asked for: sockets, and leave to open many."""

from __future__ import annotations

import contextlib
import socket
from typing import Any


def open_socket(address: Any) -> socket.socket:
    """A socket for one entry of `getaddrinfo`."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    if family in (socket.AF_INET, socket.AF_INET6):
        # Small requests must not wait for Nagle; a long prefill must not be taken for a dead connection.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return made


def allow_open_files(needed: int) -> None:
    """Raises the soft limit on open files where it is too low; if that fails, the requests will say so."""
    try:
        import resource
    except ImportError:  # no such limit on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
