"""Numbers of a comparison as text, the same in terminal, Markdown and JUnit."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.compare.change import FigureChange, Noise
from nemo_skills_specdec.compare.gate import ThresholdResult
from nemo_skills_specdec.statistics import Interval

UNKNOWN = "-"
_SECONDS = ("ttft_seconds", "tpot_seconds")
_NOISE: dict[Noise, str] = {
    "prompts": "the choice of prompts",
    "runs": "noise from run to run",
    "assumed": "assumed noise from run to run",
}


def value_text(change: FigureChange, value: float | None) -> str:
    """A figure with its unit, e.g. `812.4`, `2.031` or `14.2 ms`."""
    if value is None:
        return UNKNOWN
    if change.figure in _SECONDS:
        return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.3f}"


def change_text(change: FigureChange) -> str:
    """The ratio as `1.23x`, or the difference as `+0.012`."""
    if change.ratio is not None:
        return f"{change.ratio:.3f}x"
    return UNKNOWN if change.difference is None else f"{change.difference:+.3f}"


def interval_text(change: FigureChange) -> str:
    """The interval of what `change_text` says."""
    interval = change.ratio_interval if change.ratio is not None else change.difference_interval
    if interval is None:
        return UNKNOWN
    if change.ratio is not None:
        return f"{_ratio(interval.low)} to {_ratio(interval.high)}"
    return f"{interval.low:+.3f} to {interval.high:+.3f}"


def noise_text(change: FigureChange) -> str:
    """What the interval holds, e.g. `the choice of prompts and noise from run to run`."""
    return " and ".join(_NOISE[kind] for kind in change.noise)


def reasons_of(changes: Sequence[FigureChange]) -> dict[str, list[str]]:
    """Why figures are missing or have no interval, and the titles of those figures; each reason once."""
    found: dict[str, list[str]] = {}
    for change in changes:
        if change.reason is not None:
            found.setdefault(change.reason, []).append(change.title)
    return found


def threshold_text(result: ThresholdResult) -> str:
    """One sentence on a threshold."""
    if result.ratio is None:
        return f"{result.threshold} {result.limit:g}: undecided, because the ratio is unknown."
    told = f"the ratio is {result.ratio:.3f}{_bracketed(result.interval)}, at least {result.least:g} is asked"
    return f"{result.threshold} {result.limit:g}: {result.outcome}; {told}."


def _bracketed(interval: Interval | None) -> str:
    return "" if interval is None else f" ({_ratio(interval.low)} to {_ratio(interval.high)})"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:.3g}"
