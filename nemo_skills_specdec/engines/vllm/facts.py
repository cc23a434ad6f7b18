"""What is true of vLLM: its series, its flags, and since which version they are there."""

from __future__ import annotations

from nemo_skills_specdec.engines.base import EngineFacts
from nemo_skills_specdec.engines.spec_counters import counter_names

PREFIX = "vllm:"

TRAFFIC = {
    "generation_tokens": "vllm:generation_tokens_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "requests": "vllm:request_success_total",
    "first_tokens": "vllm:time_to_first_token_seconds_count",
    "decode_steps": "vllm:inter_token_latency_seconds_count",
}

BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")

CACHE_CONFIG = "vllm:cache_config_info"

V0_SERIES = ("vllm:spec_decode_draft_acceptance_rate", "vllm:spec_decode_efficiency")
"""Of vLLM 0.8 and older, which had no counters of drafts."""

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
    hidden_method="vLLM tells it with VLLM_SERVER_DEV_MODE=1",
    cache_reset="/reset_prefix_cache",
    several_samples="vLLM gives no per-request statistics",
)
