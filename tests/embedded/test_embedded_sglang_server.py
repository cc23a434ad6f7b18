import asyncio
import json
import re
import time

import pytest
from embedded_http import Client, chat, serving, summed

from nemo_skills_specdec.embedded.sglang_metrics import AcceptanceWindow

DETAILS = {
    "spec_accept_rate",
    "spec_accept_length",
    "spec_cap_length",
    "spec_block_accept_length",
    "spec_num_correct_drafts",
    "spec_num_proposed_drafts",
    "spec_verify_ct",
    "spec_correct_drafts_histogram",
    "spec_cap_lens_histogram",
}


def on_server(check, **options):
    async def run():
        async with serving(dialect="sglang", **options) as client:
            return await check(client)

    return asyncio.run(run())


def consistent(details: dict, completion: int, draft_length: int = 3) -> None:
    histogram, steps = details["spec_correct_drafts_histogram"], details["spec_verify_ct"]
    accepted = details["spec_num_correct_drafts"]
    assert sum(histogram) == steps
    assert sum(k * count for k, count in enumerate(histogram)) == accepted
    assert len(histogram) == 1 or histogram[-1] > 0
    assert details["spec_num_proposed_drafts"] == steps * draft_length
    assert details["spec_accept_rate"] == accepted / (steps * draft_length)
    assert details["spec_accept_length"] == completion / steps
    assert 0 <= 1 + steps + accepted - completion <= draft_length


def test_details_stand_in_the_response_when_asked_for():
    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat(return_spec_tokens_details=True, ignore_eos=True))
        details = body["sglext"]["spec_tokens_details"]
        assert set(details) == DETAILS
        consistent(details, body["usage"]["completion_tokens"])
        assert "metrics" not in body
        _, plain = await client.post("/v1/chat/completions", chat())
        assert "sglext" not in plain
        assert "meta_info" not in plain["choices"][0]
        assert re.fullmatch(r"[0-9a-f]{32}", plain["id"])
        assert plain["choices"][0]["matched_stop"] in (None, 1)

    on_server(check)


@pytest.mark.parametrize("method", ["draft_model", "ngram"])
def test_a_stream_ends_with_a_details_chunk_then_a_usage_chunk(method):
    async def check(client: Client):
        asked = chat(return_spec_tokens_details=True, stream_options={"include_usage": True}, ignore_eos=True)
        chunks = await client.stream("/v1/chat/completions", asked)
        *texts, end, details, usage = chunks
        assert texts[0]["choices"][0]["delta"] == {"reasoning_content": None, "role": "assistant", "content": ""}
        assert end["choices"][0]["delta"] == {"reasoning_content": None}
        assert end["choices"][0]["finish_reason"] == "length"
        assert details["choices"] == usage["choices"] == []
        assert details["usage"] is None
        consistent(details["sglext"]["spec_tokens_details"], usage["usage"]["completion_tokens"])
        _, whole = await client.post("/v1/chat/completions", asked | {"stream": False})
        text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in texts)
        assert text == whole["choices"][0]["message"]["content"]
        assert whole["sglext"]["spec_tokens_details"] == details["sglext"]["spec_tokens_details"]

    on_server(check, method=method)


@pytest.mark.parametrize(("options", "settings"), [({"method": "none"}, {}), ({}, {"max_tokens": 1})])
def test_details_are_absent_without_speculation_and_without_a_verify_step(options, settings):
    async def check(client: Client):
        asked = chat(return_spec_tokens_details=True, return_meta_info=True, **settings)
        _, body = await client.post("/v1/chat/completions", asked)
        assert "sglext" not in body
        assert not [key for key in body["choices"][0]["meta_info"] if key.startswith("spec_")]
        chunks = await client.stream("/v1/chat/completions", asked | {"return_meta_info": False})
        assert not any("sglext" in chunk for chunk in chunks)

    on_server(check, **options)


def test_details_of_several_samples_are_a_list():
    async def check(client: Client):
        asked = chat(
            n=2, temperature=1, seed=3, return_spec_tokens_details=True, return_meta_info=True, ignore_eos=True
        )
        _, body = await client.post("/v1/chat/completions", asked)
        details = body["sglext"]["spec_tokens_details"]
        assert len(details) == 2
        names = [choice["meta_info"]["id"] for choice in body["choices"]]
        assert len(set(names)) == 2
        assert body["id"] == names[0]
        for choice, item in zip(body["choices"], details, strict=True):
            assert choice["meta_info"]["spec_verify_ct"] == item["spec_verify_ct"]
            consistent(item, choice["meta_info"]["completion_tokens"])

    on_server(check)


def test_meta_info_is_refused_while_streaming_and_rid_names_the_request():
    async def check(client: Client):
        status, body = await client.post("/v1/chat/completions", chat(return_meta_info=True, stream=True))
        assert status == 400
        assert body["error"]["message"] == "return_meta_info is not supported with streaming"
        _, body = await client.post("/v1/chat/completions", chat(rid="my-id", return_meta_info=True))
        information = body["choices"][0]["meta_info"]
        assert body["id"] == information["id"] == "my-id"
        assert information["prompt_tokens"] == body["usage"]["prompt_tokens"]
        assert information["completion_tokens"] == body["usage"]["completion_tokens"]
        assert information["finish_reason"]["type"] == body["choices"][0]["finish_reason"]

    on_server(check)


