"""Starts the embedded server as a child process, and takes it down again whatever happens."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from nemo_skills_specdec.embedded.options import API_KEY_VARIABLE, EmbeddedOptions, check, to_arguments
from nemo_skills_specdec.errors import ServerError

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 5.0

_ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


class RunningEmbedded(msgspec.Struct, frozen=True):
    """A server that answers.

    Attributes:
        base_url: without a trailing slash and without `/v1`.
        pid: of the server process, which leads its own process group.
        options: what it was started with.
    """

    base_url: str
    pid: int
    options: EmbeddedOptions

    @property
    def metrics_url(self) -> str:
        """Where its counters are."""
        return f"{self.base_url}/metrics"


@contextlib.contextmanager
def start(options: EmbeddedOptions, *, timeout_seconds: float = START_TIMEOUT_SECONDS) -> Iterator[RunningEmbedded]:
    """Starts a server, waits until it answers, and stops it on leaving, however that happens.

    The server runs in its own process group, so Ctrl-C reaches only the caller, whose leaving stops it. It watches a
    pipe from this process: should this process be killed, the pipe closes and the server ends by itself.

    Args:
        options: the set-up; `port` 0 takes a free one.
        timeout_seconds: how long starting may take.

    Raises:
        UsageError: the options contradict each other.
        ServerError: the server did not start; the message ends with the last line it wrote.
    """
    check(options)
    environment = _environment(options)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nemo_skills_specdec.embedded", "--exit-with-parent", *to_arguments(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        try:
            host, port = _wait_until_ready(process, log, timeout_seconds)
            address = f"[{host}]" if ":" in host else host
            yield RunningEmbedded(f"http://{address}:{port}", process.pid, options)
        finally:
            _stop(process)


def serve_here(options: EmbeddedOptions) -> None:
    """Replaces this process by the server, as `ns-specdec serve` does; does not return.

    A fresh interpreter is the only clean way to one thread for the matrix library once numpy may have been imported.

    Raises:
        UsageError: the options contradict each other.
    """
    check(options)
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "nemo_skills_specdec.embedded", *to_arguments(options)]
    os.execve(sys.executable, command, _environment(options))


def _environment(options: EmbeddedOptions) -> dict[str, str]:
    """This process' environment, with one thread a library, this package on the path, and only the options' key."""
    environment = {**os.environ, **_ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"}
    root = str(Path(__file__).parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        # Run from a checkout. An installed package is found anyway, and its folder must not come before the library's.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment.pop(API_KEY_VARIABLE, None)
    if options.api_key is not None:
        environment[API_KEY_VARIABLE] = options.api_key
    return environment


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: IO[bytes], timeout_seconds: float) -> tuple[str, int]:
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_seconds
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise ServerError(f"the embedded server did not answer within {timeout_seconds:g} s{_last_words(log)}")
            if selector.select(left):
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    process.wait(STOP_TIMEOUT_SECONDS)
                    raise ServerError(f"the embedded server did not start{_last_words(log)}")
                line += piece
    ready = msgspec.json.decode(line)
    return ready["host"], ready["port"]


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else "; it wrote nothing"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_SECONDS)
            return
