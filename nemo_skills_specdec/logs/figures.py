"""Acceptance figures from the intervals of a vLLM log, with what their rounding leaves open.

A log line gives T and A as integers, but not D, the verification steps. D = A / (AL - 1) is what is usually computed;
AL has two decimals, so near AL = 1 that says little. More is known: every printed rate is an integer A_i over D,
rounded to 3 decimals, the A_i sum to A, and T <= K D with K the number of positions. `recover` keeps every D that meets
all of this; often a single one is left, and then the counts of the interval are known exactly.

Rates of several intervals are weighted. By steps is right (sum A_i / sum D); by drafted tokens is what
`acceptance_analysis.txt` of speculators' evaluation holds. They agree where every step drafts the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.logs.vllm_log import LogInterval
from nemo_skills_specdec.records import Finding
from nemo_skills_specdec.statistics import Interval

_EDGE = 1e-9
"""Slack at the edges of rounding, so that no true value is excluded by floating point."""

_MOST_CANDIDATES = 4_000_000
"""Numbers of steps times positions that are tried one by one; a wider range is bounded by its ends alone."""


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one interval, as far as its line allows.

    Attributes:
        drafts: smallest and largest D that agree with every printed figure; None if no D does.
        per_position: for each draft position smallest and largest A_i; empty where the line has no rates.
        bonus_included: False where the printed length only agrees as A / D, as before vLLM 0.9.
    """

    drafts: tuple[int, int] | None
    per_position: tuple[tuple[int, int], ...]
    bonus_included: bool = True


class LogAcceptance(msgspec.Struct, frozen=True, kw_only=True):
    """Acceptance from a log. Unknown values are null, never 0.

    Attributes:
        num_drafts: D where it is certain, or where every line agrees with D = T / K (see `draft_length_fixed`).
        num_drafts_bounds: what the rounding of the printed figures leaves for D; `acceptance_length_bounds` likewise.
        draft_length_fixed: every line agrees with K drafted tokens in every step, so D = T / K was taken.
        accepted_per_position: A_i where they are certain.
        acceptance_length: 1 + A / D, with the middle of the range where D is not certain.
        acceptance_rate: A / T, exact.
        per_position_acceptance_rates: weighted by steps; as precise as 3 decimals allow.
        drafted_weighted_rates: printed rates weighted by drafted tokens, 0 where an interval lacks a position.
        drafted_weighted_conditional_rates: ratios of neighbours in it, the first one itself; null after a 0.
        printed_length_estimate: 1 + A / sum of A / (AL - 1), from the printed lengths alone; null if one of them is 1.
    """

    source: Literal["log"] = "log"
    num_drafts: int | None = None
    num_draft_tokens: int
    num_accepted_tokens: int
    accepted_per_position: tuple[int, ...] | None = None
    acceptance_length: float | None = None
    acceptance_rate: float | None
    per_position_acceptance_rates: tuple[float, ...] | None = None
    conditional_acceptance_rates: tuple[float | None, ...] | None = None
    num_drafts_bounds: tuple[int, int] | None = None
    acceptance_length_bounds: Interval | None = None
    draft_length_fixed: bool = False
    drafted_weighted_rates: tuple[float, ...] | None = None
    drafted_weighted_conditional_rates: tuple[float | None, ...] | None = None
    printed_length_estimate: float | None = None
    num_intervals: int
    first_time: str | None
    last_time: str | None
    findings: list[Finding] = []


def recover(interval: LogInterval) -> Recovered:
    """Everything that one line says about D and A_i."""
    drafted, accepted, positions = interval.num_draft_tokens, interval.num_accepted_tokens, len(interval.rates)
    if interval.length is None or not positions:
        return Recovered(drafts=None, per_position=())
    for bonus in (1, 0):
        length = float(interval.length) - bonus
        low, high = max(math.ceil(drafted / positions), 1), drafted
        if accepted:
            low = max(low, math.ceil(accepted / (length + 0.005) - _EDGE))
            high = min(high, math.floor(accepted / (length - 0.005) + _EDGE)) if length > 0.005 else high
        elif length > 0.005:
            continue
        found = _possible(interval, low, high)
        if found is not None:
            return msgspec.structs.replace(found, bonus_included=bool(bonus))
    return Recovered(drafts=None, per_position=())


