"""What vLLM says about speculative decoding: counters on `/metrics`, and statistics in a response (from 0.29 on)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram
from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import CounterReading, Samples, ServerInfo, Traffic
from nemo_skills_specdec.engines.prometheus import Difference, differences, gauge_total, has_prefix
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding

PREFIX = "vllm:"

_TRAFFIC = {
    "generation_tokens": "vllm:generation_tokens_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "requests": "vllm:request_success_total",
    "first_tokens": "vllm:time_to_first_token_seconds_count",
    "decode_steps": "vllm:inter_token_latency_seconds_count",
}

_BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")

_NGRAM = ("ngram", "ngram_gpu")

_EVERY_STEP = 0.99
"""With several requests in flight, drafts and decode steps were seen to differ by 0.3 % though every step drafts."""

_V0_SERIES = ("vllm:spec_decode_draft_acceptance_rate", "vllm:spec_decode_efficiency")


class _Statistics(msgspec.Struct):
    """`metrics.speculative_decoding` of a response; other keys are ignored."""

    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_spec_tokens: int | None = None
    acceptance_histogram: list[int] | None = None
    per_step_accepted: list[int] | None = None
    per_step_drafted: list[int] | None = None


def recognise(samples: Samples) -> bool:
    """Whether the series are vLLM's."""
    return has_prefix(samples, PREFIX)


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of vLLM's counters, per label set (engine, model, position), summed over endpoints.

    Counters that are present and did not move mean speculation that drafted nothing. Absent ones mean no speculation.
    """
    names = {**spec_counters.counter_names(PREFIX), **_TRAFFIC}
    deltas, findings = differences(names, before, after)
    traffic = _traffic(deltas, before, after)
    findings += remarks.several_models(after, "vllm:generation_tokens_total")
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        return CounterReading(
            engine="vllm", source=None, traffic=traffic, findings=(*findings, _speculation_off(after))
        )
    if any(finding.severity == "invalid" for finding in findings):
        return CounterReading(engine="vllm", source=None, traffic=traffic, findings=tuple(findings))
    counts, problems = spec_counters.window_counts(deltas)
    findings += problems
    if counts is None:
        return CounterReading(engine="vllm", source=None, traffic=traffic, findings=tuple(findings))
    findings += spec_counters.nothing_drafted(counts, traffic)
    findings += _ngram_in_every_step(counts, traffic, info)
    return CounterReading(
        engine="vllm",
        source="counters",
        counts=counts,
        num_drafts=counts.num_drafts,
        acceptance_length=counts.acceptance_length,
        acceptance_rate=counts.acceptance_rate,
        traffic=traffic,
        findings=tuple(findings),
    )


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Asks for the usage chunk of a stream, which carries the statistics; whether there are any is a server flag."""
    return {"stream_options": {"include_usage": True}} if stream else {}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts from `metrics.speculative_decoding`; None if the server sent none (flag off, or n > 1).

    Raises:
        IdentityError: the statistics contradict each other.
    """
    statistics = _statistics(response)
    if statistics is None:
        return None
    counts = _counts(statistics)
    steps = (statistics.per_step_accepted, statistics.per_step_drafted)
    if steps[0] is not None and steps[1] is not None:
        _check_steps(steps[0], steps[1], statistics)
    return counts


def reached_per_position(response: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Steps that drafted position i and had accepted all positions before it: the drafter's own denominators.

    With a draft length that varies, `accepted_per_position[i] / reached[i]` is the true conditional rate, which no
    counter gives. Needs the server flag `--per-request-spec-decode-metrics detailed`; None without its lists.

    Raises:
        IdentityError: the lists contradict each other.
    """
    statistics = _statistics(response)
    if statistics is None or statistics.per_step_accepted is None or statistics.per_step_drafted is None:
        return None
    _check_steps(statistics.per_step_accepted, statistics.per_step_drafted, statistics)
    steps = list(zip(statistics.per_step_accepted, statistics.per_step_drafted, strict=True))
    longest = statistics.num_spec_tokens or max((drafted for _, drafted in steps), default=0)
    return tuple(sum(accepted >= i and drafted > i for accepted, drafted in steps) for i in range(longest))


