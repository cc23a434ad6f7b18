"""What is true of SGLang: its series, its flags, and since which version they are there."""

from __future__ import annotations

from nemo_skills_specdec.engines.base import EngineFacts

PREFIX = "sglang:"

DECODED = "sglang:realtime_tokens_total"
RETRACTED = "sglang:num_retracted_requests_total"

COUNTERS = {
    "verify": "sglang:spec_verify_calls_total",
    "generation_tokens": "sglang:generation_tokens_total",
    "prompt_tokens": "sglang:prompt_tokens_total",
    "cached": "sglang:cached_tokens_total",
    "requests": "sglang:num_requests_total",
    "first_tokens": "sglang:time_to_first_token_seconds_count",
    "aborted": "sglang:num_aborted_requests_total",
    "retracted": RETRACTED,
    "decoded": DECODED,
}

SCHEDULER_COUNTERS = (DECODED, RETRACTED)
"""Counted by every rank alike."""

BUSY = ("sglang:num_running_reqs", "sglang:num_queue_reqs")

GAUGE_LENGTH, GAUGE_RATE = "sglang:spec_accept_length", "sglang:spec_accept_rate"
GAUGE_STEPS, GAUGE_NODES = "sglang:spec_num_steps", "sglang:spec_num_draft_tokens"

ALGORITHMS: dict[str, tuple[str, tuple[int, ...]]] = {
    "ngram": ("NGRAM", (0, 5, 3)),
    "draft_model": ("STANDALONE", (0, 5, 2)),
    "eagle": ("EAGLE", (0, 4, 6)),
    "eagle3": ("EAGLE3", (0, 4, 6)),
    "mtp": ("NEXTN", (0, 4, 6)),
    "dflash": ("DFLASH", (0, 5, 11)),
}
"""Our name of a method: SGLang's name of it, and the first version that has it."""

METRICS_OPTION = "--enable-metrics"
FILES_OPTION = "--export-metrics-to-file"
FILES_FOLDER_OPTION = "--export-metrics-to-file-dir"

FILES_SINCE = (0, 5, 6)
COUNTERS_SINCE = (0, 5, 13)
META_INFO_SINCE = (0, 5, 13)
"""`return_meta_info`, without streaming only."""
DETAILS_SINCE = (0, 5, 19)
"""`return_spec_tokens_details`, streamed or not."""
NGRAM_COUNTS_SINCE = (0, 5, 12)
"""Before, accepted n-gram drafts were off by one."""

SETTINGS = (
    "attention_backend",
    "context_length",
    "decode_log_interval",
    "device",
    "disable_cuda_graph",
    "disable_overlap_schedule",
    "disable_radix_cache",
    "disaggregation_mode",
    "dp_size",
    "dtype",
    "enable_dp_attention",
    "enable_metrics",
    "enable_metrics_for_all_schedulers",
    "export_metrics_to_file",
    "export_metrics_to_file_dir",
    "frontend",
    "kv_cache_dtype",
    "max_running_requests",
    "model_path",
    "pp_size",
    "quantization",
    "served_model_name",
    "speculative_accept_threshold_acc",
    "speculative_accept_threshold_single",
    "speculative_adaptive",
    "speculative_algorithm",
    "speculative_attention_mode",
    "speculative_draft_model_path",
    "speculative_draft_model_quantization",
    "speculative_draft_sink_size",
    "speculative_draft_window_size",
    "speculative_dflash_block_size",
    "speculative_dspark_block_size",
    "speculative_eagle_topk",
    "speculative_ngram_match_type",
    "speculative_ngram_max_bfs_breadth",
    "speculative_ngram_max_trie_depth",
    "speculative_ngram_min_bfs_breadth",
    "speculative_num_draft_tokens",
    "speculative_num_steps",
    "speculative_use_block_verification",
    "speculative_use_rejection_sampling",
    "tp_size",
)
"""What is kept of `/server_info`, which also holds API keys, passwords and the launch command."""

FACTS = EngineFacts(
    name="sglang",
    title="SGLang",
    series=frozenset([*COUNTERS.values(), *BUSY, GAUGE_LENGTH, GAUGE_RATE, GAUGE_STEPS, GAUGE_NODES]),
    # Most of its series appear when they are first used; whether it speculates is told by its gauges or itself.
    vital=(GAUGE_LENGTH,),
    owners=("sglang",),
    metrics_flag=METRICS_OPTION,
    speculate="start SGLang with --speculative-algorithm",
    statistics_since=FILES_SINCE,
    cache_reset="/flush_cache",
    several_samples="SGLang counts one request more per prompt",
    extra_requests_with_samples=1,
)
