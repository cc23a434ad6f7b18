"""Every error this package raises on purpose.

    SpecdecError
    ├── UsageError                wrong use, or cannot run: one line that names the cause and the cure; exit code 2
    │   ├── ServerError           the server cannot be reached, or does not answer as it should
    │   ├── DataError             a file or a row is not what it should be
    │   │   └── RowError          a row of a known shape holds no prompt
    │   └── WriteError            a file cannot be written
    └── AcceptanceError           numbers that cannot be those of speculative decoding
        ├── IdentityError         counts that contradict each other
        └── CountsDecreasedError  a difference of counters is negative

A command prints `str(error)` and nothing else, so a message must stand on its own: what is wrong, and what to do.
"""

from __future__ import annotations

import msgspec

JSON_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)
"""What reading JSON of unknown origin raises: besides a decoder's own error bad UTF-8, endless numbers and nesting."""


class SpecdecError(Exception):
    """Base of every error raised on purpose by this package."""


class UsageError(SpecdecError):
    """Wrong use, or something needed is missing. The message is one line: the cause, then the cure."""


class ServerError(UsageError):
    """The server cannot be reached, or does not answer as an inference server should."""


class DataError(UsageError):
    """A file, a row or a data set is not what it should be."""


class RowError(DataError):
    """A row of a known shape holds no prompt; readers of whole files leave it out and count it.

    Attributes:
        reason: what is wrong with the row, without its place.
        no_turn: whether it is a conversation without a user message to answer.
    """

    def __init__(self, where: str, reason: str, *, no_turn: bool = False) -> None:
        """A row at some place cannot be used for a reason."""
        super().__init__(f"{where}: {reason}")
        self.reason = reason
        self.no_turn = no_turn


class WriteError(UsageError):
    """A file cannot be written: the disk is full, or the folder is not writable."""


class AcceptanceError(SpecdecError):
    """Numbers that cannot be those of speculative decoding. The raw numbers stand in the message."""


class IdentityError(AcceptanceError):
    """Counts contradict each other, so no rate may be computed from them."""


class CountsDecreasedError(AcceptanceError):
    """A counter is smaller after the window than before: the server restarted, or another one answered."""
