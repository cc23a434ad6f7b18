"""What a server says about itself, and which sources it offers."""

from typing import Any

import msgspec
import pytest
from server_recordings import json_of, text_of, tiny_server

from nemo_skills_specdec.engines.base import ServerInfo, SourceOffer
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.probe import probe_responses
from nemo_skills_specdec.engines.versions import at_least
from nemo_skills_specdec.errors import ServerError, UsageError

SECRET = "sk-very-secret"


def vllm_routes(case: str) -> dict[str, Any]:
    return {
        "/v1/models": json_of(f"{case}/models.json"),
        "/version": json_of(f"{case}/version.json"),
        "/metrics": text_of("vllm/ngram/metrics_before.txt"),
    }


def sglang_routes(server_info: str = "sglang-gpu/sgl_ngram/server_info.json", **change: Any) -> dict[str, Any]:
    return {
        "/v1/models": json_of("sglang-gpu/sgl_ngram/models.json"),
        "/server_info": {**json_of(server_info), **change},
        "/metrics": text_of("sglang-gpu/sgl_ngram/T0_c1_metrics_after.txt"),
    }


def llamacpp_routes(case: str) -> dict[str, Any]:
    return {
        "/v1/models": json_of(f"llamacpp/{case}/models.json"),
        "/props": json_of(f"llamacpp/{case}/props.json"),
        "/slots": json_of(f"llamacpp/{case}/slots.json"),
        "/metrics": text_of(f"llamacpp/{case}/metrics_after.txt"),
    }


def found(routes: dict[str, Any], **arguments: Any) -> ServerInfo:
    with tiny_server(routes) as server:
        return detect(server.url, **arguments)


def offer(info: ServerInfo, source: str) -> SourceOffer:
    return next(item for item in info.offers if item.source == source)


def test_a_vllm_is_recognised_with_its_draft_length() -> None:
    info = found(vllm_routes("vllm/ngram"))
    assert (info.engine, info.version, info.models) == ("vllm", "0.32.0", ["tiny"])
    assert (info.speculation, info.draft_length, info.method) == ("on", 4, None)
    assert (offer(info, "counters").available, offer(info, "response").available) == (True, None)
    assert "--per-request-spec-decode-metrics detailed" in offer(info, "response").how


def test_a_vllm_before_029_has_no_statistics_in_its_responses() -> None:
    info = found(vllm_routes("vllm-gpu/vllm_ngram"))
    assert (info.version, offer(info, "response").available) == ("0.26.0", False)
    assert "upgrade to vLLM 0.29" in offer(info, "response").how


def test_a_vllm_without_speculation_says_how_to_switch_it_on() -> None:
    info = found({**vllm_routes("vllm/off"), "/metrics": text_of("vllm/off/metrics_before.txt")})
    assert (info.speculation, info.draft_length) == ("off", None)
    assert [item.available for item in info.offers] == [False, False]
    assert "--speculative-config" in offer(info, "counters").how


def test_a_vllm_without_statistics_is_told_to_drop_the_flag() -> None:
    info = found({**vllm_routes("vllm/ngram"), "/metrics": text_of("vllm/ngram_nologstats/metrics_before.txt")})
    assert (info.engine, info.speculation) == ("vllm", "unknown")
    assert (offer(info, "counters").available, offer(info, "response").available) == (False, None)
    assert "--disable-log-stats" in offer(info, "counters").how


def test_a_vllm_in_development_mode_tells_its_method_and_synthetic_acceptance() -> None:
    config = {
        "method": "eagle3",
        "num_speculative_tokens": 3,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_rates": [0.8, 0.6, 0.4],
        "draft_model_config": {"hf_token": SECRET},
    }
    whole = {"speculative_config": config, "observability_config": {"per_request_spec_decode_metrics": "summary"}}
    body = {"vllm_config": {**whole, "device_config": {"device": "cuda"}}, "system_env": {"HF_TOKEN": SECRET}}
    info = found({**vllm_routes("vllm/ngram"), "/server_info?config_format=json": body})
    assert (info.method, info.settings["synthetic_acceptance_rates"]) == ("eagle3", [0.8, 0.6, 0.4])
    assert [finding.code for finding in info.findings] == ["synthetic_acceptance"]
    assert offer(info, "response").available is True
    assert SECRET not in msgspec.json.encode(info).decode()


def test_a_vllm_in_development_mode_tells_that_it_sends_no_statistics() -> None:
    body = {"vllm_config": {"observability_config": {"per_request_spec_decode_metrics": "none"}}}
    info = found({**vllm_routes("vllm/ngram"), "/server_info?config_format=json": body})
    assert (info.speculation, offer(info, "response").available) == ("on", False)


