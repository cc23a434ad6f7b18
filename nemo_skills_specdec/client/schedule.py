"""When and in which order conversations start: pure functions of the options and a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, zip_longest

import msgspec

from nemo_skills_specdec.client.exchange import LoadOptions
from nemo_skills_specdec.errors import UsageError


class Start(msgspec.Struct, frozen=True):
    """One start of a conversation.

    Attributes:
        offset: seconds after the beginning; None to start as soon as there is room.
    """

    index: int
    offset: float | None


def schedule(categories: Sequence[str], load: LoadOptions) -> list[Start]:
    """The starts, in order, of one conversation per entry of `categories`.

    Raises:
        UsageError: a limit or rate is not positive.
    """
    _check(load)
    order = round_robin(categories) if load.order == "round_robin" else list(range(len(categories)))
    if load.request_rate is None:
        return [Start(index, None) for index in order]
    offsets = arrivals(len(order), load.request_rate, poisson=load.arrival == "poisson", seed=load.seed)
    return [Start(index, offset) for index, offset in zip(order, offsets, strict=True)]


def arrivals(count: int, rate: float, *, poisson: bool, seed: int = 0) -> list[float]:
    """Arrival times in seconds from 0, the first at 0: gaps of 1 / rate, or exponential with that mean."""
    if not poisson:
        return [i / rate for i in range(count)]
    source = random.Random(seed)
    gaps = [source.expovariate(rate) for _ in range(count - 1)]
    return list(accumulate(gaps, initial=0.0)) if count else []


def round_robin(categories: Sequence[str]) -> list[int]:
    """The indices, taking one of each category in turn, categories in the order of their first appearance."""
    groups: dict[str, list[int]] = {}
    for index, category in enumerate(categories):
        groups.setdefault(category, []).append(index)
    return [index for row in zip_longest(*groups.values()) for index in row if index is not None]


def _check(load: LoadOptions) -> None:
    limits = {
        "concurrency": load.concurrency,
        "request rate": load.request_rate,
        "time-out": load.timeout_seconds,
        "time limit": load.max_seconds,
    }
    for name, value in limits.items():
        if value is not None and not value > 0:
            raise UsageError(f"the {name} is {value}; it must be above 0")
