"""The clock of a run."""

from __future__ import annotations

import time
from collections.abc import Callable


def epoch_clock() -> Callable[[], float]:
    """Seconds since the epoch that never jump: the monotonic clock, set once."""
    tick = time.perf_counter
    offset = time.time() - tick()
    return lambda: tick() + offset