def test_the_server_says_what_it_is_as_sglang_does():
    async def check(client: Client):
        assert await client.get("/version") == (404, {"detail": "Not Found"})
        _, models = await client.get("/v1/models")
        assert models["data"][0]["owned_by"] == "sglang"
        assert (await client.get("/"))[1] == "SGLang is running"
        _, info = await client.get("/server_info")
        assert (await client.get("/get_server_info"))[1] == info
        assert info["speculative_algorithm"] == "STANDALONE"
        assert info["speculative_num_draft_tokens"] == 6
        assert info["speculative_num_steps"] == 5
        assert info["speculative_eagle_topk"] == 1
        assert info["version"].startswith("0.5.23")
        assert info["enable_metrics"] is True
        assert len(info["internal_states"]) == 1

    on_server(check, draft_length=5)


@pytest.mark.parametrize(
    ("method", "algorithm", "steps", "tokens"), [("ngram", "NGRAM", 4, 4), ("none", None, None, None)]
)
def test_server_info_names_the_algorithm(method, algorithm, steps, tokens):
    async def check(client: Client):
        _, info = await client.get("/server_info")
        assert info["speculative_algorithm"] == algorithm
        assert info["speculative_num_steps"] == steps
        assert info["speculative_num_draft_tokens"] == tokens

    on_server(check, method=method)


def test_the_api_key_guards_everything_but_health_and_metrics_and_is_never_shown():
    async def check(client: Client):
        right = {"headers": {"Authorization": "Bearer s3cret"}}
        for path in ("/server_info", "/v1/models", "/ledger"):
            assert (await client.get(path))[0] == 401
            status, body = await client.get(path, **right)
            assert status == 200
            assert "s3cret" not in json.dumps(body)
        assert (await client.get("/server_info", **right))[1]["api_key"] == "<redacted>"
        assert (await client.get("/health"))[0] == (await client.get("/metrics"))[0] == 200

    on_server(check, api_key="s3cret")


def test_verify_calls_do_not_exist_before_the_first_speculative_request():
    async def check(client: Client):
        async with client.session.get(client.url + "/metrics") as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            text = await response.text()
        assert "spec_verify_calls_total" not in text
        assert "num_requests_total" not in text
        samples = await client.samples()
        for name in ("accept_length", "accept_rate", "num_steps", "num_draft_tokens"):
            assert list(samples[f"sglang:spec_{name}"].values()) == [0.0]
        await client.post("/v1/chat/completions", chat(max_tokens=1))
        assert "sglang:spec_verify_calls_total" not in await client.samples()
        await client.post("/v1/chat/completions", chat(max_tokens=9))
        await client.stream("/v1/chat/completions", chat(max_tokens=9))
        samples = await client.samples()
        assert summed(samples, "sglang:spec_verify_calls_total") > 0
        counted = samples["sglang:num_requests_total"]
        assert {dict(key)["is_streaming"]: value for key, value in counted.items()} == {"false": 2, "true": 1}
        assert not [name for name in samples if name.endswith("_created")]

    on_server(check)


def test_without_speculation_gauges_stay_zero_and_nothing_is_verified():
    async def check(client: Client):
        for _ in range(3):
            await client.post("/v1/chat/completions", chat(ignore_eos=True))
        samples = await client.samples()
        assert "sglang:spec_verify_calls_total" not in samples
        assert list(samples["sglang:spec_accept_length"].values()) == [0.0]
        generated, finished = (summed(samples, f"sglang:{n}_total") for n in ("generation_tokens", "num_requests"))
        assert summed(samples, "sglang:realtime_tokens_total", mode="decode") == generated - finished
        _, info = await client.get("/server_info")
        assert "avg_spec_accept_length" not in info["internal_states"][0]

    on_server(check, method="none", decode_log_interval=5)


def test_gauges_hold_the_mean_of_the_last_full_window_only():
    window = AcceptanceWindow(interval=3)
    assert [window.iteration(a, 2) for a in (0, 2, 4)] == [None, None, (2.0, 1.0)]
    assert window.lifetime_length == 2.0
    assert [window.iteration(a, 1) for a in (3, 3, 3)] == [None, None, (4.0, 3.0)]
    assert window.lifetime_length == (6 + 9 + 9) / 9
    assert window.iteration(0, 50) is None
    assert window.lifetime_length == (6 + 9 + 9) / 9
    window.flush()
    assert window.lifetime_length is None


