"""What llama.cpp's server says about speculative decoding: counters on `/metrics`, and `timings` inside a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding
from nemo_skills_specdec.servers import spec_counters
from nemo_skills_specdec.servers.base import CounterReading, Samples, ServerInfo, Traffic
from nemo_skills_specdec.servers.prometheus import differences, gauge_total, has_prefix

PREFIX = "llamacpp:"

_TRAFFIC = {"generation_tokens": "llamacpp:tokens_predicted_total", "prompt_tokens": "llamacpp:prompt_tokens_total"}

_BUSY = ("llamacpp:requests_processing", "llamacpp:requests_deferred")


class _Timings(msgspec.Struct):
    """`timings` of a response; llama.cpp leaves both counts out where nothing was drafted."""

    draft_n: int | None = None
    draft_n_accepted: int | None = None


def recognise(samples: Samples) -> bool:
    """Whether the series are llama.cpp's."""
    return has_prefix(samples, PREFIX)


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of llama.cpp's counters, summed over endpoints.

    The counters of speculation appear with the first draft, so their absence means that nothing was ever drafted,
    whether speculation is off or has found nothing to draft.
    """
    deltas, findings = differences({**spec_counters.counter_names(PREFIX), **_TRAFFIC}, before, after)
    totals = {
        short: deltas[short].total if short in deltas and not deltas[short].findings else None for short in _TRAFFIC
    }
    traffic = Traffic(**totals, busy_before=gauge_total(before, _BUSY), busy_after=gauge_total(after, _BUSY))
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        findings.append(_nothing_drafted())
        return CounterReading(engine="llamacpp", source=None, traffic=traffic, findings=tuple(findings))
    if any(finding.severity == "invalid" for finding in findings):
        return CounterReading(engine="llamacpp", source=None, traffic=traffic, findings=tuple(findings))
    counts, problems = spec_counters.window_counts(deltas)
    findings += problems
    if counts is None:
        return CounterReading(engine="llamacpp", source=None, traffic=traffic, findings=tuple(findings))
    findings += spec_counters.variable_draft_length(counts)
    return CounterReading(
        engine="llamacpp",
        source="counters",
        counts=counts,
        num_drafts=counts.num_drafts,
        acceptance_length=counts.acceptance_length,
        acceptance_rate=counts.acceptance_rate,
        traffic=traffic,
        findings=tuple(findings),
    )


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Nothing: llama.cpp sends `timings` with every response, and in the last chunk of a stream."""
    return {}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts from `timings`: drafted and accepted tokens. The number of verification steps is not told.

    A response of a server that speculates without `draft_n` drafted nothing.

    Raises:
        IdentityError: the counts contradict each other.
    """
    raw = response.get("timings")
    if not isinstance(raw, Mapping):
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


def _nothing_drafted() -> Finding:
    return Finding(
        code="speculation_off",
        severity="warning",
        message="llama.cpp has not drafted anything since its start (its metrics have no llamacpp:spec_decode series): "
        "speculation is off, or found nothing to draft, or this release is older than these counters; acceptance is "
        "undefined. Start the server with --spec-type or a draft model (-md)",
    )
