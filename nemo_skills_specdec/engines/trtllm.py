"""TensorRT-LLM's `trtllm-serve`: counters by draft position on `/prometheus/metrics`.

Written from the sources of the releases after 1.2 (`tensorrt_llm/metrics/collector.py`), not from a running server,
which a finding says. A request adds to the counters when it ends: drafted and accepted tokens at each position, so the
steps that drafted anything are those that drafted position 0. At `/metrics` there is the list of the latest iterations,
which every reader empties and which drops the oldest silently; nothing is read from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import (
    Ask,
    CounterReading,
    EngineFacts,
    ServerInfo,
    SourceOffer,
    Traffic,
    offer,
    part_of,
    text_or_none,
)
from nemo_skills_specdec.engines.counters import CounterDifference, differences, gauge_total, sound_totals
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.limits import MAX_DRAFT_LENGTH
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding, StepCount

DRAFTED = "trtllm:spec_decode_drafted_tokens_total"
ACCEPTED = "trtllm:spec_decode_accepted_tokens_total"
POSITION = "token_position"

TRAFFIC = {
    "generation_tokens": "trtllm:generation_tokens_total",
    "prompt_tokens": "trtllm:prompt_tokens_total",
    "cached_prompt_tokens": "trtllm:prompt_cached_tokens_total",
    "requests": "trtllm:request_success_total",
}

BUSY = ("trtllm:num_requests_running", "trtllm:num_requests_waiting")

MODEL_CONFIG = "trtllm:model_config_info"
SPECULATION_CONFIG = "trtllm:speculative_config_info"

FACTS = EngineFacts(
    name="trtllm",
    title="TensorRT-LLM",
    series=frozenset([DRAFTED, ACCEPTED, *TRAFFIC.values(), *BUSY, MODEL_CONFIG, SPECULATION_CONFIG]),
    vital=(MODEL_CONFIG,),
    owners=("tensorrt_llm",),
    native_prefix="trtllm_",
    metrics_path="/prometheus/metrics",
    metrics_flag="return_perf_metrics: true in the file of --config",
    speculate="set speculative_config in the file of --config",
)

_LATE = ("accepted", *TRAFFIC)
"""All of its counters appear with the first request that uses them; that of drafts tells whether there was one."""


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of TensorRT-LLM's counters, summed over endpoints."""
    names = {"drafted": DRAFTED, "accepted": ACCEPTED, **TRAFFIC}
    deltas, findings = differences(names, before, after, late=_LATE)
    totals = sound_totals(deltas)
    traffic = Traffic(
        **{name: totals.get(name) for name in TRAFFIC},
        busy_before=gauge_total(before, BUSY),
        busy_after=gauge_total(after, BUSY),
    )
    findings += [_unverified(), *remarks.summed_up(after, TRAFFIC["generation_tokens"])]
    reading = CounterReading(engine="trtllm", source=None, traffic=traffic, findings=tuple(findings))
    if remarks.is_invalid(reading):
        return reading
    length = _draft_length(after)
    if "drafted" in deltas:
        return _read_counts(reading, deltas, length)
    if length is None and all(remarks.is_whole(samples, FACTS) for samples in after):
        told = "its metrics have no speculative_config_info"
        return remarks.with_findings(reading, remarks.speculation_off(FACTS.title, told, FACTS.speculate))
    if length is not None and traffic.generation_tokens:
        return _with_counts(reading, AcceptanceCounts(num_drafts=0, num_draft_tokens=0, num_accepted_tokens=0), length)
    return remarks.with_findings(reading, _no_counters())


def _read_counts(
    reading: CounterReading, deltas: Mapping[str, CounterDifference], length: int | None
) -> CounterReading:
    """The reading with its counts, unless positions contradict each other or only the first of several is counted."""
    drafted = _by_position(deltas["drafted"])
    accepted = _by_position(deltas["accepted"]) if "accepted" in deltas else ()
    if not drafted or accepted is None:
        return remarks.with_findings(reading, _broken("a position is missing or is not a number", deltas))
    if len(drafted) == 1 and length != 1:
        return remarks.with_findings(reading, _first_position_only(length))
    if any(late > early for early, late in pairwise(drafted)):
        return remarks.with_findings(reading, _broken("a later position was drafted more often", deltas))
    if any(kept > made for made, kept in zip_longest(drafted, accepted, fillvalue=0)):
        return remarks.with_findings(reading, _broken("a position was accepted more often than drafted", deltas))
    accepted += (0,) * (len(drafted) - len(accepted))
    try:
        counts = AcceptanceCounts(
            num_drafts=drafted[0],
            num_draft_tokens=sum(drafted),
            num_accepted_tokens=sum(accepted),
            accepted_per_position=accepted,
        )
    except IdentityError as error:
        return remarks.with_findings(reading, _broken(str(error), deltas))
    return _with_counts(reading, counts, length)


