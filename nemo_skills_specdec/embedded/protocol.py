"""What clients send: request bodies, read strictly, and turned into prompts and sampling settings."""

from typing import Any

import msgspec

from nemo_skills_specdec.embedded.options import Dialect
from nemo_skills_specdec.embedded.sampling import Shape
from nemo_skills_specdec.embedded.sequence import Ending
from nemo_skills_specdec.embedded.text import Vocabulary
from nemo_skills_specdec.errors import UsageError

UNLIMITED = 1 << 30
"""`max_tokens` of a request that names none; the engine lowers it to what the context holds."""


class ContentPart(msgspec.Struct):
    """One part of a message's content; only text is understood."""

    type: str
    text: str | None = None


class ChatMessage(msgspec.Struct):
    """One message of a conversation."""

    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(msgspec.Struct):
    """Wishes about the stream's last chunks."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class _Common(msgspec.Struct, kw_only=True):
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    response_format: dict[str, Any] | None = None
    rid: str | None = None
    return_spec_tokens_details: bool = False
    return_meta_info: bool = False


class ChatBody(_Common, kw_only=True):
    """Body of `POST /v1/chat/completions`; fields that are not listed are ignored, as the real servers do."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionBody(_Common, kw_only=True):
    """Body of `POST /v1/completions`."""

    prompt: str | list[int | str | list[int]]
    logprobs: int | None = None
    echo: bool | None = None


class NativeSampling(msgspec.Struct):
    """`sampling_params` of SGLang's native route."""

    max_new_tokens: int | None = 128
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    n: int | None = None
    sampling_seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None


class NativeBody(msgspec.Struct, kw_only=True):
    """Body of SGLang's `POST /generate`."""

    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    sampling_params: NativeSampling = msgspec.field(default_factory=NativeSampling)
    stream: bool = False
    rid: str | None = None
    return_logprob: bool = False


class Wanted(msgspec.Struct, frozen=True):
    """One request, understood.

    Attributes:
        prompts: one token list a prompt; only batched native requests have several.
        chat: whether the answer is a message.
        samples: texts for each prompt.
        request_id: the client's own name for the request, or None.
    """

    prompts: list[list[int]]
    chat: bool
    samples: int
    shape: Shape
    ending: Ending
    seed: int | None
    stream: bool
    include_usage: bool = False
    continuous_usage: bool = False
    request_id: str | None = None
    spec_tokens_details: bool = False
    meta_info: bool = False
    batched: bool = False


def understand_chat(body: ChatBody, vocabulary: Vocabulary, begin: int | None) -> Wanted:
    """Renders the conversation and reads the settings.

    Raises:
        UsageError: something is asked for that this engine does not do.
    """
    if not body.messages:
        raise UsageError("messages is empty; send at least one message")
    _refuse({"logprobs": body.logprobs, "tools": body.tools})
    messages = [{"role": message.role, "content": _content(message)} for message in body.messages]
    prompt = vocabulary.chat(messages, **(body.chat_template_kwargs or {}))
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    return _wanted(body, [_begun(vocabulary.encode(prompt), begin)], limit, chat=True)


def understand_completion(body: CompletionBody, vocabulary: Vocabulary, begin: int | None) -> Wanted:
    """Reads a prompt of text (a begin token is put before it) or of token ids (taken as they are).

    Raises:
        UsageError: something is asked for that this engine does not do.
    """
    _refuse({"logprobs": body.logprobs, "echo": body.echo})
    prompts = _prompts(body.prompt, vocabulary, begin)
    if len(prompts) != 1:
        raise UsageError(f"prompt holds {len(prompts)} prompts; send one prompt a request")
    limit = body.max_tokens if body.max_tokens is not None else 16
    return _wanted(body, prompts, limit, chat=False)


def understand_native(body: NativeBody, vocabulary: Vocabulary, begin: int | None) -> Wanted:
    """Reads SGLang's native form.

    Raises:
        UsageError: something is asked for that this engine does not do.
    """
    if (body.text is None) == (body.input_ids is None):
        raise UsageError("send either text or input_ids")
    _refuse({"return_logprob": body.return_logprob})
    settings = body.sampling_params
    _refuse_penalties(settings)
    content: str | list[str] | list[int | list[int]] = body.text if body.text is not None else body.input_ids or []
    prompts = _prompts(content, vocabulary, begin)
    batched = isinstance(content, list) and not isinstance(content[0], int)
    if body.stream and (batched or (settings.n or 1) > 1):
        raise UsageError("a streamed native request takes one prompt and one sample; send them one by one")
    return Wanted(
        prompts=prompts,
        chat=False,
        samples=_samples(settings.n),
        shape=_shape(settings.temperature, settings.top_p, settings.top_k, settings.min_p),
        ending=_ending(settings.max_new_tokens, settings.stop, settings.stop_token_ids, settings.ignore_eos),
        seed=_seed(settings.sampling_seed),
        stream=body.stream,
        request_id=body.rid,
        batched=batched,
    )


