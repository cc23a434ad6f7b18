import asyncio
import json

import pytest
from embedded_helpers import write_pair
from embedded_http import Client, chat, serving, shape_of, summed

from nemo_skills_specdec.acceptance import counts_from_histogram, counts_from_steps

STATISTICS = [
    "mean_acceptance_length",
    "draft_acceptance_rate",
    "acceptance_histogram",
    "num_spec_steps",
    "num_accepted_draft_tokens",
    "num_draft_tokens",
    "num_spec_tokens",
    "per_step_accepted",
    "per_step_drafted",
]


def on_server(check, **options):
    async def run():
        async with serving(**options) as client:
            return await check(client)

    return asyncio.run(run())


def test_a_chat_completion_has_vllms_form():
    async def check(client: Client):
        status, body = await client.post("/v1/chat/completions", chat())
        assert status == 200
        assert body["id"].startswith("chatcmpl-")
        assert body["object"] == "chat.completion"
        assert body["system_fingerprint"].startswith("vllm-")
        choice = body["choices"][0]
        assert choice["message"]["role"] == "assistant"
        assert isinstance(choice["message"]["content"], str)
        assert choice["finish_reason"] in ("stop", "length")
        assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
        assert list(body["metrics"]["speculative_decoding"]) == STATISTICS

    on_server(check)


def test_per_request_statistics_agree_with_themselves_and_with_the_ledger():
    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat(ignore_eos=True))
        stats = body["metrics"]["speculative_decoding"]
        counts = counts_from_steps(stats["per_step_accepted"], stats["per_step_drafted"])
        assert counts_from_histogram(
            stats["acceptance_histogram"], num_draft_tokens=stats["num_draft_tokens"], draft_length=3
        ) == (counts + counts_from_histogram([0, 0, 0, 0], num_draft_tokens=0, draft_length=3))
        assert stats["num_spec_steps"] == counts.num_drafts
        assert stats["num_accepted_draft_tokens"] == counts.num_accepted_tokens
        assert stats["mean_acceptance_length"] == pytest.approx(counts.acceptance_length, abs=1e-12)
        assert stats["draft_acceptance_rate"] == counts.acceptance_rate
        assert stats["num_spec_tokens"] == 3
        _, ledger = await client.get("/ledger", params={"request_id": body["id"]})
        (record,) = ledger["requests"]
        assert record["accepted"] == stats["per_step_accepted"]
        assert record["drafted"] == stats["per_step_drafted"]
        assert record["generated"] == body["usage"]["completion_tokens"] == 24

    on_server(check)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_stream_carries_the_same_text_one_chunk_a_step_and_statistics_at_the_end(path):
    async def check(client: Client):
        body = chat(stop=["return"]) if "chat" in path else {**chat(), "prompt": "import os\n"}
        _, whole = await client.post(path, body)
        chunks = await client.stream(path, {**body, "stream_options": {"include_usage": True}})
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        text = "".join(c["delta"]["content"] if "delta" in c else c["text"] for c in choices)
        expected = whole["choices"][0]
        assert text == (expected["message"]["content"] if "chat" in path else expected["text"])
        assert choices[-1]["finish_reason"] == expected["finish_reason"]
        assert all(choice["finish_reason"] is None for choice in choices[:-1])
        if "chat" in path:
            assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        last = chunks[-1]
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
        stats = last["metrics"]["speculative_decoding"]
        assert stats == whole["metrics"]["speculative_decoding"]
        opening = 1 if "chat" in path else 0
        assert len(chunks) == opening + 1 + stats["num_spec_steps"] + 1
        assert {chunk["id"] for chunk in chunks} == {last["id"]}

    on_server(check)


def test_without_include_usage_a_stream_has_neither_usage_nor_statistics():
    async def check(client: Client):
        chunks = await client.stream("/v1/chat/completions", chat())
        assert all("usage" not in chunk and "metrics" not in chunk for chunk in chunks)

    on_server(check)


def test_continuous_usage_stands_in_every_chunk_with_text():
    async def check(client: Client):
        options = {"include_usage": True, "continuous_usage_stats": True}
        chunks = await client.stream("/v1/chat/completions", chat(stream_options=options))
        counts = [chunk["usage"]["completion_tokens"] for chunk in chunks[1:]]
        assert counts == sorted(counts)
        assert counts[0] == 1

    on_server(check)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"per_request_stats": "none"}, None),
        ({"method": "none"}, None),
        ({"per_request_stats": "summary"}, "summary"),
    ],
)
def test_statistics_follow_the_servers_setting(options, expected):
    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat())
        if expected is None:
            assert body["metrics"] is None
            return
        stats = body["metrics"]["speculative_decoding"]
        assert stats["per_step_accepted"] is None
        assert stats["num_spec_steps"] > 0
        last = (await client.stream("/v1/chat/completions", chat(stream_options={"include_usage": True})))[-1]
        assert "per_step_accepted" not in last["metrics"]["speculative_decoding"]

    on_server(check, **options)


