"""vLLM: counters on `/metrics`, and statistics in each answer (from 0.29 on) where a server flag asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec import acceptance
from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram
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
from nemo_skills_specdec.engines.counters import CounterDifference, differences, gauge_total, gauge_values, sound_totals
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.limits import check_answer, check_draft_length
from nemo_skills_specdec.engines.spec_counters import counter_names
from nemo_skills_specdec.engines.versions import at_least, version_text
from nemo_skills_specdec.errors import JSON_ERRORS, IdentityError
from nemo_skills_specdec.records import Finding, StepCount

PREFIX = "vllm:"

TRAFFIC = {
    "generation_tokens": "vllm:generation_tokens_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "requests": "vllm:request_success_total",
    "cached_prompt_tokens": "vllm:prefix_cache_hits_total",
    "first_tokens": "vllm:time_to_first_token_seconds_count",
    "decode_steps": "vllm:inter_token_latency_seconds_count",
}

BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")

CACHE_CONFIG = "vllm:cache_config_info"

V0_SERIES = ("vllm:spec_decode_draft_acceptance_rate", "vllm:spec_decode_efficiency")
"""Of vLLM 0.8 and older, which had no counters of drafts."""

SPECULATIVE_CONFIG_SINCE = (0, 8, 5)
"""`--speculative-config`."""

STATISTICS_OPTION = "--per-request-spec-decode-metrics"
STATISTICS_SETTING = "per_request_spec_decode_metrics"
"""The option's name in `/server_info`, which answers in development mode only."""
STATISTICS_SINCE = (0, 29)

SPECULATIVE_SETTINGS = (
    "draft_sample_method",
    "enable_adaptive_verification",
    "method",
    "model",
    "num_speculative_tokens",
    "num_speculative_tokens_per_batch_size",
    "prompt_lookup_max",
    "prompt_lookup_min",
    "rejection_sample_method",
    "synthetic_acceptance_length",
    "synthetic_acceptance_rates",
)
"""What is kept of `speculative_config`; everything else may hold a key."""

FACTS = EngineFacts(
    name="vllm",
    title="vLLM",
    series=frozenset([*counter_names(PREFIX).values(), *TRAFFIC.values(), *BUSY, CACHE_CONFIG, *V0_SERIES]),
    vital=(TRAFFIC["generation_tokens"], TRAFFIC["prompt_tokens"], TRAFFIC["requests"]),
    owners=("vllm",),
    no_metrics="start vLLM without --disable-log-stats",
    speculate="""start vLLM with --speculative-config '{"method": ...}'""",
    statistics_since=STATISTICS_SINCE,
    hidden_method="vLLM reports it with VLLM_SERVER_DEV_MODE=1",
    cache_reset="/reset_prefix_cache",
    cache_cure="start vLLM with VLLM_SERVER_DEV_MODE=1, or restart it",
    several_samples="vLLM gives no per-request statistics",
    replica_labels=("engine",),
)


_NGRAM = ("ngram", "ngram_gpu")

