"""What an SGLang server says about itself, and which sources of acceptance it offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nemo_skills_specdec.engines import remarks
from nemo_skills_specdec.engines.base import Ask, ServerInfo, SourceOffer, number_or_none, offer, part_of, text_or_none
from nemo_skills_specdec.engines.counters import gauge_total
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.sglang import findings
from nemo_skills_specdec.engines.sglang.facts import (
    COUNTERS,
    COUNTERS_SINCE,
    DETAILS_SINCE,
    FACTS,
    FILES_FOLDER_OPTION,
    FILES_OPTION,
    FILES_SINCE,
    GAUGE_LENGTH,
    META_INFO_SINCE,
    METRICS_OPTION,
    NGRAM_COUNTS_SINCE,
    SETTINGS,
)
from nemo_skills_specdec.engines.spec_counters import PER_REQUEST
from nemo_skills_specdec.engines.versions import at_least, version_text
from nemo_skills_specdec.records import Finding, Source

_EXACT, _BRACKET, _ESTIMATE = "AL, AR", "AL, AR as bounds", "AL, AR as an estimate"
_GIVES: dict[Source, str] = {
    "response": PER_REQUEST,
    "request_file": PER_REQUEST,
    "counters": _EXACT,
    "bounds": _BRACKET,
    "gauge_estimate": _ESTIMATE,
}

_DEPTHS = {
    **dict.fromkeys(("EAGLE", "EAGLE3", "NEXTN", "FROZEN_KV_MTP", "STANDALONE"), "speculative_num_steps"),
    "NGRAM": "speculative_ngram_max_trie_depth",
}
"""The setting that bounds how deep a tree grows; block drafters have a nominal single step."""

_THRESHOLDS = ("speculative_accept_threshold_single", "speculative_accept_threshold_acc")


def answers_to(ask: Ask) -> bool:
    """Whether the server has SGLang's server info."""
    return bool(_server_info(ask))


def describe(info: ServerInfo, ask: Ask) -> None:
    """Version, method and settings from the server info; whether it speculates also from the metrics."""
    told = _server_info(ask)
    info.settings = {key: told[key] for key in SETTINGS if key in told}
    info.version = text_or_none(told.get("version")) or text_or_none(
        part_of({"loads": ask.get("/v1/loads")}, "loads").get("version")
    )
    if "speculative_algorithm" in told:
        info.speculation = "on" if told["speculative_algorithm"] else "off"
        info.method = text_or_none(told["speculative_algorithm"])
    elif any(samples.series.get(COUNTERS["verify"]) for samples in ask.samples):
        info.speculation = "on"
    if info.speculation != "on":
        return
    info.tree_nodes = number_or_none(told.get("speculative_num_draft_tokens"))
    info.topk = number_or_none(told.get("speculative_eagle_topk"))
    info.draft_length = _draft_length(info)
    info.findings += _findings(info, ask)