def test_a_vllm_in_development_mode_tells_that_it_runs_on_a_cpu() -> None:
    body = {"vllm_config": {"device_config": {"device": "cpu"}}}
    info = found({**vllm_routes("vllm/ngram"), "/server_info?config_format=json": body})
    assert [finding.code for finding in info.findings] == ["vllm_cpu_build"]


def test_a_cpu_build_of_vllm_is_remarked() -> None:
    info = found({**vllm_routes("vllm/ngram"), "/version": {"version": "0.32.0+cpu"}})
    assert [finding.code for finding in info.findings] == ["vllm_cpu_build"]


def test_a_sglang_is_recognised_with_its_draft_length() -> None:
    info = found(sglang_routes())
    assert (info.engine, info.version, info.models) == ("sglang", "0.5.17", ["tiny"])
    assert (info.speculation, info.method) == ("on", "NGRAM")
    assert (info.draft_length, info.tree_nodes, info.topk) == (3, 4, 1)
    assert [finding.code for finding in info.findings] == ["sglang_ngram", "ngram_remembers"]


def test_a_sglang_with_overlap_offers_bounds_and_the_flag_for_exact_counters() -> None:
    info = found(sglang_routes())
    assert (offer(info, "bounds").available, offer(info, "counters").available) == (True, False)
    assert "--disable-overlap-schedule" in offer(info, "counters").how
    assert offer(info, "request_file").available is False
    assert "--export-metrics-to-file --export-metrics-to-file-dir DIR" in offer(info, "request_file").how


def test_a_sglang_without_overlap_offers_exact_counters() -> None:
    info = found(sglang_routes("sglang/server_info_0.5.23_ngram.json"))
    assert (offer(info, "counters").available, offer(info, "bounds").available) == (True, False)
    assert offer(info, "request_file").available is True
    assert "request_metrics" in offer(info, "request_file").how


@pytest.mark.parametrize(
    ("version", "available", "told"),
    [
        ("0.5.23", True, "return_spec_tokens_details"),
        ("0.5.19", True, "return_spec_tokens_details"),
        ("0.5.18", True, "--no-stream"),
        ("0.5.12.post1", False, "upgrade to SGLang 0.5.19"),
        (None, None, "only a request can show it"),
    ],
)
def test_the_statistics_in_sglang_responses_depend_on_the_version(
    version: str | None, available: bool | None, told: str
) -> None:
    response = offer(found(sglang_routes(version=version)), "response")
    assert response.available is available
    assert told in response.how


def test_a_sglang_without_metrics_is_told_the_flag() -> None:
    routes = sglang_routes()
    del routes["/metrics"]
    info = found(routes)
    assert [offer(info, source).available for source in ("counters", "bounds", "gauge_estimate")] == [False] * 3
    assert "--enable-metrics" in offer(info, "bounds").how
    assert offer(info, "response").available is True


def test_a_sglang_without_speculation_offers_nothing() -> None:
    info = found(sglang_routes("sglang-gpu/sgl_off/server_info.json"))
    assert (info.speculation, info.draft_length, info.tree_nodes, info.method) == ("off", None, None, None)
    assert not any(item.available for item in info.offers)
    assert "--speculative-algorithm" in info.offers[0].how


def test_an_old_sglang_is_asked_under_the_old_path() -> None:
    routes = sglang_routes(version="0.5.5")
    routes["/get_server_info"] = routes.pop("/server_info")
    info = found(routes)
    assert (info.version, info.method) == ("0.5.5", "NGRAM")
    assert offer(info, "bounds").how == "upgrade to SGLang 0.5.13 or later"
    assert [finding.code for finding in info.findings] == ["sglang_ngram", "ngram_off_by_one", "ngram_remembers"]


def test_trees_and_adaptive_drafts_are_remarked() -> None:
    info = found(sglang_routes("sglang-gpu/sgl_standalone_tree/server_info.json", speculative_adaptive=True))
    assert (info.method, info.topk, info.tree_nodes, info.draft_length) == ("STANDALONE", 4, 8, 3)
    codes = [finding.code for finding in info.findings]
    assert codes == ["tree_drafts", "adaptive_drafts", "standalone_first_token"]


