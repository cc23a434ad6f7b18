"""A thousand requests at concurrency 32: what responses say, what `/metrics` counts and the ledger agree exactly."""

import asyncio
import glob
import json
from pathlib import Path

import aiohttp
import pytest
from embedded_http import Client, parse, summed

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram, total
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions

REQUESTS, CONCURRENCY, DRAFT_LENGTH = 1000, 32, 3
PROMPTS = [
    "def get(self, key):",
    "It was a truth that",
    "import os\nimport os\n",
    "And he said unto them,",
    "a b a b a b a",
]


def body(number: int) -> dict:
    """Varied requests: greedy and sampled, short and not so short, stop strings, streamed and not."""
    settings = {
        "messages": [{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}],
        "max_tokens": 1 + number * 7 % 16,
        "temperature": 0 if number % 2 else 0.8,
        "top_p": 1.0 if number % 3 else 0.9,
        "seed": number,
        "ignore_eos": number % 5 != 0,
        "return_spec_tokens_details": True,
    }
    if number % 7 == 0:
        settings["stop"] = ["e"]
    if number % 4 == 0:
        settings["stream_options"] = {"include_usage": True}
    return settings


async def ask(client: Client, number: int) -> dict:
    """One response; a streamed one is folded into the form of the other."""
    if number % 4:
        status, answer = await client.post("/v1/chat/completions", body(number))
        assert status == 200, answer
        return answer
    chunks = await client.stream("/v1/chat/completions", body(number))
    folded = {"id": chunks[0]["id"]}
    for chunk in chunks:
        folded |= {key: chunk[key] for key in ("usage", "metrics", "sglext") if chunk.get(key)}
    return folded


async def drive(url: str, requests: int) -> tuple[list[dict], dict, dict]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        client = Client(session, url, None)
        numbers = iter(range(requests))
        answers: list[dict] = []

        async def worker() -> None:
            for number in numbers:
                answers.append(await ask(client, number))

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        _, text = await client.get("/metrics")
        _, ledger = await client.get("/ledger")
    return answers, parse(text), ledger


def load(requests: int = REQUESTS, **options: object) -> tuple[list[dict], dict, dict]:
    with start(EmbeddedOptions(draft_length=DRAFT_LENGTH, **options)) as server:
        return asyncio.run(drive(server.base_url, requests))


def of_ledger(ledger: dict) -> dict[str, int]:
    """Totals of all engines."""
    totals: dict[str, int] = {}
    for engine in ledger["engines"]:
        for name, value in engine["totals"].items():
            if isinstance(value, int):
                totals[name] = totals.get(name, 0) + value
    return totals