_EVERY_STEP = 0.99
"""With several requests in flight, drafts and decode steps were seen to differ by 0.3 % though every step drafts."""


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of vLLM's counters, per label set (engine, model, position), summed over endpoints.

    Counters that are present and did not move mean speculation that drafted nothing. Absent ones mean no speculation.
    """
    names = {**spec_counters.counter_names(PREFIX), **TRAFFIC}
    deltas, findings = differences(names, before, after)
    traffic = _traffic(deltas, before, after)
    findings += remarks.summed_up(after, TRAFFIC["generation_tokens"])
    reading = CounterReading(engine="vllm", source=None, traffic=traffic, findings=tuple(findings))
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        return _without_series(reading, after)
    # Every position of the configured draft has a counter from the start.
    told = [info.draft_length if info is not None else None, spec_counters.num_positions(after, PREFIX)]
    return spec_counters.read_counts(
        reading,
        deltas,
        draft_length=max((length for length in told if length is not None), default=None),
        remark=lambda counts: _ngram_in_every_step(counts, traffic, info),
    )


def _traffic(deltas: Mapping[str, CounterDifference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = {short: total for short, total in sound_totals(deltas).items() if short in TRAFFIC}
    return Traffic(**totals, busy_before=gauge_total(before, BUSY), busy_after=gauge_total(after, BUSY))


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
            message=f"Every decode step counts as a draft ({drafts} of {steps}): this vLLM drafts even where it "
            "finds no n-gram (Model Runner V2, ngram_gpu), so AL and AR include those steps, which other versions "
            "and runners leave out (a higher AL at the same speed); compare tokens per step.",
            numbers={"num_drafts": drafts, "decode_steps": steps},
        )
    ]


def _without_series(reading: CounterReading, after: Sequence[Samples]) -> CounterReading:
    """What follows from series of vLLM without a counter of drafts."""
    if any(name in samples.series for samples in after for name in V0_SERIES):
        too_old = Finding(
            code="server_too_old",
            severity="invalid",
            message="This vLLM (0.8 or older) has no counters of drafts; use vLLM 0.9 or later.",
        )
        return remarks.with_findings(reading, too_old)
    for samples in after:
        if not remarks.is_whole(samples, FACTS):
            return remarks.not_an_engines(reading, samples, FACTS)
    off = remarks.speculation_off("vLLM", "its metrics have no vllm:spec_decode series", FACTS.speculate)
    return remarks.with_findings(reading, off)


class VllmStatistics(msgspec.Struct):
    """`metrics.speculative_decoding` of a response; other keys are ignored."""

    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_spec_tokens: int | None = None
    acceptance_histogram: list[int] | None = None
    per_step_accepted: list[int] | None = None
    per_step_drafted: list[int] | None = None


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
    check_draft_length(statistics.num_spec_tokens)
    check_draft_length(len(statistics.acceptance_histogram or ()))
    counts = _counts(statistics)
    steps = (statistics.per_step_accepted, statistics.per_step_drafted)
    if steps[0] is not None and steps[1] is not None:
        _check_steps(steps[0], steps[1], statistics)
    tokens = number_or_none(part_of(response, "usage").get("completion_tokens"))
    check_answer(counts, completion_tokens=tokens, draft_length=statistics.num_spec_tokens)
    return counts


def request_steps(response: Mapping[str, Any]) -> list[StepCount] | None:
    """The lists of `--per-request-spec-decode-metrics detailed`."""
    statistics = _statistics(response)
    if statistics is None or statistics.per_step_accepted is None or statistics.per_step_drafted is None:
        return None
    steps = zip(statistics.per_step_drafted, statistics.per_step_accepted, strict=True)
    return [StepCount(drafted, accepted) for drafted, accepted in steps]


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
    check_draft_length(statistics.num_spec_tokens)
    _check_steps(statistics.per_step_accepted, statistics.per_step_drafted, statistics)
    return acceptance.reached_per_position(
        statistics.per_step_accepted, statistics.per_step_drafted, draft_length=statistics.num_spec_tokens or None
    )


def _statistics(response: Mapping[str, Any]) -> VllmStatistics | None:
    metrics = response.get("metrics")
    raw = metrics.get("speculative_decoding") if isinstance(metrics, Mapping) else None
    if raw is None:
        return None
    try:
        return msgspec.convert(raw, VllmStatistics)
    except JSON_ERRORS as error:
        raise IdentityError(f"metrics.speculative_decoding is not what vLLM sends ({error})") from error


def _counts(statistics: VllmStatistics) -> AcceptanceCounts:
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


def _check_steps(accepted: list[int], drafted: list[int], statistics: VllmStatistics) -> None:
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


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Nothing more: vLLM's statistics stand whole in one chunk, which `request_counts` reads."""
    return None


_CPU_BLOCK_SIZE = "128"
"""Tokens per block of the key-value cache where none is asked for: 128 on CPUs, 16 on most GPUs."""

_LOSSY = {"fly": "accepts drafts that the target model would not have sampled, so the text is not the target's"}


def answers_to(ask: Ask) -> bool:
    """Nothing but its models and metrics tells a vLLM: `/version` is also answered by others."""
    return False


