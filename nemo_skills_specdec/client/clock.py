"""The client's clock, and how late the client itself is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np

from nemo_skills_specdec.client.exchange import LoopLag

PROBE_SECONDS = 0.02


def epoch_clock() -> Callable[[], float]:
    """Seconds since the epoch that never jump: the monotonic clock, set once."""
    tick = time.perf_counter
    offset = time.time() - tick()
    return lambda: tick() + offset


async def probe_lag(lags: list[float]) -> None:
    """Appends, until cancelled, how many seconds too late a timer of this event loop ran."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PROBE_SECONDS
        await asyncio.sleep(PROBE_SECONDS)
        lags.append(loop.time() - due)


def lag_of(lags: Sequence[float]) -> LoopLag:
    """The percentiles of what `probe_lag` found."""
    if not lags:
        return LoopLag(samples=0, p50_seconds=None, p99_seconds=None, max_seconds=None)
    p50, p99, top = (float(value) for value in np.percentile(np.asarray(lags), (50, 99, 100)))
    return LoopLag(samples=len(lags), p50_seconds=p50, p99_seconds=p99, max_seconds=top)
