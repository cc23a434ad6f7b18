"""Log-probabilities of the tokens of a text, and the two forms in which OpenAI's API gives them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from nemo_skills_specdec.embedded.tokenizer import Tokenizer
from nemo_skills_specdec.embedded.weights import Floats

MOST_TOP_LOGPROBS = 20
"""vLLM's `--max-logprobs`, as it is by default."""


class EmittedLogprob(msgspec.Struct, frozen=True):
    """One token of a text.

    Attributes:
        logprob: natural logarithm of its probability under the target model.
        top: the most likely tokens in its place with theirs, best first.
    """

    token: int
    logprob: float
    top: list[tuple[int, float]]


def token_logprobs(logits: Floats, tokens: Sequence[int], count: int, *, temperature: float) -> list[EmittedLogprob]:
    """Log-probabilities of emitted tokens.

    Args:
        logits: (tokens, vocabulary), the target's in the place of each token.
        count: most likely tokens to give for each.
        temperature: what the logits are divided by; neither top-k nor top-p counts.
    """
    found = []
    for row, token in zip(logits, tokens, strict=True):
        scaled = row.astype(np.float64) / temperature
        largest = scaled.max()
        scaled -= largest + math.log(np.exp(scaled - largest).sum())
        best = np.argsort(-scaled, kind="stable")[:count].tolist()
        found.append(EmittedLogprob(token, float(scaled[token]), [(item, float(scaled[item])) for item in best]))
    return found


def sampled_first(item: EmittedLogprob) -> list[tuple[int, float]]:
    """vLLM's list: the token itself, then the most likely ones that it is not."""
    return [(item.token, item.logprob), *(pair for pair in item.top if pair[0] != item.token)]


def chat_logprobs(
    items: Iterable[tuple[EmittedLogprob, Sequence[tuple[int, float]]]], tokenizer: Tokenizer
) -> dict[str, Any]:
    """The `logprobs` of a chat's choice.

    Args:
        items: the tokens, and what to list as `top_logprobs` of each.
    """

    def entry(token: int, logprob: float) -> dict[str, Any]:
        text = tokenizer.token_text(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            {**entry(item.token, item.logprob), "top_logprobs": [entry(*pair) for pair in top]} for item, top in items
        ]
    }


def completion_logprobs(
    items: Sequence[tuple[EmittedLogprob, Sequence[tuple[int, float]]]],
    tokenizer: Tokenizer,
    *,
    offsets: Sequence[int],
) -> dict[str, Any]:
    """The `logprobs` of a completion's choice; arguments as for `chat_logprobs`, and the tokens' places in the text."""
    top: list[dict[str, float]] = []
    for _, pairs in items:
        named: dict[str, float] = {}
        for token, logprob in pairs:
            # Pieces of one character look alike; the first is the likeliest.
            named.setdefault(tokenizer.token_text(token), logprob)
        top.append(named)
    return {
        "text_offset": list(offsets),
        "token_logprobs": [item.logprob for item, _ in items],
        "tokens": [tokenizer.token_text(item.token) for item, _ in items],
        "top_logprobs": top,
    }
