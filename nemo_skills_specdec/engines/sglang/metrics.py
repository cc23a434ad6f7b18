"""SGLang's counters and gauges on `/metrics`.

Differences over the window, summed over label sets: D verification steps, G generated tokens, N requests, all three
counted when a request ends; R tokens decoded, counted live, one (tp_rank, pp_rank) per dp_rank.

    AL_out = (G - N) / D   lower bound: one token of each request comes from its prefill; tokens cut off are missing
    AL_rt  = R / D         1 + A / D exactly with synchronous scheduling; an overlapped scheduler may add a token for
                           each finished request, which makes it an upper bound
    AL_cut = (G - N + N (K - 1)) / D
                           upper bound where R gives none, because requests in flight at the window's start had decoded
                           before it: the last step of a request cuts off at most K - 1 tokens

K is `speculative_num_draft_tokens`, the verified nodes including the root, so AR = (AL - 1) / (K - 1).
The gauges hold the mean of the last `decode_log_interval` iterations and are never differenced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts
from nemo_skills_specdec.engines import remarks
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo, Traffic
from nemo_skills_specdec.engines.counters import CounterDifference, differences, gauge_total, gauge_values, sound_totals
from nemo_skills_specdec.engines.exposition import Labels, Samples
from nemo_skills_specdec.engines.sglang import findings as own
from nemo_skills_specdec.engines.sglang.facts import (
    BUSY,
    COUNTERS,
    FACTS,
    GAUGE_LENGTH,
    GAUGE_NODES,
    GAUGE_RATE,
    GAUGE_STEPS,
    SCHEDULER_COUNTERS,
)
from nemo_skills_specdec.engines.versions import at_least
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding, Numbers
from nemo_skills_specdec.statistics import Interval

_RANKS = ("tp_rank", "pp_rank", "moe_ep_rank")

_LATE = ("aborted", "retracted", "cached")
"""Counters that appear when they are first used; a window with aborted or retracted requests is given as bounds."""


class SglangWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The differences that acceptance is computed from; None where the server has no such counter."""

    verify: int | None
    generated: int
    requests: int
    decoded: int | None
    aborted: int
    retracted: int
    busy_before: bool
    busy: bool
    nodes: int | None
    fixed_width: bool


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The best that SGLang's metrics allow: exact counts, bounds, an estimate by gauge, or nothing."""
    before, after = [_one_rank(samples) for samples in before], [_one_rank(samples) for samples in after]
    deltas, findings = differences(COUNTERS, before, after, late=_LATE)
    findings += remarks.summed_up(after, COUNTERS["generation_tokens"])
    traffic = _traffic(deltas, before, after)
    reading = CounterReading(engine="sglang", source=None, traffic=traffic, findings=tuple(findings))
    if remarks.is_invalid(reading):
        return reading
    window = SglangWindow(
        verify=deltas["verify"].total if "verify" in deltas else None,
        generated=traffic.generation_tokens or 0,
        requests=traffic.requests or 0,
        decoded=deltas["decoded"].total if "decoded" in deltas else None,
        aborted=deltas["aborted"].total if "aborted" in deltas else 0,
        retracted=deltas["retracted"].total if "retracted" in deltas else 0,
        busy_before=bool(traffic.busy_before),
        busy=bool(traffic.busy_before or traffic.busy_after),
        nodes=_nodes(after, info),
        fixed_width=not (info and info.settings.get("speculative_adaptive")),
    )
    if window.fixed_width and window.nodes:
        depth = info.draft_length if info is not None and info.draft_length else window.nodes - 1
        reading = msgspec.structs.replace(reading, draft_length=depth, proposed_per_step=window.nodes - 1)
    if window.verify is None and not (info is not None and info.speculation == "on"):
        reading = _without_steps(reading, after, info)
        if reading.findings[len(findings) :]:
            return reading
    if window.verify is None and (window.requests or window.generated):
        return _gauge_estimate(reading, before, after, window, deltas, info)
    if not window.verify:
        return msgspec.structs.replace(reading, source="counters", counts=NO_STEPS, num_drafts=0)
    reading = msgspec.structs.replace(reading, num_drafts=window.verify)
    reading = remarks.with_findings(reading, *_tree_drafts(after, window, info))
    return _from_counters(reading, window, info)


def accept_rate_from_gauge(
    rate: float, *, version: str | None, nodes: int | None, num_steps: int | None
) -> float | None:
    """The acceptance rate A / T behind `sglang:spec_accept_rate`, whose meaning depends on the version.

    0.5.4 and 0.5.5: (A + D) / (D (num_steps + 1)); 0.5.6 to 0.5.10: (A + D) / (D K); from 0.5.11: A / (D (K - 1)).

    Args:
        nodes: K, the verified nodes including the root.
        num_steps: `speculative_num_steps`, which only 0.5.4 and 0.5.5 need.

    Returns:
        None where the version, or what it needs, is unknown.
    """
    if at_least(version, (0, 5, 11)):
        return rate
    if at_least(version, (0, 5, 4)) is not True:
        return None
    width = nodes if at_least(version, (0, 5, 6)) else (num_steps + 1 if num_steps else None)
    return (rate * width - 1) / (width - 1) if width and width > 1 else None