def _statistics(response: Mapping[str, Any]) -> _Statistics | None:
    metrics = response.get("metrics")
    raw = metrics.get("speculative_decoding") if isinstance(metrics, Mapping) else None
    if raw is None:
        return None
    try:
        return msgspec.convert(raw, _Statistics)
    except msgspec.ValidationError as error:
        raise IdentityError(f"metrics.speculative_decoding is not what vLLM sends ({error})") from error


def _counts(statistics: _Statistics) -> AcceptanceCounts:
    histogram = statistics.acceptance_histogram
    if histogram is None:
        return AcceptanceCounts(
            num_drafts=statistics.num_spec_steps,
            num_draft_tokens=statistics.num_draft_tokens,
            num_accepted_tokens=statistics.num_accepted_draft_tokens,
        )
    counts = counts_from_histogram(
        histogram, num_draft_tokens=statistics.num_draft_tokens, draft_length=statistics.num_spec_tokens
    )
    if (counts.num_drafts, counts.num_accepted_tokens) != (
        statistics.num_spec_steps,
        statistics.num_accepted_draft_tokens,
    ):
        raise IdentityError(
            f"the histogram does not agree with the sums (acceptance_histogram={histogram}, "
            f"num_spec_steps={statistics.num_spec_steps}, "
            f"num_accepted_draft_tokens={statistics.num_accepted_draft_tokens})"
        )
    return counts


def _check_steps(accepted: list[int], drafted: list[int], statistics: _Statistics) -> None:
    if (
        len(accepted) != len(drafted)
        or len(accepted) != statistics.num_spec_steps
        or sum(accepted) != statistics.num_accepted_draft_tokens
        or sum(drafted) != statistics.num_draft_tokens
        or any(a > d or a < 0 for a, d in zip(accepted, drafted, strict=False))
    ):
        raise IdentityError(
            f"the steps do not agree with the sums (per_step_accepted={accepted}, per_step_drafted={drafted}, "
            f"num_spec_steps={statistics.num_spec_steps}, num_draft_tokens={statistics.num_draft_tokens}, "
            f"num_accepted_draft_tokens={statistics.num_accepted_draft_tokens})"
        )


def _traffic(deltas: Mapping[str, Difference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = {
        short: deltas[short].total if short in deltas and not deltas[short].findings else None for short in _TRAFFIC
    }
    return Traffic(**totals, busy_before=gauge_total(before, _BUSY), busy_after=gauge_total(after, _BUSY))


def _ngram_in_every_step(counts: AcceptanceCounts, traffic: Traffic, info: ServerInfo | None) -> list[Finding]:
    """A finding if n-gram drafts stand in every step, found or not.

    Model Runner V2, and `ngram_gpu` before it, draft K tokens in every step; where no n-gram is found they repeat the
    last token. Other runners draft nothing then, and such steps are in no counter. Both call their mean AL.
    """
    drafts, steps = counts.num_drafts, traffic.decode_steps
    if info is None or info.method not in _NGRAM or drafts is None or not steps or drafts < _EVERY_STEP * steps:
        return []
    return [
        Finding(
            code="ngram_in_every_step",
            severity="warning",
            message=f"every decode step counts as a draft ({drafts} of {steps}): this vLLM drafts even where it finds "
            "no n-gram (Model Runner V2, ngram_gpu), so AL and AR include those steps. Other versions and runners "
            "leave them out and show a higher AL at the same speed: compare tokens per step",
            numbers={"num_drafts": drafts, "decode_steps": steps},
        )
    ]


def _speculation_off(after: Sequence[Samples]) -> Finding:
    if any(name in samples.series for samples in after for name in _V0_SERIES):
        return Finding(
            code="server_too_old",
            severity="invalid",
            message="this vLLM (0.8 or older) has no counters of drafts; use vLLM 0.9 or later",
        )
    return remarks.speculation_off(
        "vLLM", "its metrics have no vllm:spec_decode series", "start it with --speculative-config"
    )


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Nothing more: vLLM's statistics stand whole in one chunk, which `request_counts` reads."""
    return None
