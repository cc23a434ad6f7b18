"""Situations from public reports: what stands between the client and the engine, and what must be said then."""

from typing import Any

import pytest
from server_recordings import codes, json_of, snapshot, text_of, tiny_server

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.scrape import take_snapshot

RANK = 'engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"'


def router_text(requests: int, tokens: int) -> str:
    """A router's own metrics under the engine's namespace."""
    server = 'server="http://10.0.0.1:8000"'
    return (
        f"vllm:num_requests_running{{{server}}} 0.0\nvllm:num_requests_waiting{{{server}}} 0.0\n"
        f"vllm:current_qps{{{server}}} 1.5\nvllm:healthy_pods_total{{{server}}} 1.0\n"
        f'vllm:num_incoming_requests_total{{model="m"}} {requests}\n'
        f'vllm:output_tokens_total{{model="m",{server}}} {tokens}\n'
    )


def counters(drafts: int, *, name: str = "vllm:", total: str = "_total", labels: str = 'model_name="m"') -> str:
    """A vLLM's counters after some steps, each of which accepts 1.5 tokens of 3."""
    values = {
        "spec_decode_num_drafts": drafts,
        "spec_decode_num_draft_tokens": 3 * drafts,
        "spec_decode_num_accepted_tokens": 3 * drafts // 2,
        "generation_tokens": 26 * drafts // 10,
        "prompt_tokens": drafts,
        "request_success": drafts // 10,
    }
    lines = [f"{name}{key}{total}{{{labels}}} {value}\n" for key, value in values.items()]
    positions = (8 * drafts // 10, 4 * drafts // 10, 3 * drafts // 10)
    lines += [
        f'{name}spec_decode_num_accepted_tokens_per_pos{total}{{{labels},position="{i}"}} {value}\n'
        for i, value in enumerate(positions)
    ]
    return "".join(lines)


def read(before: str, after: str, info: ServerInfo | None = None) -> CounterReading:
    return read_window([snapshot(before)], [snapshot(after)], info)


def test_a_routers_own_metrics_say_nothing_about_speculation() -> None:
    reading = read(router_text(5, 200), router_text(15, 600))
    assert (reading.engine, reading.source, codes(reading)) == ("vllm", None, ["router_metrics"])
    assert reading.findings[0].severity == "invalid"
    assert "vllm:current_qps" in reading.findings[0].message
    assert "--metrics-url" in reading.findings[0].message


def test_a_router_is_not_taken_for_a_server_that_does_not_speculate() -> None:
    with tiny_server(
        {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}, "/metrics": router_text(5, 200)}
    ) as it:
        info = detect(it.url)
    assert (info.speculation, [finding.code for finding in info.findings]) == ("unknown", ["router_metrics"])


def test_a_text_cut_off_before_the_counters_of_drafts_is_not_taken_for_speculation_off() -> None:
    text = text_of("vllm/ngram/metrics_after.txt")
    place = text.index("# HELP vllm:prompt_tokens_total")
    part = "".join(line for line in text[:place].splitlines(True) if "spec_decode" not in line)
    assert codes(read(part, part)) == ["router_metrics"]


@pytest.mark.parametrize("prefix", ["ray_vllm_", "vllm_", "ray_serve:vllm:"])
@pytest.mark.parametrize("total", ["_total", ""])
@pytest.mark.parametrize(
    "labels", ['model_name="m"', 'NodeAddress="10.0.0.5",WorkerId="aa11",engine="0",model_name="m"']
)
def test_series_behind_another_prefix_are_read_and_the_prefix_is_named(prefix: str, total: str, labels: str) -> None:
    before, after = (counters(drafts, name=prefix, total=total, labels=labels) for drafts in (0, 100))
    reading = read(before, after)
    assert (reading.source, reading.acceptance_length, reading.num_drafts) == ("counters", 2.5, 100)
    assert [(finding.code, finding.numbers) for finding in reading.findings] == [("series_prefix", {"prefix": prefix})]


def test_sglang_behind_another_prefix_is_read() -> None:
    before, after = (
        text_of(f"sglang-gpu/sgl_ngram/T0_c1_metrics_{end}.txt").replace("sglang:", "ray_sglang_")
        for end in ("before", "after")
    )
    reading = read(before, after)
    assert (reading.engine, reading.source) == ("sglang", "bounds")
    assert "series_prefix" in codes(reading)


def test_metrics_of_no_engine_tell_what_was_seen() -> None:
    reading = read("smg_requests_total 1\n", "smg_requests_total 5\nsgl_router_retries_total 1\n")
    assert (reading.problem, codes(reading)) == ("no_engine_metrics", ["no_engine_metrics"])
    assert "smg_requests_total, sgl_router_retries_total" in reading.findings[0].message


def sglang_text(verify: int, generated: int, requests: int, decoded: int, aborted: int = 0) -> str:
    return (
        f"sglang:spec_verify_calls_total {verify}\n"
        f'sglang:generation_tokens_total{{is_streaming="true"}} {generated}\n'
        f'sglang:num_requests_total{{is_streaming="true"}} {requests}\n'
        f'sglang:realtime_tokens_total{{mode="decode",{RANK}}} {decoded}\n'
        f"sglang:spec_num_draft_tokens{{{RANK}}} 4\nsglang:spec_accept_length{{{RANK}}} 2.5\n"
        f"sglang:num_aborted_requests_total {aborted}\n"
    )


def test_a_bound_above_the_possible_gives_no_number() -> None:
    reading = read(sglang_text(0, 0, 0, 0), sglang_text(100, 260, 10, 2000, aborted=40))
    assert (reading.source, reading.acceptance_length, reading.acceptance_length_bounds) == (None, None, None)
    assert [(f.code, f.severity) for f in reading.findings if f.severity == "invalid"] == [
        ("impossible_figures", "invalid")
    ]
    assert reading.num_drafts == 100


