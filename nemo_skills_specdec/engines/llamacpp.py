"""llama.cpp's server: counters on `/metrics`, and `timings` in each answer and in each chunk of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_steps
from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import (
    Ask,
    CounterReading,
    EngineFacts,
    ServerInfo,
    SourceOffer,
    Traffic,
    number_or_none,
    offer,
    part_of,
    text_or_none,
)
from nemo_skills_specdec.engines.counters import CounterDifference, differences, gauge_total, sound_totals
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.limits import check_answer, check_draft_length
from nemo_skills_specdec.engines.spec_counters import counter_names
from nemo_skills_specdec.errors import JSON_ERRORS, IdentityError
from nemo_skills_specdec.records import Finding, StepCount

PREFIX = "llamacpp:"

TRAFFIC = {
    "generation_tokens": "llamacpp:tokens_predicted_total",
    "computed_prompt_tokens": "llamacpp:prompt_tokens_total",
    "cached_prompt_tokens": "llamacpp:prompt_tokens_cached_total",
}

BUSY = ("llamacpp:requests_processing", "llamacpp:requests_deferred")

FACTS = EngineFacts(
    name="llamacpp",
    title="llama.cpp",
    series=frozenset([*counter_names(PREFIX).values(), *TRAFFIC.values(), *BUSY]),
    vital=(TRAFFIC["generation_tokens"],),
    owners=("llamacpp",),
    metrics_flag="--metrics",
    speculate="start the server with --spec-type (such as ngram-simple) or a draft model (-md)",
    cache_cure="give --extra-body '{\"cache_prompt\": false}', with which it computes every prompt anew",
    several_samples="the statistics of llama.cpp are those of the first sample alone",
)


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of llama.cpp's counters, summed over endpoints.

    The counters are there, at 0, with speculation off too; those per position appear with the first draft.
    """
    names = {**spec_counters.counter_names(PREFIX), **TRAFFIC}
    deltas, findings = differences(names, before, after, late=[spec_counters.PER_POSITION])
    findings += remarks.summed_up(after, TRAFFIC["generation_tokens"])
    traffic = _traffic(deltas, before, after)
    reading = CounterReading(engine="llamacpp", source=None, traffic=traffic, findings=tuple(findings))
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        lacking = next((samples for samples in after if not remarks.is_whole(samples, FACTS)), None)
        if lacking is not None:
            return remarks.not_an_engines(reading, lacking, FACTS)
        return remarks.with_findings(reading, _too_old())
    drafted = deltas.get(spec_counters.DRAFTS)
    if info is not None and info.speculation == "off" and drafted is not None and not drafted.total:
        off = remarks.speculation_off("llama.cpp", "its slots do not speculate", FACTS.speculate)
        return remarks.with_findings(reading, off)
    return spec_counters.read_counts(reading, deltas)