def check_dialect(wanted: Wanted, dialect: Dialect) -> None:
    """Refuses what the imitated server refuses.

    Raises:
        UsageError: the combination is not possible there.
    """
    if dialect == "sglang" and wanted.meta_info and wanted.stream:
        raise UsageError("return_meta_info is not supported with streaming")


def _wanted(body: _Common, prompts: list[list[int]], limit: int | None, *, chat: bool) -> Wanted:
    _refuse_penalties(body)
    kind = (body.response_format or {}).get("type", "text")
    _refuse({"logit_bias": body.logit_bias, "response_format": kind != "text"})
    options = body.stream_options or StreamOptions()
    return Wanted(
        prompts=prompts,
        chat=chat,
        samples=_samples(body.n),
        shape=_shape(body.temperature, body.top_p, body.top_k, body.min_p),
        ending=_ending(limit, body.stop, body.stop_token_ids, body.ignore_eos),
        seed=_seed(body.seed),
        stream=bool(body.stream),
        include_usage=options.include_usage,
        continuous_usage=options.continuous_usage_stats,
        request_id=body.rid,
        spec_tokens_details=body.return_spec_tokens_details,
        meta_info=body.return_meta_info,
    )


def _content(message: ChatMessage) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise UsageError(f"a message holds content of type {part.type}; this engine reads text only")
    return "".join(part.text or "" for part in message.content)


def _prompts(
    content: str | list[str] | list[int | list[int]] | list[int | str | list[int]],
    vocabulary: Vocabulary,
    begin: int | None,
) -> list[list[int]]:
    if isinstance(content, str):
        return [_begun(vocabulary.encode(content), begin)]
    if not content:
        raise UsageError("the prompt is empty; send at least one token")
    tokens = [item for item in content if isinstance(item, int)]
    if len(tokens) == len(content):
        return [tokens]
    if tokens:
        raise UsageError("the prompt mixes token ids with whole prompts; send one or the other")
    return [
        _begun(vocabulary.encode(item), begin) if isinstance(item, str) else list(item)
        for item in content
        if not isinstance(item, int)
    ]


def _begun(tokens: list[int], begin: int | None) -> list[int]:
    return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]


def _samples(n: int | None) -> int:
    samples = 1 if n is None else n
    if not 1 <= samples <= 64:
        raise UsageError(f"n is {n}; it must be between 1 and 64")
    return samples


def _seed(seed: int | None) -> int | None:
    return None if seed is None else seed % (1 << 63)


def _shape(temperature: float | None, top_p: float | None, top_k: int | None, min_p: float | None) -> Shape:
    shape = Shape(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        min_p=min_p or 0.0,
    )
    if not 0.0 <= shape.temperature <= 100.0:
        raise UsageError(f"temperature is {temperature}; it must be between 0 and 100")
    if not 0.0 < shape.top_p <= 1.0:
        raise UsageError(f"top_p is {top_p}; it must be above 0 and at most 1")
    if not 0.0 <= shape.min_p <= 1.0:
        raise UsageError(f"min_p is {min_p}; it must be between 0 and 1")
    if 0.0 < shape.temperature < 0.01:
        # So sharp that float32 overflows: greedy is what it means, and what vLLM makes of it.
        return Shape(temperature=0.0)
    return shape


def _ending(limit: int | None, stop: str | list[str] | None, tokens: list[int] | None, ignore_eos: bool) -> Ending:
    if limit is not None and limit < 1:
        raise UsageError(f"max_tokens is {limit}; it must be at least 1")
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    return Ending(
        max_tokens=UNLIMITED if limit is None else limit,
        stop=tuple(text for text in strings if text),
        stop_token_ids=tuple(tokens or ()),
        ignore_eos=ignore_eos,
    )


def _refuse(asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if value:
            raise UsageError(f"{name} is not supported by the embedded engine; leave it out")


def _refuse_penalties(body: _Common | NativeSampling) -> None:
    _refuse({"presence_penalty": body.presence_penalty, "frequency_penalty": body.frequency_penalty})
    _refuse({"repetition_penalty": body.repetition_penalty not in (None, 0.0, 1.0)})
