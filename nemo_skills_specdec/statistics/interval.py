"""What an interval is."""

import msgspec

LEVEL = 0.95
FEWEST_CLUSTERS = 3
"""Below this there is no interval at all: two prompts say next to nothing about how prompts differ."""


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """A 95 % confidence interval; in files `[low, high]`."""

    low: float
    high: float
