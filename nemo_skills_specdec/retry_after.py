"""The `Retry-After` header: how long a server that is busy asks to wait."""

from __future__ import annotations

import re
import time

BUSY = (429, 503)
"""The statuses that it comes with."""
LONGEST_WAIT_SECONDS = 120.0
"""All waits for one answer together; who is asked for more gives up."""

_SECONDS = re.compile(r" *\d{1,9}(\.\d{1,9})? *")


def retry_after(value: str | None) -> float | None:
    """The seconds that the header asks for, as a number or as a date; None without one, or where it is nonsense."""
    if not value:
        return None
    if _SECONDS.fullmatch(value):
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
