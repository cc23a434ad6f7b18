"""What the client is given and what it gives back: plain data, nothing decoded that need not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.records import GeneratedToken, Outcome


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a request's body that does not depend on the prompt.

    Attributes:
        logprobs: ask for the log-probability of every token and of this many alternatives; None not to.
        extra_body: merged into the body last, so it wins over everything else. Objects inside it are merged too: one
            key of `stream_options` or `chat_template_kwargs` does not remove the others. A null removes a field.
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
    logprobs: int | None = None
    chat_template_kwargs: dict[str, Any] = {}
    extra_body: dict[str, Any] = {}


def as_sent(request: RequestOptions) -> RequestOptions:
    """The options as they stand in the body: with what `extra_body` puts in their place."""
    extra = request.extra_body
    limit = {"max_tokens": extra["max_completion_tokens"]} if "max_completion_tokens" in extra else {}
    given = {**limit, **{name: extra[name] for name in _SAMPLING if name in extra}}
    if limit and extra.get("max_tokens") is None:
        given["max_tokens"] = limit["max_tokens"]
    kinds = {"temperature": (int, float), "top_p": (int, float), "ignore_eos": (bool,), "stream": (bool,)}
    removed = {"n": 1, "ignore_eos": False, "stream": False}
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            fields[name] = removed.get(name)
        elif isinstance(value, kinds.get(name, (int,))):
            fields[name] = value
    return msgspec.structs.replace(request, **fields)


_SAMPLING = ("max_tokens", "temperature", "top_p", "seed", "ignore_eos", "n", "stream")


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are scheduled.

    Attributes:
        concurrency: conversations in flight at most; None for no limit (with a request rate).
        request_rate: conversations started per second; None to start the next as soon as one ends.
        arrival: spacing of a request rate; `poisson` draws exponential gaps from `seed`.
        order: `given`, or `round_robin` over the categories, so that a run cut short has seen all of them.
        timeout_seconds: for one request, from sending to its last byte; opening a connection has 20 s at most.
        max_seconds: no conversation starts later than this after the first; those in flight finish. None for no limit.
        proxy_from_env: whether `HTTP_PROXY`, `NO_PROXY` and their like are obeyed; a proxy in between distorts timing.
        ca_file: certificates to trust, in place of the system's and of those that `SSL_CERT_FILE` names.
        insecure: whether to leave the server's certificate unchecked.
    """

    concurrency: int | None = 32
    request_rate: float | None = None
    arrival: Literal["poisson", "constant"] = "poisson"
    order: Literal["given", "round_robin"] = "given"
    timeout_seconds: float = 600.0
    max_seconds: float | None = None
    seed: int = 0
    proxy_from_env: bool = False
    ca_file: Path | None = None
    insecure: bool = False


class Exchange(msgspec.Struct, kw_only=True):
    """One request and what came back, undecoded. Times are seconds since the epoch on a clock that never jumps.

    Times of arrival are the kernel's where it tells them (Linux), so they do not depend on how busy this client was.

    Attributes:
        turn: 0-based number of the generated turn.
        scheduled_at: when the schedule wanted it sent: its arrival time under a request rate, otherwise when a place
            among the concurrent conversations became free; for a later turn, when the turn before it ended.
        sent_at: when its first byte was handed to the socket of an open connection.
        ended_at: arrival of `[DONE]`, or of the last byte where there is no `[DONE]`, or when it failed.
        chunk_times: arrival of the last byte of each SSE frame with data, `[DONE]` left out; empty where not streamed.
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


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """How late this client was with something during a run, in seconds; all None without samples.

    Attributes:
        p50_seconds: with p99 and max, over the whole run.
        opening_p99_seconds: with max, over its first second, where a burst would hide in a percentile of the whole.
        worst_second_p99_seconds: the largest p99 of any second.
    """

    samples: int
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    max_seconds: float | None = None
    opening_p99_seconds: float | None = None
    opening_max_seconds: float | None = None
    worst_second_p99_seconds: float | None = None


class Sent(msgspec.Struct, kw_only=True):
    """Everything one call of the client did.

    Attributes:
        exchanges: in the order of the rows given, turn by turn; failed ones included. Empty where they were not kept.
        not_sent: `question_id` of every conversation that was never started. They have not failed.
        interrupted: whether the user stopped it; what was in flight is in `exchanges` with the outcome `interrupted`.
        gave_up: why no further conversation was started: nothing at the address accepted a connection, or not any more.
        started_at: seconds since the epoch when the schedule began; connections were opened before.
        ended_at: seconds since the epoch when the last request was over.
        lateness: from the arrival of bytes until this client read them.
        kernel_times: whether arrivals are the kernel's; otherwise they are when the bytes were read, and `lateness`
            counts from when this client began to look at what had arrived.
        dispatch: from when a request could be sent, by the schedule and by the places in flight, until it was.
        lowered_concurrency: to how many connections the limit on open files held this client; None if it did not.
    """

    exchanges: list[Exchange]
    not_sent: list[str]
    interrupted: bool
    gave_up: str | None
    started_at: float
    ended_at: float
    lateness: Delays
    kernel_times: bool
    dispatch: Delays
    lowered_concurrency: int | None = None


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
        logprobs: of the first choice's tokens; None where they were not asked for, or cannot be read.
        error: one line saying why what came back is no complete answer; None if it is.
    """

    generation: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    prompt_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_content: int | None = None
    last_content: int | None = None
    logprobs: list[GeneratedToken] | None = None
    response: dict[str, Any] = {}
    error: str | None = None
