"""What clients send: request bodies, read strictly, and turned into prompts and sampling settings."""

from typing import Any

import msgspec

from nemo_skills_specdec.embedded.logprobs import MOST_TOP_LOGPROBS
from nemo_skills_specdec.embedded.options import DialectName
from nemo_skills_specdec.embedded.sampling import SamplingParams
from nemo_skills_specdec.embedded.sequence import StopCriteria
from nemo_skills_specdec.embedded.tokenizer import Tokenizer
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
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionBody(_Common, kw_only=True):
    """Body of `POST /v1/completions`."""

    prompt: str | list[int | str | list[int]]
    logprobs: int | None = None
    echo: bool | None = None


class GenerationRequest(msgspec.Struct, frozen=True):
    """One request, understood.

    Attributes:
        samples: texts of this prompt.
        top_logprobs: most likely tokens to tell beside each token; None tells no log-probabilities.
        request_id: the client's own name for the request, or None.
    """

    prompt: list[int]
    chat: bool
    samples: int
    params: SamplingParams
    criteria: StopCriteria
    seed: int | None
    stream: bool
    include_usage: bool = False
    continuous_usage: bool = False
    request_id: str | None = None
    spec_tokens_details: bool = False
    meta_info: bool = False
    top_logprobs: int | None = None


def parse_chat(body: ChatBody, tokenizer: Tokenizer, bos_token_id: int | None) -> GenerationRequest:
    """Renders the conversation and reads the settings.

    Raises:
        UsageError: something is asked for that this engine does not do.
    """
    if not body.messages:
        raise UsageError("messages is empty; send at least one message")
    _refuse({"tools": body.tools})
    if body.top_logprobs and not body.logprobs:
        raise UsageError("top_logprobs needs logprobs set to true")
    top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
    messages = [{"role": message.role, "content": _content(message)} for message in body.messages]
    prompt = tokenizer.chat(messages, **(body.chat_template_kwargs or {}))
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    prompt_ids = _with_bos(tokenizer.encode(prompt), bos_token_id)
    return _request(body, prompt_ids, limit, chat=True, top_logprobs=top_logprobs)


def parse_completion(body: CompletionBody, tokenizer: Tokenizer, bos_token_id: int | None) -> GenerationRequest:
    """Reads a prompt of text (the BOS token is put before it) or of token ids (taken as they are).

    Raises:
        UsageError: something is asked for that this engine does not do.
    """
    _refuse({"echo": body.echo})
    prompt = _prompt(body.prompt, tokenizer, bos_token_id)
    limit = body.max_tokens if body.max_tokens is not None else 16
    return _request(body, prompt, limit, chat=False, top_logprobs=body.logprobs)


def check_dialect(request: GenerationRequest, dialect: DialectName) -> None:
    """Refuses what the imitated server refuses.

    Raises:
        UsageError: the combination is not possible there.
    """
    if dialect == "sglang" and request.meta_info and request.stream:
        raise UsageError("return_meta_info is not supported with streaming")


def _request(
    body: _Common, prompt: list[int], limit: int | None, *, chat: bool, top_logprobs: int | None
) -> GenerationRequest:
    _refuse_penalties(body)
    kind = (body.response_format or {}).get("type", "text")
    _refuse({"logit_bias": body.logit_bias, "response_format": kind != "text"})
    if top_logprobs is not None and not 0 <= top_logprobs <= MOST_TOP_LOGPROBS:
        raise UsageError(f"{top_logprobs} top log-probabilities are asked for; it must be 0 to {MOST_TOP_LOGPROBS}")
    options = body.stream_options or StreamOptions()
    return GenerationRequest(
        prompt=prompt,
        chat=chat,
        samples=_samples(body.n),
        params=_sampling_params(body.temperature, body.top_p, body.top_k, body.min_p),
        criteria=_stop_criteria(limit, body.stop, body.stop_token_ids, body.ignore_eos),
        seed=_seed(body.seed),
        stream=bool(body.stream),
        include_usage=options.include_usage,
        continuous_usage=options.continuous_usage_stats,
        request_id=body.rid,
        spec_tokens_details=body.return_spec_tokens_details,
        meta_info=body.return_meta_info,
        top_logprobs=top_logprobs,
    )


def _content(message: ChatMessage) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise UsageError(f"a message holds content of type {part.type}; this engine reads text only")
    return "".join(part.text or "" for part in message.content)


def _prompt(content: str | list[int | str | list[int]], tokenizer: Tokenizer, bos_token_id: int | None) -> list[int]:
    if isinstance(content, str):
        return _with_bos(tokenizer.encode(content), bos_token_id)
    if not content:
        raise UsageError("the prompt is empty; send at least one token")
    tokens = [item for item in content if isinstance(item, int)]
    if len(tokens) == len(content):
        return tokens
    if tokens:
        raise UsageError("the prompt mixes token ids with whole prompts; send one or the other")
    if len(content) > 1:
        raise UsageError(f"prompt holds {len(content)} prompts; send one prompt a request")
    (only,) = content
    return _with_bos(tokenizer.encode(only), bos_token_id) if isinstance(only, str) else list(only)  # type: ignore[arg-type]


def _with_bos(tokens: list[int], bos_token_id: int | None) -> list[int]:
    return tokens if bos_token_id is None or tokens[:1] == [bos_token_id] else [bos_token_id, *tokens]


def _samples(n: int | None) -> int:
    samples = 1 if n is None else n
    if not 1 <= samples <= 64:
        raise UsageError(f"n is {n}; it must be between 1 and 64")
    return samples


def _seed(seed: int | None) -> int | None:
    return None if seed is None else seed % (1 << 63)


def _sampling_params(
    temperature: float | None, top_p: float | None, top_k: int | None, min_p: float | None
) -> SamplingParams:
    params = SamplingParams(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        min_p=min_p or 0.0,
    )
    if not 0.0 <= params.temperature <= 100.0:
        raise UsageError(f"temperature is {temperature}; it must be between 0 and 100")
    if not 0.0 < params.top_p <= 1.0:
        raise UsageError(f"top_p is {top_p}; it must be above 0 and at most 1")
    if not 0.0 <= params.min_p <= 1.0:
        raise UsageError(f"min_p is {min_p}; it must be between 0 and 1")
    if 0.0 < params.temperature < 0.01:
        # So sharp that float32 overflows: greedy is what it means, and what vLLM makes of it.
        return SamplingParams(temperature=0.0)
    return params


def _stop_criteria(
    limit: int | None, stop: str | list[str] | None, tokens: list[int] | None, ignore_eos: bool
) -> StopCriteria:
    if limit is not None and limit < 1:
        raise UsageError(f"max_tokens is {limit}; it must be at least 1")
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    return StopCriteria(
        max_tokens=UNLIMITED if limit is None else limit,
        stop=tuple(text for text in strings if text),
        stop_token_ids=tuple(tokens or ()),
        ignore_eos=ignore_eos,
    )


def _refuse(asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if value:
            raise UsageError(f"{name} is not supported by the embedded engine; leave it out")


def _refuse_penalties(body: _Common) -> None:
    _refuse({"presence_penalty": body.presence_penalty, "frequency_penalty": body.frequency_penalty})
    _refuse({"repetition_penalty": body.repetition_penalty not in (None, 0.0, 1.0)})
