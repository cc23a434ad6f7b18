"""What llama.cpp's server says about speculative decoding: counters on `/metrics`, and `timings` inside a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_steps
from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import CounterReading, Samples, ServerInfo, Traffic
from nemo_skills_specdec.engines.prometheus import Difference, differences, gauge_total, has_prefix
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding

PREFIX = "llamacpp:"

CURE = "start the server with --spec-type (such as ngram-simple) or a draft model (-md)"

_TRAFFIC = {
    "generation_tokens": "llamacpp:tokens_predicted_total",
    "computed_prompt_tokens": "llamacpp:prompt_tokens_total",
    "cached_prompt_tokens": "llamacpp:prompt_tokens_cached_total",
}

_BUSY = ("llamacpp:requests_processing", "llamacpp:requests_deferred")


class _Timings(msgspec.Struct):
    """`timings` of a response; llama.cpp leaves both counts out where nothing was drafted."""

    draft_n: int | None = None
    draft_n_accepted: int | None = None


class _Progress(_Timings):
    """`timings` of one chunk."""

    predicted_n: int | None = None


class _Chunk(msgspec.Struct):
    timings: _Progress | None = None


def recognise(samples: Samples) -> bool:
    """Whether the series are llama.cpp's."""
    return has_prefix(samples, PREFIX)


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of llama.cpp's counters, summed over endpoints.

    The counters are there, at 0, with speculation off too; those per position appear with the first draft.
    """
    deltas, findings = differences({**spec_counters.counter_names(PREFIX), **_TRAFFIC}, before, after)
    traffic = _traffic(deltas, before, after)
    reading = CounterReading(engine="llamacpp", source=None, traffic=traffic, findings=tuple(findings))
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        return msgspec.structs.replace(reading, findings=(*findings, _too_old()))
    if any(finding.severity == "invalid" for finding in findings):
        return reading
    counts, problems = spec_counters.window_counts(deltas)
    findings += problems
    if counts is not None and not counts.num_drafts and info is not None and info.speculation == "off":
        counts = None
        findings.append(remarks.speculation_off("llama.cpp", "its slots do not speculate", CURE))
    if counts is None:
        return msgspec.structs.replace(reading, findings=tuple(findings))
    findings += spec_counters.nothing_drafted(counts, traffic)
    return msgspec.structs.replace(
        reading,
        source="counters",
        counts=counts,
        num_drafts=counts.num_drafts,
        acceptance_length=counts.acceptance_length,
        acceptance_rate=counts.acceptance_rate,
        findings=tuple(findings),
    )


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
        timings = msgspec.convert(raw, _Timings)
    except msgspec.ValidationError as error:
        raise IdentityError(f"timings are not what llama.cpp sends ({error})") from error
    if timings.draft_n is None:
        return NO_STEPS if info is not None and info.speculation == "on" else None
    return AcceptanceCounts(
        num_drafts=None if timings.draft_n else 0,
        num_draft_tokens=timings.draft_n,
        num_accepted_tokens=timings.draft_n_accepted or 0,
    )


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
    last = _Progress(predicted_n=0)
    ambiguous = False
    seen = 0
    for frame in frames:
        # Only what is needed of a chunk is decoded; those without timings are role and text.
        if b'"timings"' not in frame:
            continue
        try:
            now = msgspec.json.decode(frame, type=_Chunk).timings
        except msgspec.DecodeError:
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
    return counts_from_steps(accepted, drafted)


def _traffic(deltas: Mapping[str, Difference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = {short: delta.total for short, delta in deltas.items() if not delta.findings}
    computed, cached = totals.get("computed_prompt_tokens"), totals.get("cached_prompt_tokens")
    return Traffic(
        prompt_tokens=computed + (cached or 0) if computed is not None else None,
        generation_tokens=totals.get("generation_tokens"),
        busy_before=gauge_total(before, _BUSY),
        busy_after=gauge_total(after, _BUSY),
    )


def _too_old() -> Finding:
    return Finding(
        code="no_acceptance_metrics",
        severity="invalid",
        message="this llama.cpp has no llamacpp:spec_decode series: it is older than these counters; use a newer "
        "release, or the drafted and accepted tokens in each response",
    )