@pytest.mark.parametrize(
    ("method", "steps", "topk", "nodes", "depth"),
    [
        ("EAGLE3", 3, 2, 6, 3),
        ("STANDALONE", 3, 1, 4, 3),
        ("EAGLE", 9, 4, 8, 7),
        ("NGRAM", 1, 8, 12, 11),
        ("DFLASH", 1, 2, 16, 15),
    ],
)
def test_the_draft_length_of_a_tree_is_its_depth(method: str, steps: int, topk: int, nodes: int, depth: int) -> None:
    told = {"speculative_num_steps": steps, "speculative_eagle_topk": topk, "speculative_num_draft_tokens": nodes}
    assert found(sglang_routes(speculative_algorithm=method, **told)).draft_length == depth


def test_the_decode_worker_speaks_for_a_disaggregated_sglang() -> None:
    routes = sglang_routes()
    routes["/server_info"] = {"prefill": [{}], "decode": [json_of("sglang-gpu/sgl_ngram/server_info.json")]}
    assert found(routes).tree_nodes == 4


def test_the_rust_front_end_has_no_counters() -> None:
    info = found(sglang_routes(frontend="rust"))
    assert offer(info, "bounds").available is False
    assert "Rust" in offer(info, "bounds").how


def test_secrets_of_sglang_never_leave_its_server_info() -> None:
    body = json_of("sglang/server_info_0.5.23_ngram.json")
    secrets = {"api_key": SECRET, "admin_api_key": SECRET, "ssl_keyfile_password": SECRET}
    secrets["launch_command"] = f"python -m sglang --api-key {SECRET}"
    secrets["watermark_key"] = secrets["json_model_override_args"] = SECRET
    inner = [{**state, **secrets} for state in body["internal_states"]]
    info = found(sglang_routes("sglang/server_info_0.5.23_ngram.json", **secrets, internal_states=inner))
    text = msgspec.json.encode(info).decode()
    assert SECRET not in text
    assert "api_key" not in text
    assert info.settings["speculative_algorithm"] == "NGRAM"


def test_a_llamacpp_is_recognised_by_its_slots() -> None:
    info = found(llamacpp_routes("ngram-k3"))
    assert (info.engine, info.models, info.speculation) == ("llamacpp", ["smollm2"], "on")
    assert (info.draft_length, offer(info, "counters").available, offer(info, "response").available) == (3, True, True)


def test_a_llamacpp_without_speculation_is_off() -> None:
    info = found(llamacpp_routes("none"))
    assert (info.speculation, offer(info, "counters").available) == ("off", False)
    assert "--spec-type" in offer(info, "counters").how


def test_a_llamacpp_without_metrics_still_offers_its_responses() -> None:
    info = found({**llamacpp_routes("ngram-k3"), "/metrics": (501, "{}", {})})
    assert (offer(info, "counters").available, offer(info, "response").available) == (False, True)
    assert "llama.cpp with --metrics" in offer(info, "counters").how


def test_an_engine_that_hides_its_name_is_recognised_by_its_metrics() -> None:
    models = {"data": [{"id": "m", "owned_by": "somebody"}]}
    assert found({**vllm_routes("vllm/ngram"), "/v1/models": models}).engine == "vllm"
    assert found({**sglang_routes(), "/v1/models": models, "/metrics": (404, "", {})}).engine == "sglang"
    assert found({**llamacpp_routes("none"), "/v1/models": models, "/metrics": (501, "", {})}).engine == "llamacpp"


def test_an_unknown_engine_offers_nothing() -> None:
    info = found({"/v1/models": {"data": [{"id": "m"}]}})
    assert (info.engine, info.models, info.offers, info.speculation) == (None, ["m"], [], "unknown")


def test_a_router_can_be_told_what_stands_behind_it() -> None:
    models = {"data": [{"id": "m", "owned_by": "router"}]}
    info = found({"/v1/models": models}, server_type="sglang")
    assert (info.engine, info.speculation) == ("sglang", "unknown")
    assert offer(info, "response").available is None


def test_metrics_elsewhere_are_read() -> None:
    with tiny_server({"/metrics": text_of("vllm/ngram/metrics_before.txt")}) as worker:
        info = found({"/v1/models": json_of("vllm/ngram/models.json")}, metrics_urls=[worker.url])
    assert (info.speculation, info.draft_length) == ("on", 4)


def test_the_key_goes_to_every_question() -> None:
    with tiny_server(sglang_routes()) as server:
        detect(f"{server.url}/v1", headers={"Authorization": f"Bearer {SECRET}"})
    assert {headers.get("Authorization") for _, headers in server.asked} == {f"Bearer {SECRET}"}


def test_a_refused_key_names_the_variable() -> None:
    with pytest.raises(ServerError, match="SPECDEC_API_KEY"):
        found({"/v1/models": (401, '{"error": "Unauthorized"}', {})})


