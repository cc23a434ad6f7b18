"""Starts a server as a child process, waits until it is ready, and leaves nothing behind.

The child gets a process group of its own, so that it and everything it started can be stopped together, and so that a
Ctrl-C in the terminal reaches the measurement first. It dies with its parent, even if that is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
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


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for a server.

    Attributes:
        timeout_seconds: until it is ready.
        poll_seconds: between two looks at the log.
        stop_seconds: for it to end by itself when asked to.
    """

    timeout_seconds: float = 120.0
    poll_seconds: float = 0.05
    stop_seconds: float = STOP_SECONDS


@contextlib.contextmanager
def running_server(
    arguments: Sequence[str],
    *,
    name: str,
    find_url: Callable[[str], str | None],
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    on_wait: Callable[[float, str], None] | None = None,
    hint: Callable[[str], str | None] | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 (frozen)
) -> Iterator[RunningServer]:
    """Runs a server for as long as the `with` block lasts.

    Args:
        name: for messages.
        find_url: given everything printed so far, the base URL once the server is ready, else None.
        environment: added to this process's own.
        log: where its output goes; a temporary file, removed afterwards, by default.
        on_wait: called after each look with the seconds waited and the last line printed.
        hint: given everything printed by a server that failed, what the user may do about it.

    Raises:
        ServerError: it cannot be started, ended, or was not ready in time; the message holds the end of its log.
    """
    with contextlib.ExitStack() as stack:
        if log is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ns-specdec-"))
            log = Path(folder) / "server.log"
        output = stack.enter_context(log.open("wb"))
        try:
            process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            found = error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC)
            cure = "free memory or end other processes, and try again" if found else "is the path right?"
            raise ServerError(f"cannot start {name}: {arguments[0]}: {error.strerror}; {cure}") from error
        try:
            base_url = _wait(_Waiting(process, log, name, timeouts, find_url, on_wait, hint))
            yield RunningServer(base_url=base_url, process_id=process.pid, log=log)
        finally:
            stop_group(process, patience_seconds=timeouts.stop_seconds)


def stop_group(process: subprocess.Popen[bytes], *, patience_seconds: float = STOP_SECONDS) -> None:
    """Stops a child and its whole process group: asks first, and kills what is left after a while.

    A second Ctrl-C during the wait kills at once, so that nobody who is in a hurry leaves a server behind.
    """
    try:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
    finally:
        # The group may outlive its leader, so it is signalled even if the leader has ended.
        _signal_group(process, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class _Waiting(msgspec.Struct, frozen=True):
    process: subprocess.Popen[bytes]
    log: Path
    name: str
    timeouts: Timeouts
    find_url: Callable[[str], str | None]
    on_wait: Callable[[float, str], None] | None
    hint: Callable[[str], str | None] | None


def _wait(waiting: _Waiting) -> str:
    started = time.monotonic()
    while True:
        ended = waiting.process.poll()
        printed = waiting.log.read_text(errors="replace")
        url = waiting.find_url(printed)
        if url is not None and ended is None:
            return url
        waited = time.monotonic() - started
        if ended is not None or waited > waiting.timeouts.timeout_seconds:
            problem = (
                f"ended with code {ended} before it was ready"
                if ended is not None
                else (f"was not ready after {waiting.timeouts.timeout_seconds:.0f} s")
            )
            advice = waiting.hint(printed) if waiting.hint is not None else None
            raise ServerError(f"{waiting.name} {problem}{f': {advice}' if advice else ''}\n{_tail(printed)}")
        if waiting.on_wait is not None:
            waiting.on_wait(waited, last_line(printed))
        time.sleep(waiting.timeouts.poll_seconds)


def last_line(printed: str) -> str:
    """The last line that is not empty; empty if there is none."""
    return next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "")


def _tail(printed: str) -> str:
    return "\n".join(f"  {line}" for line in printed.splitlines()[-_LOG_LINES:]) or "  (it printed nothing)"


def _die_with_parent() -> None:
    """Linux: the child gets SIGTERM when the thread that started it ends, even by SIGKILL."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