def log_acceptance(intervals: Sequence[LogInterval]) -> tuple[LogAcceptance, list[LogInterval]]:
    """Sums intervals; those whose figures agree with no number of steps are left out.

    Returns:
        The figures, and the intervals left out: lines that were torn within a number.
    """
    pairs = [(interval, recover(interval)) for interval in intervals]
    refused = [interval for interval, found in pairs if interval.rates and found.drafts is None]
    pairs = [(interval, found) for interval, found in pairs if not interval.rates or found.drafts is not None]
    drafted = sum(interval.num_draft_tokens for interval, _ in pairs)
    accepted = sum(interval.num_accepted_tokens for interval, _ in pairs)
    complete = bool(pairs) and all(found.drafts is not None for _, found in pairs)
    result = LogAcceptance(
        num_draft_tokens=drafted,
        num_accepted_tokens=accepted,
        acceptance_rate=accepted / drafted if drafted else None,
        num_intervals=len(pairs),
        first_time=next((interval.time for interval, _ in pairs if interval.time), None),
        last_time=next((interval.time for interval, _ in reversed(pairs) if interval.time), None),
    )
    if complete:
        result = _with_steps(result, pairs)
    findings = []
    if any(not found.bonus_included for _, found in pairs):
        findings.append(
            Finding(
                code="log_length_without_bonus",
                severity="info",
                message="This vLLM prints acceptance lengths without the bonus token; those given here include it.",
            )
        )
    if pairs and not complete:
        findings.append(
            Finding(
                code="log_without_positions",
                severity="warning",
                message="Some lines, printed by vLLM before 0.8.5, have neither lengths nor positions, so only totals "
                "and the acceptance rate are known; update vLLM, or measure with `ns-specdec eval`.",
            )
        )
    return msgspec.structs.replace(result, findings=findings), refused


def _with_steps(result: LogAcceptance, pairs: Sequence[tuple[LogInterval, Recovered]]) -> LogAcceptance:
    """Adds everything that needs D."""
    accepted = result.num_accepted_tokens
    least, most = _drafts(pairs)
    fixed = [_at_fixed_length(interval, found) for interval, found in pairs]
    is_fixed = all(found is not None for found in fixed)
    if is_fixed:
        pairs = [(interval, found) for (interval, _), found in zip(pairs, fixed, strict=True) if found is not None]
    low, high = _drafts(pairs)
    positions = max(len(interval.rates) for interval, _ in pairs)
    exact = all(lower == upper for _, found in pairs for lower, upper in found.per_position)
    rates, weighted = _by_steps(pairs, positions), _by_drafted(pairs, positions)
    return msgspec.structs.replace(
        result,
        num_drafts=low if low == high else None,
        num_drafts_bounds=(least, most),
        accepted_per_position=tuple(
            sum(found.per_position[i][0] for _, found in pairs if i < len(found.per_position)) for i in range(positions)
        )
        if exact
        else None,
        acceptance_length=1 + 2 * accepted / (low + high),
        acceptance_length_bounds=Interval(1 + accepted / most, 1 + accepted / least),
        draft_length_fixed=is_fixed,
        per_position_acceptance_rates=rates,
        conditional_acceptance_rates=conditional(rates),
        drafted_weighted_rates=weighted,
        drafted_weighted_conditional_rates=conditional(weighted),
        printed_length_estimate=_from_printed(pairs, accepted),
    )


