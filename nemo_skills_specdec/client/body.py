"""Request bodies as bytes, ready before the window opens; a later turn only splices in the model's own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.records import Message, PromptRow, turn_ends

_PROMPT_KEYS = {"chat": "messages", "completions": "prompt"}


class BodyWriter(msgspec.Struct, frozen=True, kw_only=True):
    """What all bodies of a run have in common.

    Attributes:
        separator: what joins two messages.
    """

    api: Literal["chat", "completions"]
    head: bytes
    tail: bytes
    separator: bytes


def body_writer(request: RequestOptions) -> BodyWriter:
    """Serialises everything that does not depend on the prompt.

    Raises:
        UsageError: the options cannot be sent.
    """
    head, tail = _frame(request)
    return BodyWriter(api=request.api, head=head, tail=tail, separator=b"," if request.api == "chat" else b"\\n")


def encode_turns(writer: BodyWriter, row: PromptRow) -> tuple[bytes, ...]:
    """For each generated turn of a prompt, the serialised messages between the answer before it and its own.

    Chat: every message is sent as it is. Completions: there is no chat template, so the prompt is the contents of all
    messages, answers included and roles left out, joined with newlines; a single user message is sent as it is.
    Token ids are sent as they are.

    Raises:
        UsageError: the prompt has no turn, or holds text that is not valid Unicode, or token ids that the chat API
            cannot take.
    """
    if any(message.token_ids for message in row.messages):
        return (_token_ids(writer, row),)
    turns: list[bytes] = []
    pending: list[bytes] = []
    ends = set(turn_ends(row.messages))
    # Only a text stands in quotes; token ids do not.
    opening = b'"' if writer.api == "completions" else b""
    try:
        for position, message in enumerate(row.messages):
            pending.append(_message(message, writer.api))
            if position in ends:
                turns.append(opening + writer.separator.join(pending))
                pending, opening = [], b""
    except UnicodeEncodeError as error:
        raise UsageError(f"prompt {row.question_id} holds text that is not valid Unicode ({error.reason})") from error
    if not turns:
        raise UsageError(f"prompt {row.question_id} has no user message to answer; remove it")
    return tuple(turns)


def count_turns(messages: Sequence[Message]) -> int:
    """How many requests the messages give."""
    return len(turn_ends(messages))


def encode_answer(writer: BodyWriter, generation: str) -> bytes:
    """The model's own answer, as it stands in the body of the next turn. Reasoning is never part of it.

    Empty where the model only reasoned: servers refuse empty messages, so there is none.
    """
    return b"" if not generation else _message(Message("assistant", generation), writer.api)


def turn_body(writer: BodyWriter, turns: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """The body of turn `len(answers)`: with the answers (from `encode_answer`) to the turns before it."""
    pieces = [turns[0]]
    for answer, turn in zip(answers, turns[1:], strict=False):
        pieces += (answer, turn) if answer else (turn,)
    closing = b'"' if turns[0].startswith(b'"') else b""
    return writer.head + writer.separator.join(pieces) + closing + writer.tail


def _token_ids(writer: BodyWriter, row: PromptRow) -> bytes:
    if writer.api == "chat" or len(row.messages) > 1:
        raise UsageError(
            f"prompt {row.question_id} is a list of token ids, which only the completions API takes, and alone; "
            "use --api completions"
        )
    return msgspec.json.encode(row.messages[0].token_ids)


def _message(message: Message, api: str) -> bytes:
    if api == "chat":
        return msgspec.json.encode(message)
    return msgspec.json.encode(message.content)[1:-1]


def _frame(request: RequestOptions) -> tuple[bytes, bytes]:
    """What stands before and after the messages."""
    key = _PROMPT_KEYS[request.api]
    if key in request.extra_body:
        raise UsageError(f"the extra body must not hold `{key}`: prompts come from the prompt set; remove it")
    if request.api == "completions" and request.chat_template_kwargs:
        raise UsageError("chat-template arguments need the chat API: completions apply no template; drop one of them")
    sampling = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
    }
    body: dict[str, Any] = {"model": request.model, "stream": request.stream}
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    body |= {name: value for name, value in sampling.items() if value is not None}
    if request.ignore_eos:
        body["ignore_eos"] = True
    if request.n != 1:
        body["n"] = request.n
    if request.logprobs is not None:
        # The completions API takes the number of alternatives where the chat API takes a switch.
        chat = {"logprobs": True, "top_logprobs": request.logprobs}
        body |= chat if request.api == "chat" else {"logprobs": request.logprobs}
    if request.chat_template_kwargs:
        body["chat_template_kwargs"] = request.chat_template_kwargs
    body = _merge(body, request.extra_body)
    if body.get("stream") is not True:
        # Servers refuse stream_options where nothing is streamed.
        body.pop("stream_options", None)
    try:
        rest = msgspec.json.encode(body)[1:-1]
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError(f"the request options cannot be written as JSON ({error})") from error
    if request.api == "chat":
        return b'{"messages":[', b"]," + rest + b"}"
    return b'{"prompt":', b"," + rest + b"}"


def _merge(base: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in above.items():
        below = merged.get(key)
        if value is None:
            # Some endpoints refuse a field that others need, so there must be a way to leave it out.
            merged.pop(key, None)
            continue
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
