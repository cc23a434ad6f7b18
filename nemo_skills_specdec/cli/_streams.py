"""What is printed does no harm, and what cannot be printed loses nothing.

Results lie in files before they are printed, so a reader that goes away or a full disk under a redirected output ends
the printing and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from nemo_skills_specdec.shown import plain, plain_json


def write_json(encoded: bytes) -> None:
    """Prints JSON on stdout."""
    sys.stdout.write(plain_json(encoded.decode()) + "\n")


def write_line(line: str, *, stderr: bool = False) -> None:
    """Prints a line."""
    print("\n".join(map(plain, line.split("\n"))), file=sys.stderr if stderr else sys.stdout)


@contextlib.contextmanager
def forgiving_streams() -> Iterator[None]:
    """While it lasts, stdout and stderr take everything: what they cannot encode is escaped,
    what nobody reads is lost."""
    former = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = former


class _Forgiving(io.TextIOBase):
    """A stream that never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._lost():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._lost():
            self._stream.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        return cast(Any, self._stream).buffer

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            # What is still buffered would fail again when the interpreter ends.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def _forgiving(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed by whoever started this program
        stream = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _Forgiving(stream))
