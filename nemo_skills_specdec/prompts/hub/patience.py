"""How long to wait for the network, and what the user is told meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import requests

from nemo_skills_specdec.errors import UsageError

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses of failures that may pass."""

_LONGEST_WAIT = 600.0

T = TypeVar("T")


class HttpError(UsageError):
    """A request failed for good.

    Attributes:
        status: the HTTP status, None where no answer came.
        code: the hub's own error code (`GatedRepo`, `RevisionNotFound`, ...), if it sent one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PassingError(Exception):
    """A failure that may pass.

    Attributes:
        retry_after: seconds that the server asks to wait, if it does.
        status: the HTTP status, None where no answer came.
    """

    def __init__(self, problem: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.status = status
        self.retry_after = retry_after


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How often to try, and how to wait in between.

    Attributes:
        attempts: tries without one new byte before giving up.
        sleep: waits, in seconds.
        say: gets a line before each wait.
    """

    attempts: int = 6
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = lambda line: None

    def wait(self, failures: int, error: PassingError) -> None:
        """Waits after a failure, after telling what for and how long.

        Raises:
            HttpError: this was the last attempt, or the server asks for more than ten minutes.
        """
        seconds = min(30.0, 0.5 * 2**failures) if error.retry_after is None else error.retry_after
        if seconds > _LONGEST_WAIT:
            raise HttpError(f"{error}: asks to wait {seconds:.0f} s; run the command again later", status=error.status)
        if failures >= self.attempts:
            raise HttpError(f"{error}; check the network, then run the command again to resume", status=error.status)
        self.say(f"{error}; retrying in {seconds:.0f} s (attempt {failures + 1} of {self.attempts})")
        self.sleep(seconds)

    def result_of(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, called again while it raises `PassingError`."""
        failures = 0
        while True:
            try:
                return attempt()
            except PassingError as error:
                failures += 1
                self.wait(failures, error)


def network_errors() -> tuple[type[Exception], ...]:
    """Errors of a connection, in every HTTP library that `huggingface_hub` has used and that is loaded."""
    found: list[type[Exception]] = [
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ]
    found += [sys.modules[name].TransportError for name in ("httpx", "httpx2") if name in sys.modules]
    return tuple(found)


def reason_of(error: BaseException) -> str:
    """The innermost cause of an error, in one line."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
