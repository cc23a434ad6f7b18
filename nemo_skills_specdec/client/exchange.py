"""What the client is given and what it gives back: plain data, nothing decoded that need not be."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from nemo_skills_specdec.records import Outcome


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a request's body that does not depend on the prompt.

    Attributes:
        extra_body: merged into the body last, so it wins over everything else. Objects inside it are merged too: one
            key of `stream_options` or `chat_template_kwargs` does not remove the others.
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
        concurrency: conversations in flight at most; None for no limit (with a request rate).
        request_rate: conversations started per second; None to start the next as soon as one ends.
        arrival: spacing of a request rate; `poisson` draws exponential gaps from `seed`.
        order: `given`, or `round_robin` over the categories, so that a run cut short has seen all of them.
        timeout_seconds: for one request, from sending to its last byte.
        max_seconds: no conversation starts later than this after the first; those in flight finish. None for no limit.
        proxy_from_env: whether `HTTP_PROXY`, `NO_PROXY` and their like are obeyed; a proxy in between distorts timing.
    """

    concurrency: int | None = 32
    request_rate: float | None = None
    arrival: Literal["poisson", "constant"] = "poisson"
    order: Literal["given", "round_robin"] = "given"
    timeout_seconds: float = 600.0
    max_seconds: float | None = None
    seed: int = 0
    proxy_from_env: bool = False


class Exchange(msgspec.Struct, kw_only=True):
    """One request and what came back, undecoded. Times are seconds since the epoch, from one monotonic clock.

    Attributes:
        turn: 0-based number of the generated turn.
        scheduled_at: when the schedule wanted it sent: its arrival time under a request rate, otherwise when a place
            among the concurrent conversations became free; for a later turn, when the turn before it ended.
        sent_at: when it was handed to the socket; opening a connection, where one is needed, comes after it.
        ended_at: arrival of `[DONE]`, or of the last byte where there is no `[DONE]`, or when it failed.
        chunk_times: arrival of each SSE frame with data, `[DONE]` left out; empty where not streamed.
        frames: the payloads of those frames, or the one body where not streamed; empty for an HTTP error.
        sent: False for a later turn that was never sent because an earlier one failed; its times are then all equal.
        error: one line saying why the request failed; None if it did not.
        outcome: how it ended, as far as the client looks; that an answer cannot be read shows only on decoding it.
        num_resends: how often it was sent again because the kept connection that it met had been closed.
        retry_after_seconds: how long a server that refused it asks to wait.
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
    sent: bool = True
    status: int | None = None
    error: str | None = None
    outcome: Outcome = "answered"
    num_resends: int = 0
    retry_after_seconds: float | None = None


class LoopLag(msgspec.Struct, frozen=True, kw_only=True):
    """How late the client itself woke up during the window, in seconds.

    A timer due every 20 ms is compared with when it ran. About 1 ms is the timer's own resolution; a p99 far above it
    says that the client, not the server, was the bottleneck, and that times of chunks are late by about as much.
    """

    samples: int
    p50_seconds: float | None
    p99_seconds: float | None
    max_seconds: float | None


class Sent(msgspec.Struct, kw_only=True):
    """Everything one call of the client did.

    Attributes:
        exchanges: in the order of the conversations given, turn by turn; failed ones included.
        not_sent: `question_id` of every conversation that was never started. They have not failed.
        interrupted: whether the user stopped it; what was in flight is in `exchanges` with the outcome `interrupted`.
        gave_up: why no further conversation was started: nothing at the address ever accepted a connection.
        started_at: seconds since the epoch when the schedule began.
        ended_at: seconds since the epoch when the last request was over.
    """

    exchanges: list[Exchange]
    not_sent: list[str]
    interrupted: bool
    gave_up: str | None
    started_at: float
    ended_at: float
    lag: LoopLag


class Answer(msgspec.Struct, kw_only=True):
    """An exchange, decoded.

    Attributes:
        generation: text of the first choice, without its reasoning.
        reasoning: reasoning text of the first choice, where the server separates it; None if there is none.
        response: the body, or the union of the top-level keys of all chunks (`choices` is that of the last chunk that
            has some; a null never replaces a value), where the engines' per-request statistics are found.
        first_content: index into `frames` of the first frame that carries generated text, reasoning or a tool call;
            None if none, or where not streamed.
        last_content: index into `frames` of the last frame that carries a choice: text, or the finish reason alone.
        error: one line saying why what came back is no complete answer; None if it is.
    """

    generation: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_content: int | None = None
    last_content: int | None = None
    response: dict[str, Any] = {}
    error: str | None = None