def _traffic(deltas: Mapping[str, CounterDifference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = sound_totals(deltas)
    computed, cached = totals.get("computed_prompt_tokens"), totals.get("cached_prompt_tokens")
    return Traffic(
        prompt_tokens=computed + (cached or 0) if computed is not None else None,
        cached_prompt_tokens=cached,
        generation_tokens=totals.get("generation_tokens"),
        busy_before=gauge_total(before, BUSY),
        busy_after=gauge_total(after, BUSY),
    )


def _too_old() -> Finding:
    return Finding(
        code="no_acceptance_metrics",
        severity="invalid",
        message="This llama.cpp has no llamacpp:spec_decode series, so it is older than these counters; use a newer "
        "release, or the drafted and accepted tokens in each response.",
    )


class LlamaTimings(msgspec.Struct):
    """`timings` of a response; llama.cpp leaves both counts out where nothing was drafted."""

    draft_n: int | None = None
    draft_n_accepted: int | None = None


class LlamaProgress(LlamaTimings):
    """`timings` of one chunk."""

    predicted_n: int | None = None


class LlamaChunk(msgspec.Struct):
    """One chunk of a stream."""

    timings: LlamaProgress | None = None


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Asks for `timings` in every chunk of a stream, which tell the steps; without a stream they come by themselves."""
    return {"timings_per_token": True} if stream else {}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts from `timings`: drafted and accepted tokens. The steps are told by `stream_counts` only.

    A response without `draft_n`, from a server that speculates, drafted nothing. With several samples (n > 1) the
    timings are those of the first alone, so there are no counts.

    Raises:
        IdentityError: the counts contradict each other.
    """
    raw = response.get("timings")
    choices = response.get("choices")
    if not isinstance(raw, Mapping) or (isinstance(choices, list) and len(choices) > 1):
        return None
    try:
        timings = msgspec.convert(raw, LlamaTimings)
    except JSON_ERRORS as error:
        raise IdentityError(f"timings are not what llama.cpp sends ({error})") from error
    if timings.draft_n is None:
        return NO_STEPS if info is not None and info.speculation == "on" else None
    counts = AcceptanceCounts(
        num_drafts=None if timings.draft_n else 0,
        num_draft_tokens=timings.draft_n,
        num_accepted_tokens=timings.draft_n_accepted or 0,
    )
    tokens = number_or_none(part_of(response, "usage").get("completion_tokens"))
    # Positions appear as they are drafted, so the longest draft is not known for certain.
    check_answer(counts, completion_tokens=tokens, draft_length=None)
    return counts


def request_steps(response: Mapping[str, Any]) -> list[StepCount] | None:
    """Nothing: the statistics are sums."""
    return None


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Counts from the running `timings` of a stream's chunks, which tell every verification step.

    Each chunk carries one token, and the drafted and accepted tokens so far. A step emits at least one token: between
    two chunks that are one token apart lies at most one step, and the growth is that step's. Where a chunk is more than
    one token ahead (a character of several tokens was held back) and drafts have grown, there may have been several
    steps: then the number of steps is not known, and neither are the positions.

    Returns:
        The counts; None if the chunks carry no running timings.
    """
    accepted: list[int] = []
    drafted: list[int] = []
    last = LlamaProgress(predicted_n=0)
    ambiguous = False
    seen = 0
    for frame in frames:
        # Only what is needed of a chunk is decoded; those without timings are role and text.
        if b'"timings"' not in frame:
            continue
        try:
            now = msgspec.json.decode(frame, type=LlamaChunk).timings
        except JSON_ERRORS:
            return None
        if now is None or now.predicted_n is None:
            return None
        seen += 1
        grown = (now.draft_n or 0) - (last.draft_n or 0)
        if grown:
            ambiguous = ambiguous or now.predicted_n - (last.predicted_n or 0) > 1
            drafted.append(grown)
            accepted.append((now.draft_n_accepted or 0) - (last.draft_n_accepted or 0))
        last = now
    if seen < 2:
        return None
    if ambiguous:
        return AcceptanceCounts(
            num_drafts=None, num_draft_tokens=last.draft_n or 0, num_accepted_tokens=last.draft_n_accepted or 0
        )
    check_draft_length(max(drafted, default=0))
    return counts_from_steps(accepted, drafted)


_RATES = "AR, per request"


def answers_to(ask: Ask) -> bool:
    """Whether the server has llama.cpp's properties."""
    return "default_generation_settings" in part_of({"props": ask.get("/props")}, "props")


def describe(info: ServerInfo, ask: Ask) -> None:
    """Version from its properties; speculation from its slots, or from the positions that were drafted."""
    info.version = text_or_none(part_of({"props": ask.get("/props")}, "props").get("build_info"))
    slots = ask.get("/slots")
    told = [slot.get("speculative") for slot in slots if isinstance(slot, dict)] if isinstance(slots, list) else []
    info.draft_length = spec_counters.num_positions(ask.samples, PREFIX)
    if any(told) or info.draft_length:
        info.speculation = "on"
    elif told and not any(value is None for value in told):
        info.speculation = "off"


def offers(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
    """Timings in each answer, which lack the number of steps unless streamed, and counters behind a flag."""
    if info.speculation == "off":
        return [
            offer("response", False, _RATES, cure=FACTS.speculate),
            offer("counters", False, spec_counters.ALL_RATES, cure=FACTS.speculate),
        ]
    on = True if info.speculation == "on" else None
    timings = "timings in every response, without the number of steps (no AL)"
    response = offer("response", on, _RATES, uses=timings, cure=FACTS.speculate)
    if any(spec_counters.has_spec_series(item, PREFIX) for item in samples):
        uses = "llamacpp:spec_decode series on /metrics"
        return [response, offer("counters", on, spec_counters.ALL_RATES, uses=uses, cure=FACTS.speculate)]
    cure = no_metrics or "use a newer llama.cpp, whose metrics have llamacpp:spec_decode series"
    return [response, offer("counters", False, spec_counters.ALL_RATES, cure=cure)]