def offers(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
    """Statistics on request, files behind a flag, counters that are exact or bounds, and a gauge."""
    if info.speculation == "off":
        return [offer(source, False, gives, cure=FACTS.speculate) for source, gives in _GIVES.items()]
    has_gauge = any(GAUGE_LENGTH in item.series for item in samples)
    cure = no_metrics or f"start SGLang with {METRICS_OPTION}"
    gauge = offer("gauge_estimate", has_gauge, _ESTIMATE, uses="only if nothing else is there", cure=cure)
    return [_response(info), _files(info), *_counters(info, samples, cure), gauge]


def _response(info: ServerInfo) -> SourceOffer:
    details, meta_info = version_text(DETAILS_SINCE), version_text(META_INFO_SINCE)
    upgrade = f"upgrade to SGLang {details} or later ({meta_info} without streaming)"
    if at_least(info.version, DETAILS_SINCE):
        uses = "request field return_spec_tokens_details, which is sent with every request"
        return offer("response", True, PER_REQUEST, uses=uses, cure=upgrade)
    if at_least(info.version, META_INFO_SINCE):
        uses = f"without streaming (--no-stream), request field return_meta_info; SGLang {details} or later for streams"
        return offer("response", True, PER_REQUEST, uses=uses, cure=upgrade)
    if info.version is None:
        return offer("response", None, PER_REQUEST, uses=f"SGLang {details} or later", cure=upgrade)
    return offer("response", False, PER_REQUEST, cure=upgrade)


def _files(info: ServerInfo) -> SourceOffer:
    if info.settings.get("export_metrics_to_file"):
        folder = info.settings.get("export_metrics_to_file_dir")
        uses = f"{folder} on the server; give --request-metrics-dir if it can be read from here"
        return offer("request_file", True, PER_REQUEST, uses=uses)
    if at_least(info.version, FILES_SINCE) is False:
        return offer("request_file", False, PER_REQUEST, cure=f"upgrade to SGLang {version_text(FILES_SINCE)} or later")
    return offer("request_file", False, PER_REQUEST, cure=f"start SGLang with {FILES_OPTION} {FILES_FOLDER_OPTION} DIR")


def _counters(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> tuple[SourceOffer, SourceOffer]:
    if not samples:
        cure = no_metrics
    elif info.settings.get("frontend", "python") != "python":
        cure = "the Rust front end does not count verification steps; start SGLang without SGLANG_RUST_SERVER"
    elif at_least(info.version, COUNTERS_SINCE) is False:
        cure = f"upgrade to SGLang {version_text(COUNTERS_SINCE)} or later"
    else:
        uses = f"{COUNTERS['verify']} and {COUNTERS['decoded']} on /metrics"
        if info.settings.get("disable_overlap_schedule") is True:
            return offer("counters", True, _EXACT, uses=uses), offer("bounds", False, _BRACKET, cure="not needed")
        slower = "start SGLang with --disable-overlap-schedule, which is slower, to make the counters exact"
        return offer("counters", False, _EXACT, cure=slower), offer("bounds", True, _BRACKET, uses=uses)
    return offer("counters", False, _EXACT, cure=cure), offer("bounds", False, _BRACKET, cure=cure)


def _server_info(ask: Ask) -> dict[str, Any]:
    """The server info as one dictionary that still holds secrets: only white-listed keys may leave it."""
    for path in ("/server_info", "/get_server_info"):
        body = ask.get(path)
        # A router in front of separate prefill and decode servers gives lists of both.
        if isinstance(body, dict) and isinstance(body.get("decode"), list) and body["decode"]:
            body = body["decode"][0]
        if isinstance(body, dict) and ("speculative_algorithm" in body or "internal_states" in body):
            return body
    return {}


def _draft_length(info: ServerInfo) -> int | None:
    """The longest path of a draft: all nodes but the root for a chain, the drafter's steps for a tree."""
    longest = info.tree_nodes - 1 if info.tree_nodes else None
    if (info.topk or 1) == 1 or longest is None:
        return longest
    depth = number_or_none(info.settings.get(_DEPTHS.get(info.method or "", "")))
    return min(depth, longest) if depth else longest


def _findings(info: ServerInfo, ask: Ask) -> list[Finding]:
    found = []
    if (info.topk or 1) > 1:
        found.append(findings.tree_drafts(info.topk, info.tree_nodes))
    if info.settings.get("speculative_adaptive"):
        found.append(findings.ADAPTIVE_DRAFTS)
    thresholds = [(key, info.settings[key]) for key in _THRESHOLDS if isinstance(info.settings.get(key), int | float)]
    lossy = ", ".join(f"{key} {value:g}" for key, value in thresholds if value < 1)
    if lossy:
        why = "accepts drafts, above temperature 0, that the target model would have rejected"
        found.append(remarks.lossy_verification(lossy, why))
    if info.method == "STANDALONE":
        found.append(findings.STANDALONE_FIRST_TOKEN)
    if info.method == "NGRAM":
        found.append(findings.ngram(info.tree_nodes))
        if at_least(info.version, NGRAM_COUNTS_SINCE) is False:
            found.append(findings.ngram_off_by_one(info.version))
        # One request per data-parallel rank warms the server up at its start.
        own = max(number_or_none(info.settings.get("dp_size")) or 1, 1) * max(len(ask.samples), 1)
        served = gauge_total(ask.samples, [COUNTERS["requests"]]) or 0
        if served > own:
            found.append(findings.ngram_remembers(served))
    return found
