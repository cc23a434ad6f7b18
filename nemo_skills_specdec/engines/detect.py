"""What is this server: engine, version, models, speculation, and which sources of acceptance it offers.

Only white-listed fields are taken from what a server says about itself: SGLang's server info holds API keys, passwords
and the launch command, so nothing else of it is kept, not even for an error message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.engines import sglang_findings, spec_counters
from nemo_skills_specdec.engines.base import EngineName, Samples, ServerInfo, Snapshot
from nemo_skills_specdec.engines.fetch import Answer, base_url, fetch, key_refused, public_url, take_snapshot
from nemo_skills_specdec.engines.offers import PER_REQUEST_SETTING, offers_of
from nemo_skills_specdec.engines.prometheus import parse_metrics
from nemo_skills_specdec.engines.registry import ENGINES, recognise_engine
from nemo_skills_specdec.engines.versions import at_least
from nemo_skills_specdec.errors import DataError, ServerError, UsageError
from nemo_skills_specdec.records import Finding

SGLANG_SETTINGS = (
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
    "speculative_dflash_block_size",
    "speculative_dspark_block_size",
    "speculative_eagle_topk",
    "speculative_ngram_match_type",
    "speculative_ngram_max_bfs_breadth",
    "speculative_ngram_max_trie_depth",
    "speculative_ngram_min_bfs_breadth",
    "speculative_num_draft_tokens",
    "speculative_num_steps",
    "speculative_use_rejection_sampling",
    "tp_size",
)

VLLM_SPECULATIVE_SETTINGS = (
    "method",
    "model",
    "num_speculative_tokens",
    "prompt_lookup_max",
    "prompt_lookup_min",
    "rejection_sample_method",
    "synthetic_acceptance_length",
    "synthetic_acceptance_rates",
)


class _Asked(msgspec.Struct, kw_only=True):
    """What every engine's part of the detection starts from."""

    root: str
    headers: Mapping[str, str]
    timeout: float
    models: Any
    snapshots: list[Snapshot]
    samples: list[Samples]

    def get(self, path: str) -> Any:
        """The decoded JSON of a path; None if there is none."""
        return fetch(f"{self.root}{path}", self.headers, self.timeout).json()


def detect(
    url: str,
    metrics_urls: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    server_type: EngineName | None = None,
    timeout: float = 10.0,
) -> ServerInfo:
    """Asks a server what it is. Sends no prompt, so nothing is counted.

    Args:
        url: the server, with or without `/v1`.
        metrics_urls: metrics endpoints, where they are not the server's own `/metrics`.
        headers: sent to the server and to the metrics endpoints, such as `bearer(key)`.
        server_type: the engine, for routers that hide it.
        timeout: seconds for each question.

    Raises:
        ServerError: the server cannot be reached, wants another key, or is no inference server.
    """
    if server_type is not None and server_type not in ENGINES:
        raise UsageError(f"the server type {server_type!r} is unknown; give one of {', '.join(ENGINES)}")
    root = base_url(url)
    listing = fetch(f"{root}/v1/models", headers, timeout)
    problem = listing.error or key_refused(listing)
    if problem is not None:
        raise ServerError(problem)
    snapshots = [take_snapshot(item, headers, timeout) for item in metrics_urls or (root,)]
    asked = _Asked(
        root=root,
        headers=headers or {},
        timeout=timeout,
        models=listing.json(),
        snapshots=snapshots,
        samples=[samples for samples in map(_samples, snapshots) if samples is not None],
    )
    engine = server_type or _engine(asked)
    models = _model_names(asked.models)
    if engine is None and not models:
        raise ServerError(_no_server(listing))
    info = ServerInfo(engine=engine, base_url=public_url(root), models=models)
    if engine is not None:
        {"vllm": _fill_vllm, "sglang": _fill_sglang, "llamacpp": _fill_llamacpp}[engine](info, asked)
    own = [samples for samples in asked.samples if engine is not None and ENGINES[engine].recognise(samples)]
    info.offers = offers_of(info, own, _metrics_error(asked))
    return info


def _engine(asked: _Asked) -> EngineName | None:
    owners = {str(item.get("owned_by", "")).lower() for item in _items(asked.models)}
    for name in ENGINES:
        if name in owners:
            return name
    for samples in asked.samples:
        found = recognise_engine(samples)
        if found is not None:
            return found
    if _sglang_info(asked):
        return "sglang"
    props = asked.get("/props")
    return "llamacpp" if isinstance(props, dict) and "default_generation_settings" in props else None


def _fill_vllm(info: ServerInfo, asked: _Asked) -> None:
    version = asked.get("/version")
    info.version = _text(version.get("version")) if isinstance(version, dict) else None
    has_vllm = any(ENGINES["vllm"].recognise(samples) for samples in asked.samples)
    has_spec = any(spec_counters.has_spec_series(samples, "vllm:") for samples in asked.samples)
    info.speculation = "on" if has_spec else "off" if has_vllm else "unknown"
    info.draft_length = spec_counters.num_positions(asked.samples, "vllm:")
    _vllm_settings(info, asked)
    if "cpu" in (info.version or "").lower() or info.settings.get("device") == "cpu":
        info.findings.append(
            Finding(
                code="vllm_cpu_build",
                severity="info",
                message=f"vLLM {info.version} is a CPU build, whose sampling above temperature 0 rejects nearly all "
                "drafts; use temperature 0",
            )
        )


