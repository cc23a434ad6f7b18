"""Starts a server as a child process, waits until it is ready, and leaves nothing behind.

The child gets a process group of its own, so that it and everything it started can be stopped together, and so that a
Ctrl-C in the terminal reaches the measurement first. It dies with its parent, even if that is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import ServerError

STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LOG_LINES = 12
_PR_SET_PDEATHSIG = 1


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is ready.

    Attributes:
        base_url: without `/v1`.
        log: everything it printed.
    """

    base_url: str
    process_id: int
    log: Path


@contextlib.contextmanager
def running_server(
    arguments: Sequence[str],
    *,
    name: str,
    find_url: Callable[[str], str | None],
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 120.0,
    log: Path | None = None,
) -> Iterator[RunningServer]:
    """Runs a server for as long as the `with` block lasts.

    Args:
        arguments: the command.
        name: for messages.
        find_url: given everything printed so far, the base URL once the server is ready, else None.
        environment: added to this process's own.
        log: where its output goes; a temporary file, removed afterwards, by default.

    Raises:
        ServerError: it ended, or was not ready in time; the message holds the end of its log.
    """
    with contextlib.ExitStack() as stack:
        if log is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ns-specdec-"))
            log = Path(folder) / "server.log"
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        try:
            base_url = _wait(process, log, find_url, name, timeout_seconds)
            yield RunningServer(base_url=base_url, process_id=process.pid, log=log)
        finally:
            stop_group(process)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Stops a child and its whole process group: asks first, and kills what is left after `STOP_SECONDS`."""
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        # The group may outlive its leader, so it is signalled even if the leader has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _wait(
    process: subprocess.Popen[bytes],
    log: Path,
    find_url: Callable[[str], str | None],
    name: str,
    timeout_seconds: float,
) -> str:
    deadline = time.monotonic() + timeout_seconds
    while True:
        ended = process.poll()
        printed = log.read_text(errors="replace")
        url = find_url(printed)
        if url is not None:
            return url
        if ended is not None:
            raise ServerError(f"{name} ended with code {ended} before it was ready:\n{_tail(printed)}")
        if time.monotonic() > deadline:
            raise ServerError(f"{name} was not ready after {timeout_seconds:.0f} s:\n{_tail(printed)}")
        time.sleep(_POLL_SECONDS)


def _tail(printed: str) -> str:
    return "\n".join(f"  {line}" for line in printed.splitlines()[-_LOG_LINES:]) or "  (it printed nothing)"


def _die_with_parent() -> None:
    """Linux: the child gets SIGTERM when the thread that started it ends, even by SIGKILL."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
