"""Decodes an exchange after the window: text, usage, finish reason, and everything else the server said."""

from __future__ import annotations

from typing import Any

from nemo_skills_specdec.client.exchange import Answer, Exchange
from nemo_skills_specdec.client.faults import decode_object, error_object
from nemo_skills_specdec.client.logprobs import token_logprobs
from nemo_skills_specdec.shown import encodable

_MOST_TOKENS = 10**9
"""No answer has more; a larger number is none of tokens, and may not fit into a file."""


def read_answer(exchange: Exchange) -> Answer:
    """Decodes what came back; never raises: what cannot be read is said in `Answer.error`.

    A failed exchange is decoded as far as it goes, so the text that did arrive is kept. Of several choices (n > 1) the
    one with index 0 gives text and finish reason.
    """
    return _read_stream(exchange.frames) if exchange.streamed else _read_body(exchange.frames)


def _read_body(frames: list[bytes]) -> Answer:
    if not frames:
        return Answer()
    try:
        response = decode_object(frames[0])
    except ValueError as error:
        return Answer(error=f"the answer is not a JSON object ({error})")
    answer = Answer(response=response, error=error_object(response))
    for choice in _choices(response):
        if choice.get("index", 0) == 0:
            message = choice.get("message")
            fields = message if isinstance(message, dict) else choice
            answer.generation = _text(fields, "content") or _text(choice, "text")
            answer.reasoning = _reasoning(fields) or None
            answer.finish_reason = _optional_text(choice.get("finish_reason"))
            answer.logprobs = token_logprobs(choice) or None
            break
    return _with_totals(answer)


def _read_stream(frames: list[bytes]) -> Answer:
    answer = Answer()
    response = answer.response
    texts: list[str] = []
    thoughts: list[str] = []
    for number, frame in enumerate(frames):
        try:
            chunk = decode_object(frame)
        except ValueError as error:
            answer.error = answer.error or f"chunk {number} of the stream is not JSON ({error})"
            continue
        for key, value in chunk.items():
            # Null and the empty `choices` of statistics chunks say nothing, so they replace nothing.
            if (value is not None and not (key == "choices" and not value)) or key not in response:
                response[key] = value
        answer.error = answer.error or error_object(chunk)
        for choice in _choices(chunk):
            answer.last_content = number
            delta = choice.get("delta")
            fields = delta if isinstance(delta, dict) else choice
            text = _text(fields, "content") or _text(choice, "text")
            thought = _reasoning(fields)
            if answer.first_content is None and (text or thought or fields.get("tool_calls")):
                answer.first_content = number
            if choice.get("index", 0) == 0:
                texts.append(text)
                thoughts.append(thought)
                if choice.get("logprobs") is not None:
                    answer.logprobs = [*(answer.logprobs or []), *token_logprobs(choice)]
                answer.finish_reason = _optional_text(choice.get("finish_reason")) or answer.finish_reason
    answer.generation = _join(texts)
    answer.reasoning = _join(thoughts) or None
    return _with_totals(answer)


def _with_totals(answer: Answer) -> Answer:
    answer.response_id = _optional_text(answer.response.get("id"))
    usage = answer.response.get("usage")
    if isinstance(usage, dict):
        answer.prompt_tokens = _count(usage.get("prompt_tokens"))
        details = usage.get("prompt_tokens_details")
        answer.cached_prompt_tokens = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        answer.completion_tokens = _count(usage.get("completion_tokens"))
    return answer


def _choices(response: dict[str, Any]) -> list[dict[str, Any]]:
    choices = response.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _reasoning(fields: dict[str, Any]) -> str:
    # vLLM says `reasoning`, SGLang, llama.cpp and older vLLM say `reasoning_content`; a server may send both names.
    return _text(fields, "reasoning_content") or _text(fields, "reasoning")


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _optional_text(value: object) -> str | None:
    return encodable(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None


def _join(texts: list[str]) -> str:
    """One text; halves of a surrogate pair that came in two chunks become the character they stand for."""
    return encodable("".join(texts))
