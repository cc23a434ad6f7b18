"""What a vLLM server says about itself, and which sources of acceptance it offers."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import (
    Ask,
    ServerInfo,
    SourceOffer,
    number_or_none,
    offer,
    part_of,
    text_or_none,
)
from nemo_skills_specdec.engines.counters import gauge_values
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.versions import at_least, version_text
from nemo_skills_specdec.engines.vllm.facts import (
    CACHE_CONFIG,
    FACTS,
    PREFIX,
    SPECULATIVE_SETTINGS,
    STATISTICS_OPTION,
    STATISTICS_SETTING,
    STATISTICS_SINCE,
)
from nemo_skills_specdec.records import Finding

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
