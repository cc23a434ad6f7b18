"""Log-probabilities: what the engine says, against the model read afresh, and both servers' forms of them."""

import asyncio
import math
import re

import numpy as np
import pytest
from embedded_helpers import GREEDY, engine, run
from embedded_http import chat, serving

from nemo_skills_specdec.embedded.llama import KeyValueCache
from nemo_skills_specdec.embedded.logprobs import EmittedLogprob, sampled_first, token_logprobs
from nemo_skills_specdec.embedded.sampling import SamplingParams
from nemo_skills_specdec.embedded.sequence import StopCriteria

PROMPTS = [[0, 5, 17], [0, 200, 201, 202, 203], [0, 9, 9, 9]]
SAMPLED = SamplingParams(temperature=0.7, top_p=0.9)


def exact(models, tokens: list[int], temperature: float) -> np.ndarray:
    """Log-probabilities of all tokens in every place, in float64."""
    cache = KeyValueCache(models.target.config, slots=1, capacity=len(tokens))
    logits = models.target.logits(models.target.forward(cache, np.array([tokens]), np.array([0])))
    scaled = logits.astype(np.float64) / temperature
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    ("options", "scaled"),
    [
        ({"dialect": "vllm"}, False),
        ({"dialect": "vllm", "method": "ngram"}, False),
        ({"dialect": "sglang"}, True),
        ({"dialect": "sglang", "draft_tree": "2x2x1"}, True),
    ],
    ids=["vllm", "ngram", "sglang", "tree"],
)
def test_log_probabilities_are_the_targets_own_whatever_was_drafted(models, params, options, scaled):
    running = engine(models, **options)
    sequences = [
        running.submit(f"r{i}", prompt, params, StopCriteria(12, ignore_eos=True), seed=i, top_logprobs=3)
        for i, prompt in enumerate(PROMPTS)
    ]
    run(running)
    temperature = params.temperature if scaled and not params.greedy else 1.0
    for sequence in sequences:
        expected = exact(models, sequence.tokens, temperature)[sequence.prompt_length - 1 : -1]
        text = sequence.tokens[sequence.prompt_length :]
        assert [item.token for item in sequence.logprobs] == text
        told = [item.logprob for item in sequence.logprobs]
        np.testing.assert_allclose(told, expected[np.arange(len(text)), text], atol=1e-4)
        for item, row in zip(sequence.logprobs, expected, strict=True):
            np.testing.assert_allclose([value for _, value in item.top], np.sort(row)[:-4:-1], atol=1e-4)


def test_a_request_that_asks_for_none_gets_none(models):
    running = engine(models)
    sequence = running.submit("r", PROMPTS[0], GREEDY, StopCriteria(5))
    run(running)
    assert sequence.logprobs == []


def test_temperature_sharpens_and_probabilities_sum_to_one():
    logits = np.log(np.array([[0.5, 0.25, 0.25]], np.float32))
    (plain,) = token_logprobs(logits, [1], 3, temperature=1.0)
    assert [math.exp(value) for _, value in plain.top] == pytest.approx([0.5, 0.25, 0.25])
    (sharp,) = token_logprobs(logits, [1], 1, temperature=0.5)
    assert math.exp(sharp.logprob) == pytest.approx(0.0625 / 0.375)
    assert sharp.top[0][0] == 0


def test_vllms_list_begins_with_the_token_itself():
    assert sampled_first(EmittedLogprob(7, -2.0, [(3, -0.1), (7, -2.0)])) == [(7, -2.0), (3, -0.1)]
    assert sampled_first(EmittedLogprob(7, -5.0, [(3, -0.1)])) == [(7, -5.0), (3, -0.1)]


def on_server(check, **options):
    async def go() -> None:
        async with serving(**options) as client:
            await check(client)

    asyncio.run(go())


def joined(chunks: list[dict], key: str) -> list:
    parts = [choice["logprobs"][key] for chunk in chunks for choice in chunk["choices"] if choice.get("logprobs")]
    return [item for part in parts for item in part]


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_a_chat_tells_every_token_with_its_bytes_streamed_or_not(dialect):
    async def check(client):
        body = chat(logprobs=True, top_logprobs=2)
        _, whole = await client.post("/v1/chat/completions", body)
        content = whole["choices"][0]["logprobs"]["content"]
        assert len(content) == whole["usage"]["completion_tokens"]
        text = bytes(byte for item in content for byte in item["bytes"]).decode()
        # Special tokens are named among the tokens, and are not part of the text.
        assert re.sub(r"<\|\w+\|>", "", text) == whole["choices"][0]["message"]["content"]
        for item in content:
            # The text is greedy, so its tokens are the likeliest ones.
            assert len(item["top_logprobs"]) == 2
            assert item["top_logprobs"][0] == {key: item[key] for key in ("token", "logprob", "bytes")}
        streamed = joined(await client.stream("/v1/chat/completions", body), "content")
        assert [item["token"] for item in streamed] == [item["token"] for item in content]
        told = [item["logprob"] for item in streamed]
        assert told == pytest.approx([item["logprob"] for item in content], abs=1e-4)
        _, none = await client.post("/v1/chat/completions", chat())
        assert none["choices"][0]["logprobs"] is None
        _, alone = await client.post("/v1/chat/completions", chat(logprobs=True))
        assert alone["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []

    on_server(check, dialect=dialect)


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_a_completion_tells_lists_and_vllm_the_places_in_the_text(dialect):
    async def check(client):
        body = {"prompt": "def get", "max_tokens": 12, "temperature": 0, "ignore_eos": True, "logprobs": 2}
        _, whole = await client.post("/v1/completions", body)
        told = whole["choices"][0]["logprobs"]
        assert "".join(told["tokens"]) == whole["choices"][0]["text"]
        assert all(len(top) == 2 for top in told["top_logprobs"])
        assert told["token_logprobs"] == [max(top.values()) for top in told["top_logprobs"]]
        starts = [sum(map(len, told["tokens"][:place])) for place in range(12)]
        assert told["text_offset"] == (starts if dialect == "vllm" else [-1] * 12)
        chunks = await client.stream("/v1/completions", body)
        for key in ("tokens", "text_offset"):
            assert joined(chunks, key) == told[key]
        _, sampled = await client.post("/v1/completions", {**body, "logprobs": 0})
        top = sampled["choices"][0]["logprobs"]["top_logprobs"]
        assert [len(item) for item in top] == ([1] * 12 if dialect == "vllm" else [])

    on_server(check, dialect=dialect)


def test_the_caches_that_are_not_there_are_emptied_as_the_servers_say_it():
    async def vllm(client):
        assert await client.post("/reset_prefix_cache", {}) == (200, "")
        assert (await client.post("/flush_cache", {}))[0] == 404

    async def sglang(client):
        assert await client.post("/flush_cache", {}) == (200, "Cache flushed.\n")
        assert (await client.post("/reset_prefix_cache", {}))[0] == 404

    on_server(vllm, dialect="vllm")
    on_server(sglang, dialect="sglang")