def _without_steps(reading: CounterReading, after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The reading with a finding if the server does not speculate, or if nothing tells whether it does."""
    if info is not None and info.speculation == "off":
        return remarks.with_findings(reading, remarks.speculation_off("SGLang", "it says so", FACTS.speculate))
    if any(value > 0 for name in (GAUGE_LENGTH, GAUGE_NODES) for _, value in gauge_values(after, name)):
        return reading
    # The length is 0 until the first log interval is over; the number of nodes came with the counter of steps.
    if all(GAUGE_NODES in samples.series for samples in after):
        evidence = "it counted no verification step, and its speculation gauges are 0"
        return remarks.with_findings(reading, remarks.speculation_off("SGLang", evidence, FACTS.speculate))
    lacking = next(samples for samples in after if GAUGE_NODES not in samples.series)
    if not remarks.is_whole(lacking, FACTS):
        return remarks.not_an_engines(reading, lacking, FACTS)
    return remarks.with_findings(reading, own.PERHAPS_OFF)


def _from_counters(reading: CounterReading, window: SglangWindow, info: ServerInfo | None) -> CounterReading:
    drafts = window.verify or 0
    low_tokens = window.generated - window.requests - window.retracted
    numbers: Numbers = {
        "verify_calls": drafts,
        "generation_tokens": window.generated,
        "requests": window.requests,
        "realtime_decode_tokens": window.decoded,
    }
    if window.nodes and _cut_off_is_known(window):
        cut_off = window.requests * (window.nodes - 1)
        most = min(window.generated - window.requests + cut_off, drafts * window.nodes)
        return _bracketed(reading, window, max(low_tokens, drafts), max(most, low_tokens, drafts))
    if window.decoded is None:
        return remarks.with_findings(reading, own.no_upper_bound(low_tokens / drafts, numbers))
    if window.decoded < max(low_tokens, drafts):
        broken = IdentityError(
            f"{window.decoded} tokens were decoded, but the requests that ended hold {max(low_tokens, drafts)}"
        )
        return remarks.with_findings(reading, remarks.identity_broken(broken, numbers))
    excess = window.decoded - low_tokens
    if _is_exact(window, excess, info):
        return _exact(reading, window, numbers)
    return _bracketed(reading, window, max(low_tokens, drafts), window.decoded)


def _cut_off_is_known(window: SglangWindow) -> bool:
    """Whether the upper bound must, and can, come from what requests may have cut off."""
    return bool(window.busy_before and window.nodes and window.fixed_width)


def _bracketed(reading: CounterReading, window: SglangWindow, least: int, most: int) -> CounterReading:
    """The reading with bounds, from the fewest and the most tokens that its steps may have emitted."""
    drafts = window.verify or 1
    low, high = least / drafts, most / drafts
    rates = _rates((low, high), window)
    return remarks.with_findings(
        msgspec.structs.replace(
            reading,
            source="bounds",
            acceptance_length=(low + high) / 2,
            acceptance_length_bounds=Interval(low, high),
            acceptance_rate=(rates[0] + rates[1]) / 2 if rates else None,
            acceptance_rate_bounds=Interval(*rates) if rates else None,
        ),
        own.only_bounds(
            low,
            high,
            excess=most - (window.generated - window.requests - window.retracted),
            requests=window.requests,
            in_flight=window.busy and not _cut_off_is_known(window),
        ),
        *own.aborted_or_retracted(window.aborted, window.retracted),
    )


def _is_exact(window: SglangWindow, excess: int, info: ServerInfo | None) -> bool:
    """Whether R / D is the acceptance length itself.

    So with synchronous scheduling, which only the server's own word tells, and nothing in flight, aborted or retracted.
    A small excess proves nothing: with few accepted tokens most requests end without an extra iteration being counted.
    """
    if window.busy or window.aborted or window.retracted:
        return False
    overlap_off = info is not None and info.settings.get("disable_overlap_schedule") is True
    return overlap_off and (window.nodes is None or excess <= window.nodes * window.requests)


def _exact(reading: CounterReading, window: SglangWindow, numbers: Numbers) -> CounterReading:
    drafts, decoded = window.verify or 0, window.decoded or 0
    width = window.nodes - 1 if window.nodes and window.fixed_width else None
    try:
        counts = AcceptanceCounts(
            num_drafts=drafts,
            num_draft_tokens=drafts * width if width is not None else None,
            num_accepted_tokens=decoded - drafts,
        )
    except IdentityError as error:
        return remarks.with_findings(reading, remarks.identity_broken(error, numbers))
    return remarks.with_findings(
        msgspec.structs.replace(
            reading,
            source="counters",
            counts=counts,
            acceptance_length=counts.acceptance_length,
            acceptance_rate=counts.acceptance_rate,
        ),
        own.NO_POSITIONS,
    )


def _gauge_estimate(
    reading: CounterReading,
    before: Sequence[Samples],
    after: Sequence[Samples],
    window: SglangWindow,
    deltas: Mapping[str, CounterDifference],
    info: ServerInfo | None,
) -> CounterReading:
    length = _gauge_mean(after, GAUGE_LENGTH, deltas)
    if not length:
        return remarks.with_findings(reading, own.NO_ACCEPTANCE_METRICS)
    was = _gauge_mean(before, GAUGE_LENGTH, deltas)
    rate = _gauge_mean(after, GAUGE_RATE, deltas)
    acceptance_rate = (
        (length - 1) / (window.nodes - 1)
        if window.nodes and window.nodes > 1 and window.fixed_width
        else accept_rate_from_gauge(
            rate,
            version=info.version if info else None,
            nodes=window.nodes,
            num_steps=info.settings.get("speculative_num_steps") if info else None,
        )
        if rate
        else None
    )
    estimate = msgspec.structs.replace(
        reading, source="gauge_estimate", acceptance_length=length, acceptance_rate=acceptance_rate
    )
    return remarks.with_findings(estimate, own.gauge_estimate(was, length))


def _gauge_mean(readings: Sequence[Samples], name: str, deltas: Mapping[str, CounterDifference]) -> float | None:
    """The gauge; over data-parallel ranks their mean, weighted by the tokens each decoded in the window."""
    values = [(dict(labels).get("dp_rank", ""), value) for labels, value in gauge_values(readings, name) if value > 0]
    if not values:
        return None
    weights = deltas["decoded"].by_label("dp_rank") if "decoded" in deltas else {}
    weighted = [(weights.get(rank, 0), value) for rank, value in values]
    if sum(weight for weight, _ in weighted):
        return sum(weight * value for weight, value in weighted) / sum(weight for weight, _ in weighted)
    return sum(value for _, value in values) / len(values)


def _one_rank(samples: Samples) -> Samples:
    """Scheduler counters of one rank per data-parallel rank, decode tokens only: the other ranks repeat them."""
    chosen = {
        name: _lowest_rank(label_sets) if name in SCHEDULER_COUNTERS else label_sets
        for name, label_sets in samples.series.items()
    }
    return msgspec.structs.replace(samples, series=chosen)


def _lowest_rank(label_sets: dict[Labels, float]) -> dict[Labels, float]:
    best: dict[Labels, tuple[list[tuple[int, str]], Labels]] = {}
    for labels in label_sets:
        named = dict(labels)
        if named.get("mode", "decode") != "decode":
            continue
        rank = [(len(named.get(key, "")), named.get(key, "")) for key in _RANKS]
        others = frozenset(pair for pair in labels if pair[0] not in _RANKS)
        if others not in best or rank < best[others][0]:
            best[others] = (rank, labels)
    return {labels: label_sets[labels] for _, labels in best.values()}


def _traffic(deltas: Mapping[str, CounterDifference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = sound_totals(deltas)
    return Traffic(
        requests=totals.get("requests"),
        prompt_tokens=totals.get("prompt_tokens"),
        generation_tokens=totals.get("generation_tokens"),
        first_tokens=totals.get("first_tokens"),
        # Without a cached token so far there is no such series.
        cached_prompt_tokens=totals.get("cached", 0 if "cached" not in deltas and "prompt_tokens" in totals else None),
        decode_steps=totals.get("verify"),
        busy_before=gauge_total(before, BUSY),
        busy_after=gauge_total(after, BUSY),
    )


def _nodes(after: Sequence[Samples], info: ServerInfo | None) -> int | None:
    if info is not None and info.tree_nodes:
        return info.tree_nodes
    values = {int(value) for _, value in gauge_values(after, GAUGE_NODES) if value > 0}
    return values.pop() if len(values) == 1 else None


def _rates(lengths: tuple[float, float], window: SglangWindow) -> tuple[float, float] | None:
    if not window.nodes or window.nodes < 2 or not window.fixed_width:
        return None
    low, high = ((length - 1) / (window.nodes - 1) for length in lengths)
    return min(low, 1.0), min(high, 1.0)


def _tree_drafts(after: Sequence[Samples], window: SglangWindow, info: ServerInfo | None) -> list[Finding]:
    steps = max((value for _, value in gauge_values(after, GAUGE_STEPS)), default=0)
    told = info is not None and info.topk is not None
    is_tree = (info.topk or 1) > 1 if told and info else bool(steps and window.nodes and window.nodes > steps + 1)
    return [own.tree_drafts(info.topk if info else None, window.nodes)] if is_tree else []
