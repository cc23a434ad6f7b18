"""Which sources of acceptance a server offers, and the exact flag that would switch on the others."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.engines import llamacpp, spec_counters
from nemo_skills_specdec.engines.base import Samples, ServerInfo, SourceOffer
from nemo_skills_specdec.engines.versions import at_least
from nemo_skills_specdec.records import Source

ALL_RATES = "AL, AR, per position"
PER_REQUEST_SETTING = "per_request_spec_decode_metrics"
"""vLLM's name for whether responses carry statistics, told in development mode only."""

PER_REQUEST = "AL, AR, per position, per request"


def offers_of(info: ServerInfo, samples: Sequence[Samples], metrics_error: str | None) -> list[SourceOffer]:
    """The sources of one server, best first.

    Args:
        info: what is known of it so far: engine, version, speculation, settings.
        samples: one reading per metrics endpoint that could be read.
        metrics_error: why there are no metrics of this engine; None if there are.
    """
    if info.engine == "vllm":
        return _vllm(info, samples, metrics_error)
    if info.engine == "sglang":
        return _sglang(info, samples, metrics_error)
    if info.engine == "llamacpp":
        return _llamacpp(info, samples, metrics_error)
    return []


def _vllm(info: ServerInfo, samples: Sequence[Samples], metrics_error: str | None) -> list[SourceOffer]:
    option = "--per-request-spec-decode-metrics"
    flag = f"{option} detailed"
    if info.speculation == "off":
        cure = """start vLLM with --speculative-config '{"method": ...}'"""
        return [_offer("response", False, PER_REQUEST, cure), _offer("counters", False, ALL_RATES, cure)]
    if at_least(info.version, (0, 29)) is False:
        response = _offer("response", False, PER_REQUEST, f"upgrade to vLLM 0.29 or later and start it with {flag}")
    elif PER_REQUEST_SETTING in info.settings:
        told = info.settings[PER_REQUEST_SETTING]
        how = f"start vLLM with {flag}" if told == "none" else f"in use: {option} {told}"
        response = _offer("response", told != "none", PER_REQUEST, how)
    else:
        response = _offer(
            "response", None, PER_REQUEST, f"server flag {flag}; only a request can tell whether it is set"
        )
    if any(spec_counters.has_spec_series(item, "vllm:") for item in samples):
        counters = _offer("counters", True, ALL_RATES, "in use: vllm:spec_decode series on /metrics")
    else:
        counters = _offer("counters", False, ALL_RATES, metrics_error or "start vLLM without --disable-log-stats")
    return [response, counters]


def _sglang(info: ServerInfo, samples: Sequence[Samples], metrics_error: str | None) -> list[SourceOffer]:
    gives: dict[Source, str] = {
        "response": PER_REQUEST,
        "request_file": PER_REQUEST,
        "counters": "AL, AR",
        "bounds": "AL, AR as bounds",
        "gauge_estimate": "AL, AR as an estimate",
    }
    if info.speculation == "off":
        return [
            _offer(source, False, text, "start SGLang with --speculative-algorithm") for source, text in gives.items()
        ]
    synchronous = info.settings.get("disable_overlap_schedule")
    counters, bounds = _sglang_counters(info, samples, metrics_error, synchronous)
    has_gauge = any("sglang:spec_accept_length" in item.series for item in samples)
    return [
        _sglang_response(info),
        _sglang_files(info),
        counters,
        bounds,
        _offer(
            "gauge_estimate",
            has_gauge,
            gives["gauge_estimate"],
            "in use if nothing else is there" if has_gauge else _no_sglang_metrics(metrics_error),
        ),
    ]


def _sglang_response(info: ServerInfo) -> SourceOffer:
    if at_least(info.version, (0, 5, 19)):
        how = "in use: request field return_spec_tokens_details, which is sent with every request"
        return _offer("response", True, PER_REQUEST, how)
    if at_least(info.version, (0, 5, 13)):
        how = (
            "in use without streaming (--no-stream): request field return_meta_info; SGLang 0.5.19 or later for streams"
        )
        return _offer("response", True, PER_REQUEST, how)
    if info.version is None:
        return _offer("response", None, PER_REQUEST, "SGLang 0.5.19 or later; only a request can tell")
    return _offer("response", False, PER_REQUEST, "upgrade to SGLang 0.5.19 or later (0.5.13 without streaming)")


def _sglang_files(info: ServerInfo) -> SourceOffer:
    if info.settings.get("export_metrics_to_file"):
        folder = info.settings.get("export_metrics_to_file_dir")
        how = f"in use: {folder} on the server; give --request-metrics-dir if it can be read from here"
        return _offer("request_file", True, PER_REQUEST, how)
    if at_least(info.version, (0, 5, 6)) is False:
        return _offer("request_file", False, PER_REQUEST, "upgrade to SGLang 0.5.6 or later")
    flags = "--export-metrics-to-file --export-metrics-to-file-dir DIR"
    return _offer("request_file", False, PER_REQUEST, f"start SGLang with {flags}")


def _sglang_counters(
    info: ServerInfo, samples: Sequence[Samples], metrics_error: str | None, synchronous: bool | None
) -> tuple[SourceOffer, SourceOffer]:
    exact, bracket = "AL, AR", "AL, AR as bounds"
    if not samples:
        cure = _no_sglang_metrics(metrics_error)
    elif info.settings.get("frontend", "python") != "python":
        cure = "the Rust front end does not count verification steps; start SGLang without SGLANG_RUST_SERVER"
    elif at_least(info.version, (0, 5, 13)) is False:
        cure = "upgrade to SGLang 0.5.13 or later"
    else:
        in_use = "in use: sglang:spec_verify_calls_total and sglang:realtime_tokens_total on /metrics"
        slower = "start SGLang with --disable-overlap-schedule, which is slower, to make the counters exact"
        if synchronous:
            return _offer("counters", True, exact, in_use), _offer("bounds", False, bracket, "not needed")
        told = None if synchronous is None else False
        return _offer("counters", told, exact, slower), _offer("bounds", True, bracket, in_use)
    return _offer("counters", False, exact, cure), _offer("bounds", False, bracket, cure)


def _llamacpp(info: ServerInfo, samples: Sequence[Samples], metrics_error: str | None) -> list[SourceOffer]:
    rates = "AR, per request"
    if info.speculation == "off":
        return [_offer("response", False, rates, llamacpp.CURE), _offer("counters", False, ALL_RATES, llamacpp.CURE)]
    on = True if info.speculation == "on" else None
    response = _offer("response", on, rates, "in use: timings in every response, without the number of steps (no AL)")
    if any(spec_counters.has_spec_series(item, "llamacpp:") for item in samples):
        return [response, _offer("counters", on, ALL_RATES, "in use: llamacpp:spec_decode series on /metrics")]
    cure = metrics_error or "use a newer llama.cpp, whose metrics have llamacpp:spec_decode series"
    return [response, _offer("counters", False, ALL_RATES, cure)]


def _no_sglang_metrics(metrics_error: str | None) -> str:
    return metrics_error or "start SGLang with --enable-metrics"


def _offer(source: Source, available: bool | None, gives: str, how: str) -> SourceOffer:
    return SourceOffer(source=source, available=available, gives=gives, how=how)
