"""Starts the embedded server as a process of its own."""

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nemo_skills_specdec.embedded.options import API_KEY_VARIABLE, EmbeddedOptions, check, to_json
from nemo_skills_specdec.processes import Timeouts, last_line, running_server

START_TIMEOUT_SECONDS = 60.0

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

    Args:
        options: the set-up; `port` 0 takes a free one.

    Raises:
        UsageError: the options contradict each other.
        ServerError: the server did not start; the message holds what it said.
    """
    check(options)
    with running_server(
        _command(options),
        name="the embedded server",
        find_url=announced_url,
        environment=environment_of(options),
        timeouts=Timeouts(timeout_seconds=timeout_seconds, poll_seconds=0.02),
        hint=last_line,
    ) as server:
        yield RunningEmbedded(server.base_url, server.process_id, options)


def serve_here(options: EmbeddedOptions) -> None:
    """Replaces this process by the server, as `ns-specdec serve` does; does not return.

    A fresh interpreter is the only clean way to one thread for the matrix library once numpy may have been imported.

    Raises:
        UsageError: the options contradict each other.
    """
    check(options)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, _command(options), {**os.environ, **environment_of(options)})


def _command(options: EmbeddedOptions) -> list[str]:
    return [sys.executable, "-m", "nemo_skills_specdec.embedded", to_json(options)]


def environment_of(options: EmbeddedOptions) -> dict[str, str]:
    """What the server's environment has besides this process': one thread a library, and the options' key, or none."""
    environment = {**_ONE_THREAD, "TOKENIZERS_PARALLELISM": "false", API_KEY_VARIABLE: options.api_key or ""}
    root = str(Path(__file__).parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        # Run from a checkout. An installed package is found anyway, and its folder must not come before the library's.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return environment


def announced_url(printed: str) -> str | None:
    """The URL that a server's output announces; None before it does."""
    for line in printed.splitlines(keepends=True):
        if line.startswith('{"host"') and line.endswith("\n"):
            address = msgspec.json.decode(line)
            host = f"[{address['host']}]" if ":" in address["host"] else address["host"]
            return f"http://{host}:{address['port']}"
    return None