def of_ledger_steps(ledger: dict) -> AcceptanceCounts:
    """D, T, A, A_i counted again from the single steps."""
    steps = [
        (d, a) for request in ledger["requests"] for d, a in zip(request["drafted"], request["accepted"], strict=True)
    ]
    return AcceptanceCounts(
        num_drafts=sum(1 for d, _ in steps if d),
        num_draft_tokens=sum(d for d, _ in steps),
        num_accepted_tokens=sum(a for _, a in steps),
        accepted_per_position=tuple(sum(a > i for _, a in steps) for i in range(DRAFT_LENGTH)),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"method": "draft_model"},
        {"method": "ngram", "requests": 300},
        {"method": "draft_model", "data_parallel_size": 2, "requests": 300},
    ],
    ids=["draft model", "ngram", "two engines"],
)
def test_vllm_responses_counters_and_ledger_agree_integer_for_integer(options):
    requests = options.get("requests", REQUESTS)
    answers, samples, ledger = load(dialect="vllm", **options)
    assert len(answers) == requests
    stats = [answer["metrics"]["speculative_decoding"] for answer in answers]
    from_responses = total(
        counts_from_histogram(
            item["acceptance_histogram"], num_draft_tokens=item["num_draft_tokens"], draft_length=DRAFT_LENGTH
        )
        for item in stats
    )
    assert sum(item["num_spec_steps"] for item in stats) == from_responses.num_drafts
    assert sum(item["num_accepted_draft_tokens"] for item in stats) == from_responses.num_accepted_tokens
    prefix = "vllm:spec_decode_num_"
    from_counters = AcceptanceCounts(
        num_drafts=int(summed(samples, prefix + "drafts_total")),
        num_draft_tokens=int(summed(samples, prefix + "draft_tokens_total")),
        num_accepted_tokens=int(summed(samples, prefix + "accepted_tokens_total")),
        accepted_per_position=tuple(
            int(summed(samples, prefix + "accepted_tokens_per_pos_total", position=str(position)))
            for position in range(DRAFT_LENGTH)
        ),
    )
    from_ledger = of_ledger_steps(ledger)
    assert from_responses == from_counters == from_ledger
    assert from_ledger.num_accepted_tokens > requests / 4, "the case must accept drafts"

    totals = of_ledger(ledger)
    completion = sum(answer["usage"]["completion_tokens"] for answer in answers)
    prompt = sum(answer["usage"]["prompt_tokens"] for answer in answers)
    first = summed(samples, "vllm:time_to_first_token_seconds_count")
    steps = summed(samples, "vllm:inter_token_latency_seconds_count")
    assert summed(samples, "vllm:generation_tokens_total") == completion == totals["generated_tokens"]
    assert summed(samples, "vllm:prompt_tokens_total") == prompt == totals["prompt_tokens"]
    assert (first, steps) == (requests, totals["decode_steps"])
    assert completion == first + steps + from_counters.num_accepted_tokens - totals["overshoot_tokens"]
    assert summed(samples, "vllm:request_success_total") == requests
    reasons = {
        reason: summed(samples, "vllm:request_success_total", finished_reason=reason) for reason in ("stop", "length")
    }
    for reason, count in reasons.items():
        assert count == sum(request["finish_reason"] == reason for request in ledger["requests"]) > 0
    by_name = {request["request_id"]: request for request in ledger["requests"]}
    for answer, item in zip(answers, stats, strict=True):
        record = by_name[answer["id"]]
        drafted = [count for count in record["drafted"] if count]
        assert item["per_step_drafted"] == drafted
        assert record["generated"] == answer["usage"]["completion_tokens"]
    for engine in ledger["engines"]:
        label = str(engine["engine"])
        assert summed(samples, prefix + "drafts_total", engine=label) == engine["totals"]["drafted_steps"]
        assert summed(samples, "vllm:generation_tokens_total", engine=label) == engine["totals"]["generated_tokens"]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "draft_model"},
        {"method": "ngram", "requests": 300},
        {"method": "draft_model", "data_parallel_size": 2, "requests": 300},
    ],
    ids=["draft model", "ngram", "two engines"],
)
def test_sglang_responses_files_counters_and_ledger_agree_integer_for_integer(options, tmp_path):
    requests = options.get("requests", REQUESTS)
    answers, samples, ledger = load(dialect="sglang", export_metrics_dir=str(tmp_path), **options)
    details = [answer["sglext"]["spec_tokens_details"] for answer in answers if "sglext" in answer]
    assert len(answers) == requests

    def summed_up(items: list[dict]) -> AcceptanceCounts:
        assert all(item["spec_num_proposed_drafts"] == item["spec_verify_ct"] * DRAFT_LENGTH for item in items)
        assert all(sum(item["spec_correct_drafts_histogram"]) == item["spec_verify_ct"] for item in items)
        return total(
            counts_from_histogram(
                item["spec_correct_drafts_histogram"],
                num_draft_tokens=item["spec_num_proposed_drafts"],
                draft_length=DRAFT_LENGTH,
            )
            for item in items
        )

    from_responses = summed_up(details)
    records = [
        json.loads(line) for file in glob.glob(f"{tmp_path}/*.log") for line in Path(file).read_text().splitlines()
    ]
    assert len(records) == requests
    assert {record["id"] for record in records} == {answer["id"] for answer in answers}
    from_files = summed_up([record for record in records if "spec_verify_ct" in record])
    totals = of_ledger(ledger)
    # Every decode step of a speculative SGLang is a verify call with K - 1 proposed tokens.
    from_ledger = AcceptanceCounts(
        num_drafts=totals["decode_steps"],
        num_draft_tokens=totals["decode_steps"] * DRAFT_LENGTH,
        num_accepted_tokens=of_ledger_steps(ledger).num_accepted_tokens,
        accepted_per_position=of_ledger_steps(ledger).accepted_per_position,
    )
    assert from_responses == from_files == from_ledger
    assert from_ledger.num_accepted_tokens > requests / 4, "the case must accept drafts"

    verify = summed(samples, "sglang:spec_verify_calls_total")
    decoded = summed(samples, "sglang:realtime_tokens_total", mode="decode")
    generated = summed(samples, "sglang:generation_tokens_total")
    finished = summed(samples, "sglang:num_requests_total")
    assert verify == from_ledger.num_drafts
    assert decoded / verify == pytest.approx(from_ledger.acceptance_length, abs=1e-12)
    assert decoded == from_ledger.num_drafts + from_ledger.num_accepted_tokens
    completion = sum(answer["usage"]["completion_tokens"] for answer in answers)
    assert generated == completion == totals["generated_tokens"]
    assert generated - finished == decoded - totals["overshoot_tokens"]
    assert finished == requests
    assert summed(samples, "sglang:num_requests_total", is_streaming="true") == len(range(0, requests, 4))
    prompt = sum(answer["usage"]["prompt_tokens"] for answer in answers)
    assert summed(samples, "sglang:prompt_tokens_total") == prompt
    assert summed(samples, "sglang:realtime_tokens_total", mode="prefill_compute") == prompt