def _with_counts(reading: CounterReading, counts: AcceptanceCounts, length: int | None) -> CounterReading:
    return msgspec.structs.replace(
        reading,
        source="counters",
        counts=counts,
        num_drafts=counts.num_drafts,
        acceptance_length=counts.acceptance_length,
        acceptance_rate=counts.acceptance_rate,
        draft_length=length or None,
        findings=(*reading.findings, *spec_counters.nothing_drafted(counts, reading.traffic)),
    )


def _by_position(difference: CounterDifference) -> tuple[int, ...] | None:
    """The increase at each position from 0; None where a label is no position."""
    told = difference.by_label(POSITION)
    positions = {spec_counters.position_of(label): value for label, value in told.items()}
    if None in positions or sum(told.values()) != difference.total:
        return None
    last = max((place for place in positions if place is not None), default=-1)
    if last >= MAX_DRAFT_LENGTH:
        return None
    return tuple(positions.get(place, 0) for place in range(last + 1))


def _draft_length(readings: Sequence[Samples]) -> int | None:
    """The configured draft length; 0 where it speculates but does not say how far; None where it says nothing."""
    told = [dict(labels) for samples in readings for labels in samples.series.get(SPECULATION_CONFIG, {})]
    return max((spec_counters.position_of(one.get("spec_num_tokens", "")) or 0 for one in told), default=None)


def _unverified() -> Finding:
    return Finding(
        code="documented_only",
        severity="warning",
        message="TensorRT-LLM's counters are read as its sources describe them; this was never compared with a "
        "running server, so check one run against the engine's own figures.",
    )


def _no_counters() -> Finding:
    return Finding(
        code="no_acceptance_metrics",
        severity="invalid",
        message="This TensorRT-LLM counts no drafts by position, so its acceptance is unknown: it needs a release "
        f"after 1.2, {FACTS.metrics_flag}, and a request that has ended.",
    )


def _first_position_only(length: int | None) -> Finding:
    return Finding(
        code="spec_counters_incomplete",
        severity="invalid",
        message="TensorRT-LLM counts the first draft position only, which it also does where it does not tell "
        f"positions apart; with a draft length of {length or 'unknown'} nothing follows from it.",
        numbers={"draft_length": length},
    )


def _broken(why: str, deltas: Mapping[str, CounterDifference]) -> Finding:
    told = {name: str(deltas[name].by_label(POSITION)) for name in ("drafted", "accepted") if name in deltas}
    return remarks.identity_broken(IdentityError(why), dict(told))


def answers_to(ask: Ask) -> bool:
    """Nothing that it answers is its own: `/v1/models` names it."""
    return False


def describe(info: ServerInfo, ask: Ask) -> None:
    """Version from `/version`, speculation from the metrics' configuration series."""
    info.version = text_or_none(part_of({"version": ask.get("/version")}, "version").get("version"))
    told = [dict(labels) for samples in ask.samples for labels in samples.series.get(SPECULATION_CONFIG, {})]
    length = _draft_length(ask.samples)
    if length is not None or any(DRAFTED in samples.series for samples in ask.samples):
        info.speculation = "on"
        info.draft_length = length or None
        info.method = next((text_or_none(one.get("spec_method")) for one in told), None)
    elif ask.samples and all(remarks.is_whole(samples, FACTS) for samples in ask.samples):
        info.speculation = "off"


def offers(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
    """Counters behind a setting; no release tells acceptance in its answers."""
    cure = (
        FACTS.speculate if info.speculation == "off" else no_metrics or f"set {FACTS.metrics_flag}, after release 1.2"
    )
    here = True if any(DRAFTED in item.series for item in samples) else None if info.speculation == "on" else False
    return [offer("counters", here, spec_counters.ALL_RATES, uses=f"{DRAFTED} by position", cure=cure)]


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Nothing: no field asks for statistics."""
    return {}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Nothing: answers tell no counts."""
    return None


def request_steps(response: Mapping[str, Any]) -> list[StepCount] | None:
    """Nothing: answers tell no steps."""
    return None


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Nothing: chunks tell no counts."""
    return None