def conditional(rates: Sequence[float] | None) -> tuple[float | None, ...] | None:
    """c_0 = p_0, c_i = p_i / p_{i-1}; None where p_{i-1} = 0."""
    if rates is None:
        return None
    return tuple(rate / before if before else None for rate, before in zip(rates, (1.0, *rates), strict=False))


def _possible(interval: LogInterval, least: int, most: int) -> Recovered | None:
    """The numbers of steps from `least` to `most` for which integers A_i exist that agree with what is printed."""
    import numpy as np

    accepted = interval.num_accepted_tokens
    if least > most:
        return None
    if not accepted:
        rejected = not any(float(text) for text in interval.rates)
        return Recovered(drafts=(least, most), per_position=((0, 0),) * len(interval.rates)) if rejected else None
    too_many = (most - least) * len(interval.rates) > _MOST_CANDIDATES
    drafts = np.array([least, most]) if too_many else np.arange(least, most + 1)
    rates = np.array([float(text) for text in interval.rates])[:, None]
    low = np.maximum(np.ceil((rates - 0.0005) * drafts - _EDGE), 0).astype(np.int64)
    high = np.minimum(np.floor((rates + 0.0005) * drafts + _EDGE), drafts).astype(np.int64)
    if too_many:
        # Both grow with the number of steps.
        ends = tuple(zip(low[:, 0].tolist(), np.minimum(high[:, 1], accepted).tolist(), strict=True))
        return Recovered(drafts=(least, most), per_position=ends)
    agrees = (low <= high).all(0) & (low.sum(0) <= accepted) & (accepted <= high.sum(0))
    if not agrees.any():
        return None
    drafts, low, high = drafts[agrees], low[:, agrees], high[:, agrees]
    # What the other positions leave over narrows each of them.
    narrow_low = np.maximum(low, accepted - (high.sum(0) - high)).min(1)
    narrow_high = np.minimum(high, accepted - (low.sum(0) - low)).max(1)
    return Recovered(
        drafts=(int(drafts[0]), int(drafts[-1])),
        per_position=tuple(zip(narrow_low.tolist(), narrow_high.tolist(), strict=True)),
    )


def _at_fixed_length(interval: LogInterval, found: Recovered) -> Recovered | None:
    """The counts if every step drafted one token a position; None where the line disagrees."""
    drafts, rest = divmod(interval.num_draft_tokens, len(interval.rates))
    least, most = found.drafts or (0, 0)
    return None if rest or not least <= drafts <= most else _possible(interval, drafts, drafts)


def _drafts(pairs: Sequence[tuple[LogInterval, Recovered]]) -> tuple[int, int]:
    low, high = zip(*(found.drafts or (0, 0) for _, found in pairs), strict=True)
    return sum(low), sum(high)


def _by_steps(pairs: Sequence[tuple[LogInterval, Recovered]], positions: int) -> tuple[float, ...]:
    """sum A_i / sum D, each at the middle of its range."""
    drafts = sum(_drafts(pairs))
    return tuple(
        sum(sum(found.per_position[i]) for _, found in pairs if i < len(found.per_position)) / drafts
        for i in range(positions)
    )


def _by_drafted(pairs: Sequence[tuple[LogInterval, Recovered]], positions: int) -> tuple[float, ...]:
    intervals = [interval for interval, _ in pairs]
    drafted = sum(interval.num_draft_tokens for interval in intervals)
    return tuple(
        math.fsum(float(line.rates[i]) * line.num_draft_tokens for line in intervals if i < len(line.rates)) / drafted
        for i in range(positions)
    )


def _from_printed(pairs: Sequence[tuple[LogInterval, Recovered]], accepted: int) -> float | None:
    """AL from D = A / (AL - 1) of every line, as it is usually computed; None where a line prints AL = 1."""
    excess = [float(interval.length or 1) - found.bonus_included for interval, found in pairs]
    if min(excess) <= 0:
        return None
    return 1 + accepted / math.fsum(line.num_accepted_tokens / x for (line, _), x in zip(pairs, excess, strict=True))