def test_several_samples_have_no_statistics_but_are_counted():
    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat(n=3, temperature=1, seed=5))
        assert body["metrics"] is None
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
        assert len({choice["message"]["content"] for choice in body["choices"]}) == 3
        samples = await client.samples()
        assert summed(samples, "vllm:generation_tokens_total") == body["usage"]["completion_tokens"]
        assert summed(samples, "vllm:spec_decode_num_drafts_total") > 0
        chunks = await client.stream("/v1/chat/completions", chat(n=3, temperature=1, seed=5))
        for choice in body["choices"]:
            pieces = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
            assert "".join(piece["delta"].get("content", "") for piece in pieces) == choice["message"]["content"]

    on_server(check)


def test_every_speculative_series_exists_at_zero_from_the_start():
    async def check(client: Client):
        samples = await client.samples()
        label = frozenset({("engine", "0"), ("model_name", "specdec-mini")})
        for name in ("drafts", "draft_tokens", "accepted_tokens"):
            assert samples[f"vllm:spec_decode_num_{name}_total"] == {label: 0.0}
            assert samples[f"vllm:spec_decode_num_{name}_created"][label] > 1.6e9
        per_position = samples["vllm:spec_decode_num_accepted_tokens_per_pos_total"]
        assert per_position == {label | {("position", str(i))}: 0.0 for i in range(5)}
        reasons = {dict(key)["finished_reason"] for key in samples["vllm:request_success_total"]}
        assert reasons == {"stop", "length", "abort", "error", "repetition"}
        assert "process_start_time_seconds" in samples

    on_server(check, draft_length=5)


def test_metrics_have_vllms_media_type_and_identities_hold():
    async def check(client: Client):
        async with client.session.get(client.url + "/metrics") as response:
            assert response.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
        for seed in range(6):
            await client.post("/v1/chat/completions", chat(temperature=0.7, seed=seed, max_tokens=17))
        samples = await client.samples()
        accepted = summed(samples, "vllm:spec_decode_num_accepted_tokens_total")
        assert summed(samples, "vllm:spec_decode_num_accepted_tokens_per_pos_total") == accepted
        first = summed(samples, "vllm:time_to_first_token_seconds_count")
        steps = summed(samples, "vllm:inter_token_latency_seconds_count")
        totals = client.service.engines[0].ledger.totals
        generated = summed(samples, "vllm:generation_tokens_total")
        assert generated == first + steps + accepted - totals.overshoot_tokens
        assert summed(samples, "vllm:request_success_total") == 6
        assert summed(samples, "vllm:e2e_request_latency_seconds_count") == 6

    on_server(check)


def test_without_speculation_there_is_no_speculative_series():
    async def check(client: Client):
        await client.post("/v1/chat/completions", chat())
        samples = await client.samples()
        assert not [name for name in samples if "spec_decode" in name]
        assert summed(samples, "vllm:generation_tokens_total") > 0

    on_server(check, method="none")


def test_disabling_log_stats_leaves_no_engine_series_but_per_request_statistics():
    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat())
        assert body["metrics"]["speculative_decoding"]["num_spec_steps"] > 0
        samples = await client.samples()
        assert not [name for name in samples if name.startswith("vllm:")]
        assert "process_start_time_seconds" in samples

    on_server(check, disable_log_stats=True)


def test_engines_of_a_data_parallel_server_are_labelled_and_take_turns():
    async def check(client: Client):
        for _ in range(6):
            await client.post("/v1/chat/completions", chat())
        samples = await client.samples()
        for engine in ("0", "1", "2"):
            assert summed(samples, "vllm:request_success_total", engine=engine) == 2
            totals = client.service.engines[int(engine)].ledger.totals
            assert summed(samples, "vllm:spec_decode_num_drafts_total", engine=engine) == totals.drafted_steps > 0
        assert not [name for name in samples if name.endswith("_created") or name.startswith(("process_", "python_"))]

    on_server(check, data_parallel_size=3)


def test_ngram_steps_without_a_match_are_in_no_speculative_counter():
    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat(temperature=1, seed=1, max_tokens=40, ignore_eos=True))
        _, ledger = await client.get("/ledger")
        (record,) = ledger["requests"]
        drafted = [count for count in record["drafted"] if count]
        assert 0 < len(drafted) < len(record["drafted"]), "the case needs steps of both kinds"
        assert body["metrics"]["speculative_decoding"]["per_step_drafted"] == drafted
        samples = await client.samples()
        assert summed(samples, "vllm:spec_decode_num_drafts_total") == len(drafted)
        assert summed(samples, "vllm:inter_token_latency_seconds_count") == len(record["drafted"])

    on_server(check, method="ngram", prompt_lookup_min=1)