@pytest.mark.parametrize("route", [(404, "", {}), "<html></html>", {"data": []}])
def test_what_is_no_inference_server_is_named(route: Any) -> None:
    with pytest.raises(ServerError, match="not an inference server"):
        found({"/v1/models": route})


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(ServerError, match=r"nothing listens at http://127\.0\.0\.1:9/v1/models"):
        detect("http://127.0.0.1:9")


def test_an_unknown_server_type_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="give one of vllm, sglang, llamacpp"):
        detect("http://127.0.0.1:9", server_type="other")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("response", "available"),
    [("vllm/ngram/nonstream.json", True), ("vllm/off/nonstream.json", False)],
)
def test_a_probe_settles_whether_answers_carry_statistics(response: str, available: bool) -> None:
    with tiny_server({**vllm_routes("vllm/ngram"), "/v1/chat/completions": json_of(response)}) as server:
        info = detect(server.url)
        probe_responses(info, server.url, {})
    assert offer(info, "response").available is available


@pytest.mark.parametrize(
    ("engine", "answer"),
    [
        ("vllm", "vllm/ngram/nonstream.json"),
        ("sglang", "sglang-gpu/sgl_ngram/sample_nonstream.json"),
        ("llamacpp", "llamacpp/ngram-k3/response_0.json"),
    ],
)
def test_the_statistics_of_an_answer_tell_the_engine_that_a_router_hides(engine: str, answer: str) -> None:
    routes = {"/v1/models": {"data": [{"id": "m"}]}, "/v1/chat/completions": json_of(answer)}
    with tiny_server(routes) as server:
        info = detect(server.url)
        assert (info.engine, [finding.code for finding in info.findings]) == (None, ["router_hides"])
        probe_responses(info, server.url, {})
    assert (info.engine, info.speculation, offer(info, "response").available) == (engine, "on", True)
    assert "--metrics-url" in offer(info, "counters").how


def test_nothing_is_sent_where_nothing_is_open() -> None:
    with tiny_server(vllm_routes("vllm-gpu/vllm_ngram")) as server:
        info = detect(server.url)
        probe_responses(info, server.url, {})
    assert "/v1/chat/completions" not in [path for path, _ in server.asked]


def test_a_vllm_with_the_cache_blocks_of_a_cpu_build_is_remarked() -> None:
    (finding,) = found(vllm_routes("vllm/ngram")).findings
    assert finding.code == "vllm_perhaps_cpu_build"
    gpu = found({**vllm_routes("vllm/ngram"), "/metrics": text_of("vllm-gpu/vllm_ngram/T0_c1_metrics_before.txt")})
    assert gpu.findings == []


def test_lossy_verification_is_remarked() -> None:
    codes = [finding.code for finding in found(sglang_routes(speculative_accept_threshold_single=0.9)).findings]
    assert "lossy_verification" in codes
    assert "lossy_verification" not in [finding.code for finding in found(sglang_routes()).findings]
    config = {"vllm_config": {"speculative_config": {"method": "eagle3", "rejection_sample_method": "fly"}}}
    routes = {**vllm_routes("vllm/ngram"), "/server_info?config_format=json": config}
    assert "lossy_verification" in [finding.code for finding in found(routes).findings]


def test_a_fresh_ngram_server_remembers_nothing() -> None:
    text = text_of("sglang-gpu/sgl_ngram/T0_c1_metrics_after.txt")
    served = [line for line in text.split("\n") if line.startswith("sglang:num_requests_total")]
    for line in served:
        text = text.replace(line, f"{line.rpartition(' ')[0]} 0.0")
    first = text.replace(f"{served[0].rpartition(' ')[0]} 0.0", f"{served[0].rpartition(' ')[0]} 1.0")
    assert "ngram_remembers" not in [finding.code for finding in found({**sglang_routes(), "/metrics": first}).findings]


def test_a_probe_that_fails_settles_nothing() -> None:
    with tiny_server(vllm_routes("vllm/ngram")) as server:
        info = detect(server.url)
        probe_responses(info, server.url, {})
    assert offer(info, "response").available is None


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("0.5.10.post1", (0, 5, 10), True),
        ("0.5.9", (0, 5, 10), False),
        ("0.32.0+cpu", (0, 29), True),
        ("0.29", (0, 29, 0), True),
        ("v1.0rc1", (0, 29), True),
        ("unknown", (0, 29), None),
        (None, (0, 29), None),
    ],
)
def test_versions_are_compared_as_numbers(version: str | None, wanted: tuple[int, ...], expected: bool | None) -> None:
    assert at_least(version, wanted) is expected
