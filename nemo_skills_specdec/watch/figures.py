"""What counters say of some time, in whole numbers, so that intervals and replicas can be added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.records import Source
from nemo_skills_specdec.statistics import Interval


class WatchFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sums over some time and some replicas; None for what a server does not say, or not of all of it.

    Attributes:
        source: `counters`, `bounds` or `gauge_estimate`; None where the metrics say nothing of acceptance.
        num_drafts: D.
        num_draft_tokens: T.
        accepted_low: the fewest tokens that were accepted; A itself where it equals `accepted_high`.
        accepted_high: the most.
        accepted_per_position: A_i.
        estimate: acceptance length by a gauge; belongs to no time, so it is never added up.
        requests: that ended.
        decode_steps: with or without drafts; None where they are counted only when a request ends.
    """

    source: Source | None = None
    num_drafts: int | None = None
    num_draft_tokens: int | None = None
    accepted_low: int | None = None
    accepted_high: int | None = None
    accepted_per_position: tuple[int, ...] | None = None
    estimate: float | None = None
    requests: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    first_tokens: int | None = None
    decode_steps: int | None = None
    cached_prompt_tokens: int | None = None

    @property
    def acceptance_length(self) -> Interval | None:
        """1 + A / D, between its bounds; None without a step."""
        if not self.num_drafts or self.accepted_low is None or self.accepted_high is None:
            return None
        return Interval(1 + self.accepted_low / self.num_drafts, 1 + self.accepted_high / self.num_drafts)

    @property
    def acceptance_rate(self) -> Interval | None:
        """A / T, between its bounds; None where nothing was drafted, or where T is unknown."""
        if not self.num_draft_tokens or self.accepted_low is None or self.accepted_high is None:
            return None
        most = min(self.accepted_high, self.num_draft_tokens)
        return Interval(self.accepted_low / self.num_draft_tokens, most / self.num_draft_tokens)

    @property
    def per_position_acceptance_rates(self) -> tuple[float, ...] | None:
        """p_i = A_i / D; None where either is unknown or D = 0."""
        if not self.num_drafts or self.accepted_per_position is None:
            return None
        return tuple(accepted / self.num_drafts for accepted in self.accepted_per_position)

    @property
    def tokens_per_step(self) -> float | None:
        """Tokens emitted per decode step, steps without drafts included."""
        if self.generation_tokens is None or self.first_tokens is None or not self.decode_steps:
            return None
        return (self.generation_tokens - self.first_tokens) / self.decode_steps

    @property
    def cache_hit_rate(self) -> float | None:
        """Prompt tokens that came from the prefix cache, of all; a cache counts a prompt a moment before others do."""
        if self.cached_prompt_tokens is None or not self.prompt_tokens:
            return None
        return min(self.cached_prompt_tokens / self.prompt_tokens, 1.0)


_TRAFFIC = (
    "requests",
    "prompt_tokens",
    "generation_tokens",
    "first_tokens",
    "decode_steps",
    "cached_prompt_tokens",
)


def figures_of_reading(reading: CounterReading) -> WatchFigures:
    """The sums of one reading.

    A server that gives bounds counts steps and first tokens at different times, so they give no tokens per step.
    """
    traffic = {name: getattr(reading.traffic, name) for name in _TRAFFIC}
    counts, bounds, drafts = reading.counts, reading.acceptance_length_bounds, reading.num_drafts
    if counts is not None and counts.num_drafts is not None:
        return WatchFigures(
            source=reading.source,
            num_drafts=counts.num_drafts,
            num_draft_tokens=counts.num_draft_tokens,
            accepted_low=counts.num_accepted_tokens,
            accepted_high=counts.num_accepted_tokens,
            accepted_per_position=counts.accepted_per_position,
            **traffic,
        )
    if bounds is not None and drafts is not None:
        width = reading.proposed_per_step
        return WatchFigures(
            source=reading.source,
            num_drafts=drafts,
            num_draft_tokens=drafts * width if width is not None else None,
            accepted_low=round((bounds.low - 1) * drafts),
            accepted_high=round((bounds.high - 1) * drafts),
            **{**traffic, "decode_steps": None},
        )
    estimate = reading.acceptance_length if reading.source == "gauge_estimate" else None
    return WatchFigures(source=reading.source, estimate=estimate, **{**traffic, "decode_steps": None})


def add_up(parts: Iterable[WatchFigures]) -> WatchFigures:
    """The sums of all. What one of them does not say is unknown in the sum; those that tell no acceptance are left out
    of it, unless one of them has an estimate only, which is that of a server that does speculate."""
    told = list(parts)
    if len(told) == 1:
        return told[0]
    traffic: dict[str, Any] = {name: _sum([getattr(part, name) for part in told]) for name in _TRAFFIC}
    known = [part for part in told if part.num_drafts is not None]
    if not known or any(part.source == "gauge_estimate" for part in told):
        return WatchFigures(**traffic)
    positions = [part.accepted_per_position for part in known if part.num_drafts]
    return WatchFigures(
        source="bounds" if any(part.source == "bounds" for part in known) else "counters",
        num_drafts=_sum([part.num_drafts for part in known]),
        num_draft_tokens=_sum([part.num_draft_tokens for part in known]),
        accepted_low=_sum([part.accepted_low for part in known]),
        accepted_high=_sum([part.accepted_high for part in known]),
        accepted_per_position=_positions(positions),
        **traffic,
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _positions(parts: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    known = [part for part in parts if part is not None]
    return tuple(map(sum, zip_longest(*known, fillvalue=0))) if len(known) == len(parts) else None