def test_the_server_says_what_it_is():
    async def check(client: Client):
        status, version = await client.get("/version")
        assert status == 200
        assert version["version"].startswith("0.33")
        _, models = await client.get("/v1/models")
        assert models["data"][0]["id"] == "specdec-mini"
        assert models["data"][0]["owned_by"] == "vllm"
        assert models["data"][0]["max_model_len"] == client.service.models.context
        assert (await client.get("/server_info"))[0] == 404
        assert (await client.get("/health"))[0] == 200

    on_server(check)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "not valid JSON"),
        ('{"model": "specdec-mini"}', 400, "messages"),
        ('{"messages": 3}', 400, "messages"),
        ('{"messages": []}', 400, "messages is empty"),
        (json.dumps(chat(temperature=-1)), 400, "temperature is -1"),
        (json.dumps(chat(top_p=0)), 400, "top_p is 0"),
        (json.dumps(chat(max_tokens=0)), 400, "max_tokens is 0"),
        (json.dumps(chat(n=0)), 400, "n is 0"),
        (json.dumps(chat(top_logprobs=2)), 400, "top_logprobs needs logprobs"),
        (json.dumps(chat(logprobs=True, top_logprobs=21)), 400, "0 to 20"),
        (json.dumps(chat(tools=[{}])), 400, "tools is not supported"),
        (json.dumps(chat(response_format={"type": "json_object"})), 400, "response_format is not supported"),
        (json.dumps(chat(frequency_penalty=0.5)), 400, "frequency_penalty is not supported"),
        (json.dumps({**chat(), "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), 400, "text only"),
        (json.dumps(chat(model="other")), 404, "`other` does not exist"),
    ],
)
def test_a_bad_request_gets_an_error_that_names_the_cause(body, status, words):
    async def check(client: Client):
        async with client.session.post(client.url + "/v1/chat/completions", data=body) as response:
            answer = await response.json()
            assert response.status == status
        assert words in answer["error"]["message"]
        assert answer["error"]["code"] == status
        assert client.service.engines[0].ledger.totals.requests == 0

    on_server(check)


def test_neutral_and_unknown_fields_are_no_error():
    async def check(client: Client):
        neutral = {
            "frequency_penalty": 0.0,
            "presence_penalty": 0,
            "repetition_penalty": 1.0,
            "logprobs": None,
            "tools": None,
            "top_k": -1,
            "min_p": 0.0,
            "response_format": {"type": "text"},
            "return_spec_tokens_details": True,
            "something_new": [1],
        }
        status, body = await client.post("/v1/chat/completions", chat(**neutral))
        assert status == 200
        assert "sglext" not in body

    on_server(check)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [([5, 6, 7], 3), ("ab", None), ([], 400), ([5, "x"], 400), (["a", "b"], 400), ([99999], 400)],
)
def test_a_completion_prompt_is_text_or_token_ids(prompt, expected):
    async def check(client: Client):
        status, body = await client.post("/v1/completions", {"prompt": prompt, "max_tokens": 3})
        if expected == 400:
            assert status == 400
            return
        assert status == 200
        assert body["object"] == "text_completion"
        assert body["usage"]["completion_tokens"] <= 3
        if expected is not None:
            assert body["usage"]["prompt_tokens"] == expected

    on_server(check)


def test_unknown_paths_and_methods_answer_as_fastapi_does():
    async def check(client: Client):
        assert await client.get("/nothing") == (404, {"detail": "Not Found"})
        assert await client.get("/v1/chat/completions") == (405, {"detail": "Method Not Allowed"})

    on_server(check)


def test_the_api_key_guards_v1_and_metrics_only_when_asked():
    async def check(client: Client, protected: bool):
        right = {"headers": {"Authorization": "Bearer s3cret"}}
        wrong = {"headers": {"Authorization": "Bearer s3cre"}}
        status, body = await client.post("/v1/chat/completions", chat())
        assert status == 401
        assert "s3cret" not in json.dumps(body)
        assert (await client.post("/v1/chat/completions", chat(), **wrong))[0] == 401
        assert (await client.post("/v1/chat/completions", chat(), **right))[0] == 200
        assert (await client.get("/v1/models"))[0] == 401
        assert (await client.get("/health"))[0] == 200
        assert (await client.get("/metrics"))[0] == (401 if protected else 200)
        assert (await client.get("/metrics", **right))[0] == 200

    on_server(lambda client: check(client, False), api_key="s3cret")
    on_server(lambda client: check(client, True), api_key="s3cret", protect_metrics=True)