def describe(info: ServerInfo, ask: Ask) -> None:
    """Version and, from the metrics, whether it speculates; the configuration in development mode."""
    info.version = text_or_none(part_of({"version": ask.get("/version")}, "version").get("version"))
    if any(spec_counters.has_spec_series(samples, PREFIX) for samples in ask.samples):
        info.speculation = "on"
    elif ask.samples and all(remarks.is_whole(samples, FACTS) for samples in ask.samples):
        info.speculation = "off"
    info.draft_length = spec_counters.num_positions(ask.samples, PREFIX)
    _settings(info, ask)
    info.findings += _cpu_build(info, ask.samples)


def offers(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
    """Statistics in each answer behind a server flag, and counters by default."""
    flag = f"{STATISTICS_OPTION} detailed"
    if info.speculation == "off":
        return [
            offer("response", False, spec_counters.PER_REQUEST, cure=FACTS.speculate),
            offer("counters", False, spec_counters.ALL_RATES, cure=FACTS.speculate),
        ]
    told = info.settings.get(STATISTICS_SETTING)
    cure, uses, available = f"start vLLM with {flag}", f"server flag {flag}", None
    if at_least(info.version, STATISTICS_SINCE) is False:
        available = False
        cure = f"upgrade to vLLM {version_text(STATISTICS_SINCE)} or later and start it with {flag}"
    elif told is not None:
        available, uses = told != "none", f"{STATISTICS_OPTION} {told}"
    has_spec = any(spec_counters.has_spec_series(item, PREFIX) for item in samples)
    return [
        offer("response", available, spec_counters.PER_REQUEST, uses=uses, cure=cure),
        offer(
            "counters",
            has_spec,
            spec_counters.ALL_RATES,
            uses="vllm:spec_decode series on /metrics",
            cure=no_metrics or FACTS.no_metrics,
        ),
    ]


def _settings(info: ServerInfo, ask: Ask) -> None:
    """The configuration, which vLLM tells only in development mode (VLLM_SERVER_DEV_MODE=1)."""
    config = part_of(ask.get("/server_info?config_format=json"), "vllm_config")
    speculative = part_of(config, "speculative_config")
    told = {
        **{key: speculative.get(key) for key in SPECULATIVE_SETTINGS},
        "device": part_of(config, "device_config").get("device"),
        STATISTICS_SETTING: part_of(config, "observability_config").get(STATISTICS_SETTING),
    }
    info.settings = {key: value for key, value in told.items() if value is not None}
    if not speculative:
        return
    info.speculation = "on"
    info.method = text_or_none(info.settings.get("method"))
    info.draft_length = info.draft_length or number_or_none(info.settings.get("num_speculative_tokens"))
    verification = info.settings.get("rejection_sample_method")
    if verification == "synthetic":
        info.findings.append(
            Finding(
                code="synthetic_acceptance",
                severity="warning",
                message="vLLM runs with rejection_sample_method synthetic: acceptance is set, not the drafter's.",
            )
        )
    if verification in _LOSSY:
        info.findings.append(
            remarks.lossy_verification(f"rejection_sample_method {verification}", _LOSSY[verification])
        )


def _cpu_build(info: ServerInfo, samples: Sequence[Samples]) -> list[Finding]:
    """A finding for a CPU build, which says so in its version, in development mode, or by the size of its cache blocks.

    The name of a release (0.32.0) is the same for both builds.
    """
    fault = "whose sampling above temperature 0 rejects nearly all drafts; use temperature 0"
    if "cpu" in (info.version or "").lower() or info.settings.get("device") == "cpu":
        message = f"vLLM {info.version} is a CPU build, {fault}."
        return [Finding(code="vllm_cpu_build", severity="info", message=message)]
    caches = [dict(labels) for labels, _ in gauge_values(samples, CACHE_CONFIG)]
    by_default = [cache for cache in caches if cache.get("user_specified_block_size") == "False"]
    if "device" not in info.settings and any(cache.get("block_size") == _CPU_BLOCK_SIZE for cache in by_default):
        message = (
            f"This vLLM chose cache blocks of {_CPU_BLOCK_SIZE} tokens, as CPU builds do: if it is one, its sampling "
            "above temperature 0 rejects nearly all drafts, so use temperature 0."
        )
        return [Finding(code="vllm_perhaps_cpu_build", severity="info", message=message)]
    return []