def test_gauges_and_lifetime_length_follow_the_ledger_tick_by_tick():
    async def check(client: Client):
        _, info = await client.get("/server_info")
        assert "avg_spec_accept_length" not in info["internal_states"][0]
        await client.post("/v1/chat/completions", chat(ignore_eos=True, max_tokens=60))
        _, ledger = await client.get("/ledger")
        accepted = ledger["requests"][0]["accepted"]
        ticks = len(accepted) // 4
        assert ticks >= 2
        last = accepted[4 * (ticks - 1) : 4 * ticks]
        samples = await client.samples()
        assert summed(samples, "sglang:spec_accept_length") == 1 + sum(last) / 4
        assert summed(samples, "sglang:spec_accept_rate") == pytest.approx(sum(last) / 12)
        assert summed(samples, "sglang:spec_num_steps") == 3
        assert summed(samples, "sglang:spec_num_draft_tokens") == 4
        _, info = await client.get("/server_info")
        lifetime = info["internal_states"][0]["avg_spec_accept_length"]
        assert lifetime == pytest.approx(1 + sum(accepted[: 4 * ticks]) / (4 * ticks))
        assert (await client.post("/flush_cache", {}))[0] == 200
        _, info = await client.get("/server_info")
        assert "avg_spec_accept_length" not in info["internal_states"][0]
        assert summed(await client.samples(), "sglang:spec_accept_length") == 1 + sum(last) / 4

    on_server(check, decode_log_interval=4)


def test_flushing_is_refused_while_requests_run():
    async def check(client: Client):
        task = asyncio.create_task(client.post("/v1/chat/completions", chat(max_tokens=200, ignore_eos=True)))
        while not client.service.engines[0].busy:
            await asyncio.sleep(0.001)
        assert (await client.get("/flush_cache"))[0] == 400
        await task

    on_server(check)


def test_ngram_steps_without_a_match_are_verify_calls_with_padding():
    async def check(client: Client):
        asked = chat(temperature=1, seed=1, max_tokens=40, ignore_eos=True, return_spec_tokens_details=True)
        _, body = await client.post("/v1/chat/completions", asked)
        _, ledger = await client.get("/ledger")
        drafted = ledger["requests"][0]["drafted"]
        assert 0 in drafted
        details = body["sglext"]["spec_tokens_details"]
        assert details["spec_verify_ct"] == len(drafted)
        assert details["spec_num_proposed_drafts"] == 3 * len(drafted) > sum(drafted)
        consistent(details, 40)

    on_server(check, method="ngram", prompt_lookup_min=1)


def test_ranks_of_a_data_parallel_server_are_labelled_in_scheduler_series_only():
    async def check(client: Client):
        for _ in range(4):
            await client.post("/v1/chat/completions", chat())
        samples = await client.samples()
        for rank in ("0", "1"):
            totals = client.service.engines[int(rank)].ledger.totals
            expected = totals.decode_steps + totals.accepted_tokens
            assert summed(samples, "sglang:realtime_tokens_total", mode="decode", dp_rank=rank) == expected > 0
        assert all("dp_rank" not in dict(key) for key in samples["sglang:num_requests_total"])
        _, info = await client.get("/server_info")
        assert len(info["internal_states"]) == info["dp_size"] == 2

    on_server(check, data_parallel_size=2)


def test_without_metrics_the_path_does_not_exist():
    async def check(client: Client):
        assert (await client.get("/metrics"))[0] == 404
        assert (await client.get("/server_info"))[1]["enable_metrics"] is False

    on_server(check, disable_log_stats=True)


def test_an_aborted_request_is_counted_apart_and_leaves_no_record(tmp_path):
    async def check(client: Client):
        sending = asyncio.create_task(
            client.session.post(client.url + "/v1/chat/completions", json=chat(max_tokens=10**6, ignore_eos=True))
        )
        while not client.service.engines[0].num_running:
            await asyncio.sleep(0.001)
        sending.cancel()
        while client.service.engines[0].busy:
            await asyncio.sleep(0.005)
        samples = await client.samples()
        assert summed(samples, "sglang:num_aborted_requests_total") == 1
        assert "sglang:num_requests_total" not in samples
        assert list(tmp_path.glob("*")) == []

    on_server(check, export_metrics_dir=str(tmp_path))


def test_request_files_hold_a_line_a_request_some_time_after_its_response(tmp_path):
    folder = tmp_path / "new"

    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat(rid="r-1", ignore_eos=True, seed=9))
        assert list(folder.glob("*")) == [], "the line must come after the response"
        deadline = time.monotonic() + 5
        while not list(folder.glob("*")) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        (file,) = folder.glob("*")
        assert re.fullmatch(r"sglang-request-metrics-\d{8}_\d{2}\.log", file.name)
        record = json.loads(file.read_text())
        assert record["id"] == "r-1"
        consistent(record, body["usage"]["completion_tokens"])
        parameters = json.loads(record["request_parameters"])
        assert parameters["rid"] == "r-1"
        assert len(parameters["input_ids"]) == record["prompt_tokens"]
        assert parameters["sampling_params"]["max_new_tokens"] == 24
        assert record["request_received_ts"] <= record["request_finished_ts"] <= record["response_sent_to_client_ts"]
        await client.stream("/v1/chat/completions", chat(rid="r-2"))
        await client.post("/v1/chat/completions", chat(n=2))

    on_server(check, export_metrics_dir=str(folder))
    (file,) = folder.glob("*")
    names = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert names[:2] == ["r-1", "r-2"]
    assert len(names) == 4, "what was queued is written when the server stops"