def _vllm_settings(info: ServerInfo, asked: _Asked) -> None:
    """The configuration, which vLLM tells only in development mode (VLLM_SERVER_DEV_MODE=1)."""
    body = asked.get("/server_info?config_format=json")
    config = body.get("vllm_config") if isinstance(body, dict) else None
    speculative = _part(config, "speculative_config")
    told = {
        **{key: speculative.get(key) for key in VLLM_SPECULATIVE_SETTINGS},
        "device": _part(config, "device_config").get("device"),
        PER_REQUEST_SETTING: _part(config, "observability_config").get(PER_REQUEST_SETTING),
    }
    info.settings = {key: value for key, value in told.items() if value is not None}
    if not speculative:
        return
    info.speculation = "on"
    info.method = _text(info.settings.get("method"))
    info.draft_length = info.draft_length or _number(info.settings.get("num_speculative_tokens"))
    if info.settings.get("rejection_sample_method") == "synthetic":
        info.findings.append(
            Finding(
                code="synthetic_acceptance",
                severity="warning",
                message="vLLM runs with rejection_sample_method synthetic: acceptance is configured, not the drafter's",
            )
        )


def _fill_sglang(info: ServerInfo, asked: _Asked) -> None:
    told = _sglang_info(asked)
    info.settings = {key: told[key] for key in SGLANG_SETTINGS if key in told}
    info.version = _text(told.get("version")) or _loads_version(asked)
    if "speculative_algorithm" in told:
        info.speculation = "on" if told["speculative_algorithm"] else "off"
        info.method = _text(told["speculative_algorithm"])
    elif any(samples.series.get("sglang:spec_verify_calls_total") for samples in asked.samples):
        info.speculation = "on"
    if info.speculation == "on":
        info.tree_nodes = _number(told.get("speculative_num_draft_tokens"))
        info.topk = _number(told.get("speculative_eagle_topk"))
        info.draft_length = info.tree_nodes - 1 if info.tree_nodes else None
    info.findings += _sglang_findings(info)


def _sglang_info(asked: _Asked) -> dict[str, Any]:
    """The server info as one dictionary that still holds secrets: only white-listed keys may leave it."""
    for path in ("/server_info", "/get_server_info"):
        body = asked.get(path)
        if isinstance(body, dict) and isinstance(body.get("decode"), list) and body["decode"]:
            body = body["decode"][0]
        if isinstance(body, dict) and ("speculative_algorithm" in body or "internal_states" in body):
            return body
    return {}


def _loads_version(asked: _Asked) -> str | None:
    body = asked.get("/v1/loads")
    return _text(body.get("version")) if isinstance(body, dict) else None


def _sglang_findings(info: ServerInfo) -> list[Finding]:
    findings = []
    if info.speculation != "on":
        return []
    if (info.topk or 1) > 1:
        findings.append(sglang_findings.tree_drafts(info.topk, info.tree_nodes))
    if info.settings.get("speculative_adaptive"):
        findings.append(sglang_findings.adaptive_drafts())
    if info.method == "NGRAM":
        findings.append(sglang_findings.ngram(info.tree_nodes))
        if at_least(info.version, (0, 5, 12)) is False:
            findings.append(sglang_findings.ngram_off_by_one(info.version))
    return findings


def _fill_llamacpp(info: ServerInfo, asked: _Asked) -> None:
    props = asked.get("/props")
    info.version = _text(props.get("build_info")) if isinstance(props, dict) else None
    slots = asked.get("/slots")
    speculative = (
        [slot.get("speculative") for slot in slots if isinstance(slot, dict)] if isinstance(slots, list) else []
    )
    info.draft_length = spec_counters.num_positions(asked.samples, "llamacpp:")
    if any(speculative) or info.draft_length:
        info.speculation = "on"
    elif speculative and not any(value is None for value in speculative):
        info.speculation = "off"


def _samples(snapshot: Snapshot) -> Samples | None:
    if snapshot.error is not None:
        return None
    try:
        return parse_metrics(snapshot.text, snapshot.url)
    except DataError:
        return None


def _metrics_error(asked: _Asked) -> str | None:
    return next((snapshot.error for snapshot in asked.snapshots if snapshot.error is not None), None)


def _items(models: Any) -> list[dict[str, Any]]:
    data = models.get("data") if isinstance(models, dict) else None
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def _model_names(models: Any) -> list[str]:
    return [item["id"] for item in _items(models) if isinstance(item.get("id"), str)]


def _no_server(listing: Answer) -> str:
    return (
        f"{listing.url} lists no model (HTTP status {listing.status}): this is no inference server with an "
        "OpenAI-compatible API; is the URL right? For a router, give --server-type"
    )


def _part(config: Any, name: str) -> dict[str, Any]:
    part = config.get(name) if isinstance(config, dict) else None
    return part if isinstance(part, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