def test_a_gauge_above_the_possible_gives_no_number() -> None:
    text = f"sglang:generation_tokens_total 90\nsglang:num_requests_total 5\nsglang:spec_num_draft_tokens{{{RANK}}} 4\n"
    reading = read(text, text.replace(" 90", " 190") + f"sglang:spec_accept_length{{{RANK}}} 7.5\n")
    assert (reading.source, reading.acceptance_length) == (None, None)
    assert codes(reading) == ["gauge_estimate", "impossible_figures"]


def test_more_generated_tokens_than_steps_can_give_are_foreign() -> None:
    times = "vllm:time_to_first_token_seconds_count 10\nvllm:inter_token_latency_seconds_count 100\n"
    fine = read("", counters(100) + times)
    assert (fine.source, codes(fine)) == ("counters", [])
    foreign = read(
        "", counters(100).replace('generation_tokens_total{model_name="m"} 260', "generation_tokens_total 900") + times
    )
    assert (foreign.source, foreign.counts, codes(foreign)) == (None, None, ["impossible_figures"])


@pytest.mark.parametrize("lost", ["spec_decode_num_drafts", "spec_decode_num_accepted_tokens", "generation_tokens"])
def test_a_counter_lost_from_the_first_snapshot_is_never_counted_from_zero(lost: str) -> None:
    before = "".join(line for line in counters(50).splitlines(True) if f":{lost}" not in line)
    reading = read(before, counters(150))
    assert (reading.source, reading.acceptance_length, codes(reading)) == (None, None, ["missing_before"])


def test_a_first_snapshot_that_breaks_off_is_never_read() -> None:
    before = counters(50)
    for place in range(1, len(before)):
        reading = read(before[:place], counters(150))
        assert reading.source is None, place
        assert reading.findings[0].severity == "invalid", place


def test_several_servers_in_one_text_are_remarked() -> None:
    one, two = (counters(100, labels=f'model_name="m",pod="{pod}"') for pod in ("a", "b"))
    reading = read("", one + two)
    assert (reading.num_drafts, codes(reading)) == (200, ["several_servers"])


def test_several_models_of_a_llamacpp_router_are_remarked() -> None:
    one, two = (
        f'llamacpp:spec_decode_num_{name}_total{{model="{model}"}} 4\n' for model in ("a", "b") for name in ("drafts",)
    )
    rest = "".join(
        f'llamacpp:{name}_total{{model="{model}"}} 8\n'
        for model in ("a", "b")
        for name in ("spec_decode_num_draft_tokens", "spec_decode_num_accepted_tokens", "tokens_predicted")
    )
    reading = read("", one + two + rest)
    assert (reading.counts, codes(reading)) == (
        AcceptanceCounts(num_drafts=8, num_draft_tokens=16, num_accepted_tokens=16),
        ["several_models"],
    )


MISSING = (400, {"error": {"code": 400, "message": "model name is missing from the request"}}, {})


def llamacpp_router(*loaded: str) -> dict[str, Any]:
    models = [{"id": name, "owned_by": "llamacpp", "status": {"value": "loaded"}} for name in loaded]
    models.append({"id": "other", "owned_by": "llamacpp", "status": {"value": "unloaded"}})
    case = "llamacpp/ngram-k3"
    return {
        "/v1/models": {"data": models},
        "/metrics": MISSING,
        "/slots": MISSING,
        "/metrics?model=a%2Fb": text_of(f"{case}/metrics_after.txt"),
        "/slots?model=a%2Fb": json_of(f"{case}/slots.json"),
        "/props?model=a%2Fb": json_of(f"{case}/props.json"),
    }


def test_the_only_loaded_model_of_a_llamacpp_router_is_asked_for() -> None:
    with tiny_server(llamacpp_router("a/b")) as server:
        info, taken = detect(server.url), take_snapshot(server.url)
    assert (info.engine, info.speculation, info.draft_length, taken.error) == ("llamacpp", "on", 3, None)
    assert {item.source: item.available for item in info.offers} == {"response": True, "counters": True}


@pytest.mark.parametrize(("loaded", "told"), [(("a/b", "c"), "it has loaded a/b, c"), ((), "it has loaded none yet")])
def test_a_llamacpp_router_with_another_number_of_models_says_what_to_give(loaded: tuple[str, ...], told: str) -> None:
    with tiny_server(llamacpp_router(*loaded)) as server:
        error = str(take_snapshot(server.url).error)
    assert told in error
    assert "/metrics?model=NAME'" in error


def worker(version: str, positions: int) -> dict[str, Any]:
    text = text_of("vllm/ngram/metrics_after.txt")
    for i in range(positions, 4):
        text = "\n".join(line for line in text.split("\n") if f'position="{i}"' not in line)
    return {"/v1/models": json_of("vllm/ngram/models.json"), "/version": {"version": version}, "/metrics": text}


def test_different_engines_behind_a_router_are_named() -> None:
    models = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}, "/metrics": router_text(1, 1)}
    with tiny_server(models) as router, tiny_server(worker("0.32.0", 4)) as a, tiny_server(worker("0.33.0", 3)) as b:
        mixed = detect(router.url, [a.url, b.url])
        alike = detect(router.url, [a.url, a.url])
    (finding,) = [finding for finding in mixed.findings if finding.code == "mixed_configurations"]
    assert finding.numbers == {"version": "0.32.0, 0.33.0", "draft_length": "4, 3"}
    assert "mixed_configurations" not in [finding.code for finding in alike.findings]
