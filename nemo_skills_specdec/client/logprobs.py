"""Log-probabilities of tokens as the chat and the completions API give them."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from nemo_skills_specdec.records import GeneratedToken
from nemo_skills_specdec.shown import encodable

_Pair = tuple[str, float]


class ChatAlternative(msgspec.Struct):
    """One token of the chat API; the token itself carries its alternatives."""

    token: str
    logprob: float
    top_logprobs: list[ChatAlternative] = []


class ChatLogprobs(msgspec.Struct):
    """`choice.logprobs` of the chat API."""

    content: list[ChatAlternative] | None = None


class CompletionLogprobs(msgspec.Struct):
    """`choice.logprobs` of the completions API."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


def token_logprobs(choice: dict[str, Any]) -> list[GeneratedToken]:
    """The tokens of a choice or of a chunk of it; nothing where it carries none, or none that can be read."""
    raw = choice.get("logprobs")
    if not isinstance(raw, dict):
        return []
    try:
        if "content" in raw:
            return [_chat_token(token) for token in msgspec.convert(raw, ChatLogprobs).content or []]
        told = msgspec.convert(raw, CompletionLogprobs)
    except msgspec.ValidationError:
        return []
    alternatives = told.top_logprobs or [None] * len(told.tokens)
    if not len(told.tokens) == len(told.token_logprobs) == len(alternatives):
        return []
    return [
        GeneratedToken(encodable(token), _finite(logprob), _best((top or {}).items()))
        for token, logprob, top in zip(told.tokens, told.token_logprobs, alternatives, strict=True)
        if logprob is not None
    ]


def _chat_token(token: ChatAlternative) -> GeneratedToken:
    best = _best((a.token, a.logprob) for a in token.top_logprobs)
    return GeneratedToken(encodable(token.token), _finite(token.logprob), best)


def _best(pairs: Any) -> tuple[_Pair, ...]:
    clean = [(encodable(token), _finite(logprob)) for token, logprob in pairs]
    return tuple(sorted(clean, key=lambda pair: -pair[1]))


def _finite(logprob: float) -> float:
    """JSON has no infinity; engines write this number for it."""
    return logprob if math.isfinite(logprob) else -9999.0
