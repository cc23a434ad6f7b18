"""What to say about speed beyond what is always said."""

from __future__ import annotations

import math
import re

import msgspec

from nemo_skills_specdec.errors import UsageError

SHOWN_PERCENTILES = (50.0, 90.0, 99.0)
_BOUND = re.compile(r"(?P<name>\w+)\s*[=:]\s*(?P<value>\d+(\.\d*)?|\.\d+)\s*(?P<unit>ms|s)")
_UNITS = {"ms": 0.001, "s": 1.0}


class Slo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Service level objectives: what a request may take at most, in seconds; None for no bound."""

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    e2e_seconds: float | None = None


class SpeedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How speed is summed up. Nothing of it changes what is sent, so that it can be changed later.

    Attributes:
        percentiles: shown on the terminal in place of 50, 90 and 99, and stored besides those that always are.
        slo: bounds that a request must meet to count as goodput.
        steady_state: whether the figures without ramp-up and tail are given as well.
    """

    percentiles: list[float] = []
    slo: Slo | None = None
    steady_state: bool = False


def parse_speed_options(percentiles: str | None, slo: str | None, steady_state: bool) -> SpeedOptions:
    """Reads the options as they are typed; None for one that is not.

    Raises:
        UsageError: one cannot be read.
    """
    return SpeedOptions(
        percentiles=parse_percentiles(percentiles) if percentiles is not None else [],
        slo=parse_slo(slo) if slo is not None else None,
        steady_state=steady_state,
    )


def parse_slo(text: str) -> Slo:
    """Reads bounds such as `ttft=200ms,tpot=30ms,e2e=5s`.

    Raises:
        UsageError: it is not such a list.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        match = _BOUND.fullmatch(part.strip())
        name = f"{match['name'].lower()}_seconds" if match is not None else ""
        if match is None or name not in Slo.__struct_fields__ or name in found or float(match["value"]) <= 0:
            raise UsageError(f"--slo {part.strip()!r} is not a bound; write e.g. ttft=200ms,tpot=30ms,e2e=5s")
        found[name] = float(match["value"]) * _UNITS[match["unit"]]
    return Slo(**found)


def parse_percentiles(text: str) -> list[float]:
    """Reads percentiles such as `50,90,99.9`, in rising order.

    Raises:
        UsageError: it is not a list of numbers from 0 to 100.
    """
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) and 0 <= value <= 100 for value in values):
        raise UsageError(f"--percentiles {text!r} are not percentiles; write e.g. 50,90,99")
    return values