def test_a_prompt_that_was_cut_is_flagged_and_counted():
    async def check(client: Client):
        long = chat("word " * 3000, max_tokens=4)
        _, body = await client.post("/v1/chat/completions", long)
        context = client.service.models.context
        assert body["usage"]["prompt_tokens"] == context - 16
        assert body["truncated_prompt_tokens"] > 0
        last = (await client.stream("/v1/chat/completions", {**long, "stream_options": {"include_usage": True}}))[-1]
        assert last["truncated_prompt_tokens"] == body["truncated_prompt_tokens"]
        assert sum(engine.truncated_prompts for engine in client.service.engines) == 2
        assert "truncated_prompt_tokens" not in (await client.post("/v1/chat/completions", chat()))[1]

    on_server(check)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_aborts_its_request_and_is_counted(stream):
    async def check(client: Client):
        body = chat(max_tokens=100_000, ignore_eos=True, stream=stream, temperature=1)
        sending = asyncio.create_task(client.session.post(client.url + "/v1/chat/completions", json=body))
        while not client.service.engines[0].num_running:
            await asyncio.sleep(0.001)
        if stream:
            response = await sending
            await response.content.readline()
            response.close()
        else:
            sending.cancel()
        for _ in range(500):
            if not client.service.engines[0].busy:
                break
            await asyncio.sleep(0.01)
        totals = client.service.engines[0].ledger.totals
        assert (totals.requests, totals.finished, totals.aborted) == (1, 0, 1)
        samples = await client.samples()
        assert summed(samples, "vllm:request_success_total", finished_reason="abort") == 1
        assert summed(samples, "vllm:request_success_total") == 1
        assert summed(samples, "vllm:spec_decode_num_drafts_total") == totals.drafted_steps
        assert (await client.post("/v1/chat/completions", chat()))[0] == 200

    on_server(check)


def test_running_and_waiting_requests_are_gauges():
    async def check(client: Client):
        body = chat(max_tokens=300, ignore_eos=True)
        tasks = [asyncio.create_task(client.post("/v1/chat/completions", body)) for _ in range(5)]
        while client.service.engines[0].num_waiting < 3:
            await asyncio.sleep(0.001)
        samples = await client.samples()
        assert summed(samples, "vllm:num_requests_running") == 2
        assert summed(samples, "vllm:num_requests_waiting") == 3
        await asyncio.gather(*tasks)
        samples = await client.samples()
        assert summed(samples, "vllm:num_requests_running") == summed(samples, "vllm:num_requests_waiting") == 0

    on_server(check, max_num_seqs=2)


def test_an_engine_that_breaks_down_answers_500_and_reports_ill_health():
    async def check(client: Client):
        def broken():
            raise RuntimeError("broken on purpose")

        client.service.engines[0].step = broken
        assert (await client.post("/v1/chat/completions", chat()))[0] == 500
        assert (await client.post("/v1/chat/completions", chat()))[0] == 500
        assert (await client.get("/health"))[0] == 503

    on_server(check)


def test_recorded_answers_of_a_real_server_have_no_statistics_that_ours_lack():
    """Keys of `metrics.speculative_decoding` as vLLM 0.32.0 sent them."""
    recorded = {
        "mean_acceptance_length": "float",
        "draft_acceptance_rate": "float",
        "acceptance_histogram": "list",
        "num_spec_steps": "int",
        "num_accepted_draft_tokens": "int",
        "num_draft_tokens": "int",
        "num_spec_tokens": "int",
        "per_step_accepted": "list",
        "per_step_drafted": "list",
    }

    async def check(client: Client):
        _, body = await client.post("/v1/chat/completions", chat())
        assert shape_of(body["metrics"]["speculative_decoding"]) == recorded

    on_server(check)


def test_a_conversation_is_rendered_by_the_models_own_template(tmp_path):
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}{% if tail is defined %}{{ tail }}{% endif %}"
    )
    write_pair(tmp_path / "pair", chat_template=template)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]

    async def check(client: Client):
        async def prompt_of(body: dict) -> int:
            status, answer = await client.post("/v1/chat/completions", {**chat(), **body})
            assert status == 200
            return answer["usage"]["prompt_tokens"]

        tokenizer = client.service.models.tokenizer
        rendered = "<|bos|>[system]s[user]ab[assistant]"
        assert await prompt_of({"messages": messages}) == len(tokenizer.encode(rendered))
        more = {"messages": messages, "chat_template_kwargs": {"tail": "xyz"}}
        assert await prompt_of(more) == len(tokenizer.encode(rendered + "xyz"))

    on_server(check, model_dir=str(tmp_path / "pair"))
