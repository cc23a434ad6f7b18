"""Why a log holds no interval of speculation, as far as the log itself says; what it does not say is unknown."""

from __future__ import annotations

import re
from typing import Literal

Absence = Literal["api_servers", "log_stats", "no_speculation", "idle", "old_engine", "sglang", "not_text", "unknown"]
"""Why a log has no intervals."""

REASONS: dict[Absence, str] = {
    "api_servers": "the server ran with api_server_count > 1 (the default with data parallelism), where vLLM writes no "
    "statistics to the log; use /metrics (ns-specdec diff or eval) or --api-server-count 1",
    "log_stats": "the server ran with --disable-log-stats; remove that flag, or use the statistics in the responses "
    "(ns-specdec eval)",
    "no_speculation": "the server ran without --speculative-config",
    "idle": "the server was set up to speculate, but logged no interval (10 s) in which drafts were verified; send it "
    "traffic, or read a longer log",
    "old_engine": "its `Speculative metrics:` lines come from vLLM's old engine and are cumulative, without steps; use "
    "vLLM 0.8.5 or newer",
    "sglang": "this looks like a log of SGLang, which prints averages of the last iterations and no counts; use "
    "ns-specdec eval",
    "not_text": "it is not a text file; unpack it first if it is compressed",
    "unknown": "whether the server speculates is unknown; likely causes: --disable-log-stats, api_server_count > 1 "
    "(the default with data parallelism), no speculation, no traffic for an interval (10 s), or not a vLLM log",
}

_API_SERVERS = re.compile(r"disabling stats logging|Defaulting api_server_count to [^\n]{0,200}\(([2-9]|\d\d+)\)")
_LOG_STATS = re.compile(r"disable_log_stats'?[=:] ?True|--disable-log-stats")
_SPECULATES = re.compile(
    r"speculative_config(?:=SpeculativeConfig\(|'?: ?\{)|--speculative[-_]config|SpecDecoding metrics:"
)
_SGLANG = re.compile(r"\b(?:Decode|Prefill) batch\b[^\n]{0,60}#|\baccept len: ")


def absence(text: str) -> Absence:
    """The cause that the text names for having no interval.

    A log without traffic looks the same with and without speculation, so only the configuration that the server printed
    says that it did not speculate, and only if no other server in the log did.
    """
    if text.count("\0") + text.count("\ufffd") > len(text) // 20:
        return "not_text"
    if _API_SERVERS.search(text):
        return "api_servers"
    if _LOG_STATS.search(text):
        return "log_stats"
    if "Speculative metrics: Draft acceptance rate" in text:
        return "old_engine"
    if _SPECULATES.search(text):
        return "idle"
    if "speculative_config=None" in text:
        return "no_speculation"
    if _SGLANG.search(text) or ("sglang" in text.lower() and "vllm" not in text.lower()):
        return "sglang"
    return "unknown"
