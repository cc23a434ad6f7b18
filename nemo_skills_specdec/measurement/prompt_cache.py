"""How much of the prompts the server did not compute, because it had seen them before: TTFT rests on that.

Pure, from records and the reading of their window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.records import Finding, RequestRecord

LARGE_SHARE = 0.2
"""Share of the prompts' tokens from which on TTFT is another than that of new prompts."""
BEYOND_A_TEMPLATE = 32
"""Tokens a prompt: as many may be what all prompts of a chat template begin with, at no gain to speak of."""


class PromptCache(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of prompts that were in the server's prefix cache.

    Attributes:
        source: `response`, the usage of each answer; or `counters`.
        fraction: cached_tokens / prompt_tokens.
    """

    source: Literal["response", "counters"]
    cached_tokens: int
    prompt_tokens: int
    fraction: float


def prompt_cache_of(records: Sequence[RequestRecord], reading: CounterReading | None) -> PromptCache | None:
    """From the answers where any of them tells, else from the counters; None where neither does.

    Servers that tell leave the field out of an answer without a cached token, so others have none.
    """
    answered = [record for record in records if record.error is None]
    told = [record.cached_prompt_tokens for record in answered if record.cached_prompt_tokens is not None]
    prompts = [record.prompt_tokens for record in answered if record.prompt_tokens is not None]
    if told and len(prompts) == len(answered):
        return _cache("response", sum(told), sum(prompts))
    traffic = reading.traffic if reading is not None else None
    if traffic is None or traffic.cached_prompt_tokens is None or traffic.prompt_tokens is None:
        return None
    return _cache("counters", traffic.cached_prompt_tokens, traffic.prompt_tokens)


def _cache(source: Literal["response", "counters"], cached: int, prompts: int) -> PromptCache | None:
    if not 0 < prompts >= cached:
        return None
    return PromptCache(source=source, cached_tokens=cached, prompt_tokens=prompts, fraction=cached / prompts)


def check_prompt_cache(records: Sequence[RequestRecord], cache: PromptCache | None) -> list[Finding]:
    """A finding where more was cached than the earlier turns of the same conversations explain."""
    if cache is None:
        return []
    own = own_turns(records)
    beyond = max(cache.cached_tokens - own, 0)
    first_turns = sum(record.turn == 0 for record in records if record.error is None)
    if beyond < LARGE_SHARE * cache.prompt_tokens or beyond < BEYOND_A_TEMPLATE * first_turns:
        return []
    turns = f", at most {own} of them earlier turns of the same conversation" if own else ""
    return [
        Finding(
            code="prompts_cached",
            severity="warning",
            message=f"{cache.cached_tokens} of {cache.prompt_tokens} prompt tokens ({100 * cache.fraction:.0f} %) came "
            f"from the server's prefix cache{turns}: TTFT is that of prompts the server had seen before; "
            "--fresh-cache empties the cache before the run.",
            numbers={"cached": cache.cached_tokens, "prompt_tokens": cache.prompt_tokens, "own_turns": own},
        )
    ]


def own_turns(records: Sequence[RequestRecord]) -> int:
    """The most tokens that later turns can have found in the cache because of the turns before them."""
    lengths = {
        (r.category, r.question_id, r.turn): (r.prompt_tokens or 0) + (r.completion_tokens or 0)
        for r in records
        if r.error is None
    }
    return sum(lengths.get((r.category, r.question_id, r.turn - 1), 0) for r in records if r.error is None and r.turn)
