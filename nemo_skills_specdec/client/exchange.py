"""What the client is given and what it gives back: plain data, nothing decoded that need not be."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from nemo_skills_specdec.records import Message


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a request's body that does not depend on the prompt.

    Attributes:
        extra_body: merged into the body last, so it wins over everything else.
    """

    model: str
    api: Literal["chat", "completions"] = "chat"
    stream: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    ignore_eos: bool = False
    n: int = 1
    chat_template_kwargs: dict[str, Any] = {}
    extra_body: dict[str, Any] = {}


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are scheduled.

    Attributes:
        concurrency: prompts in flight at most; None for no limit (with a request rate).
        request_rate: prompts started per second; None to start the next as soon as one ends.
        arrival: spacing of a request rate; `poisson` draws exponential gaps from `seed`.
        timeout_seconds: for one request, from sending to its last byte.
    """

    concurrency: int | None = 32
    request_rate: float | None = None
    arrival: Literal["poisson", "constant"] = "poisson"
    timeout_seconds: float = 600.0
    seed: int = 0


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt to send, turn by turn."""

    question_id: str
    category: str
    messages: tuple[Message, ...]


class Exchange(msgspec.Struct, kw_only=True):
    """One request and what came back, undecoded. Times are seconds since the epoch, from one monotonic clock.

    Attributes:
        turn: 0-based number of the generated turn.
        scheduled_at: when the schedule wanted it sent.
        chunk_times: arrival of each SSE frame with data, `[DONE]` left out; empty where not streamed.
        frames: the payloads of those frames, or the one body where not streamed.
        error: one line saying why the request failed; None if it did not.
    """

    question_id: str
    category: str
    turn: int
    scheduled_at: float
    sent_at: float
    ended_at: float
    chunk_times: list[float] = []
    frames: list[bytes] = []
    streamed: bool = False
    status: int | None = None
    error: str | None = None


class Answer(msgspec.Struct, kw_only=True):
    """An exchange, decoded.

    Attributes:
        response: the body, or the union of the top-level keys of all chunks (`choices` is that of the last chunk that
            has some), where the engines' per-request statistics are found.
        first_content: index into `frames` of the first frame that carries generated text or reasoning; None if none.
    """

    generation: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_content: int | None = None
    response: dict[str, Any] = {}
