"""How late this client was: counted in bins, so that memory does not grow with what is measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nemo_skills_specdec.client.exchange import Delays

Counts = npt.NDArray[np.int64]

_SMALLEST = 1e-6
_BINS_PER_OCTAVE = 16
_BINS = 32 * _BINS_PER_OCTAVE


class DelayCounts:
    """Collects delays, block by block; a block is what one second brought.

    Attributes:
        pending: the delays of the block that is being collected, in seconds.
    """

    def __init__(self) -> None:
        self.pending: list[float] = []
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._max = 0.0
        self._first: tuple[float, float] | None = None
        self._worst_p99: float | None = None

    def count(self) -> None:
        """Counts the pending delays: one block."""
        if not self.pending:
            return
        values = np.maximum(np.asarray(self.pending), _SMALLEST)
        self.pending.clear()
        bins = np.minimum(np.log2(values / _SMALLEST) * _BINS_PER_OCTAVE, _BINS - 1).astype(np.int64)
        counts = np.bincount(bins, minlength=_BINS)
        self._counts += counts
        top = float(values.max())
        p99 = min(_percentile(counts, 0.99), top)
        self._max = max(self._max, top)
        self._first = self._first or (p99, top)
        self._worst_p99 = max(self._worst_p99 or 0.0, p99)

    def delays(self) -> Delays:
        """What was counted. Percentiles are upper edges of bins, so up to 4.5 % too large."""
        total = int(self._counts.sum())
        if not total or self._first is None:
            return Delays(samples=0)
        first_p99, first_max = self._first
        return Delays(
            samples=total,
            p50_seconds=min(_percentile(self._counts, 0.5), self._max),
            p99_seconds=min(_percentile(self._counts, 0.99), self._max),
            max_seconds=self._max,
            opening_p99_seconds=first_p99,
            opening_max_seconds=first_max,
            worst_second_p99_seconds=self._worst_p99,
        )


def _percentile(counts: Counts, share: float) -> float:
    found = int(np.searchsorted(np.cumsum(counts), share * int(counts.sum())))
    return _SMALLEST * float(2.0 ** ((found + 1) / _BINS_PER_OCTAVE))
