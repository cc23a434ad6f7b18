"""What is stored and handed between rooms: prompt rows, request records, findings, acceptance results.

Plain typed data with its (de)serialisation, no behaviour. Field names in files are those of the attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.statistics import Interval, Intervals

Source = Literal["response", "request_file", "counters", "bounds", "gauge_estimate"]
"""Where a number comes from, best first; printed with it.

`response`: statistics inside each response. `request_file`: SGLang's request-metric files. `counters`: exact difference
of counters. `bounds`: counters that only bracket the value. `gauge_estimate`: a gauge, right in kind at best.
"""

Outcome = Literal["answered", "refused", "failed", "timed_out", "lost", "unreachable", "interrupted", "not_sent"]
"""How a request ended.

`answered`: completely. `refused`: with an HTTP status other than 200, so no token was generated for it. `failed`: with
status 200, but what came is no complete answer. `timed_out`, `lost` (the connection broke), `interrupted` (by the user,
while it was in flight): the server may have worked on it and may have finished it. `unreachable`: no connection could
be opened, so the server never saw it. `not_sent`: a later turn of a conversation that had failed or was interrupted.
"""

Severity = Literal["info", "warning", "invalid"]

Numbers = dict[str, int | float | str | None]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A machine-readable remark on the validity of a measurement.

    Attributes:
        code: stable, snake_case.
        severity: `info` explains, `warning` asks for care, `invalid` says that the numbers must not be used.
        message: one sentence for people, with the numbers and with what to do.
        numbers: the figures in the message, for programs.
    """

    code: str
    severity: Severity
    message: str
    numbers: Numbers = {}


Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One chat message.

    Attributes:
        content: its text; empty where an assistant only calls tools, and where there are token ids instead.
        name: of the speaker, or of the tool that answers.
        tool_calls: of an assistant, as OpenAI's API has them.
        tool_call_id: of a tool: the call that it answers.
        token_ids: a prompt as token ids, which only the completions API can send.
    """

    role: Role
    content: str
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    token_ids: tuple[int, ...] = ()


class PromptLabels(msgspec.Struct, kw_only=True, gc=False):
    """Which prompt it is, and which kind of text."""

    question_id: str
    category: str
    sub_category: str | None = None
    source: str | None = None
    src_id: str | None = None
    difficulty: str | None = None

    def labels(self) -> dict[str, Any]:
        """These alone, by name."""
        return {name: getattr(self, name) for name in PromptLabels.__struct_fields__}


class PromptRow(PromptLabels, kw_only=True, gc=False):
    """One prompt: what to send, and which kind of text it is.

    Attributes:
        messages: in order. Each one that `turn_ends` names is a turn: it is sent with everything before it, and the
            model's own answer takes the place after it.
    """

    multiturn: bool = False
    messages: list[Message]


class GeneratedToken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One generated token with its log-probability, and the most probable tokens at its place, best first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class StepCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One verification step: draft tokens proposed, and how many of them were accepted."""

    drafted: int
    accepted: int


class RequestRecord(msgspec.Struct, kw_only=True, gc=False):
    """One request, that is one turn of one prompt: what came back, when, and how many drafts were accepted.

    Attributes:
        error: why the request failed, None if it did not. A failed request is kept and counted.
        outcome: how it ended; None where that is not known, as in run directories of version 0.1.
        num_resends: how often it was sent again because the server had closed the kept connection that it met. A server
            may all the same have counted those that came to nothing.
        retry_after_seconds: how long a server that refused it asks to wait.
        sent: False for a later turn of a conversation that had failed before.
        start_time: seconds since the epoch when the request was sent.
        queue_seconds: from when the schedule wanted it sent until it was sent.
        ttft_seconds: from sending until the first chunk with content; None where not streamed.
        tpot_seconds: (last chunk - first chunk) / (completion_tokens - 1); None where not streamed or below two tokens.
        inter_chunk_seconds: mean time between chunks. Under speculation a chunk holds several tokens, so this is not
            an inter-token latency.
        cached_prompt_tokens: of the prompt, those in the server's prefix cache; None where its usage does not tell.
        chunk_microseconds: when the chunks arrived, as unsigned 32-bit integers, little-endian (base64 in JSON): the
            first from sending, which is TTFT, each other from the one before. None where there are no such times.
        samples: answers that were asked for, the API's `n`; tokens are those of all of them together.
        lumped: whether the chunks came in a few lumps, as a proxy that buffers lets them go. Nothing is known then of
            when the server wrote them, and there are no durations but the whole.
        usage_rejected: whether the server's usage said zero tokens beside text, so that it was not believed.
        counts: from the server's per-request statistics; None where it sent none.
        steps: every verification step in order, where the server tells them (vLLM's detailed statistics).
        reached_per_position: from the steps, those that drafted a position and had accepted all before it.
        logprobs: of every generated token, where they were asked for.
    """

    question_id: str
    category: str
    turn: int
    response_id: str | None = None
    status: int | None = None
    error: str | None = None
    outcome: Outcome | None = None
    num_resends: int = 0
    retry_after_seconds: float | None = None
    sent: bool = True
    generation: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    completion_tokens: int | None = None
    start_time: float = 0.0
    end_time: float = 0.0
    queue_seconds: float = 0.0
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    num_chunks: int | None = None
    inter_chunk_seconds: float | None = None
    inter_chunk_p99_seconds: float | None = None
    chunk_microseconds: bytes | None = None
    samples: int = 1
    lumped: bool = False
    usage_rejected: bool = False
    counts: AcceptanceCounts | None = None
    counts_source: Source | None = None
    steps: list[StepCount] | None = None
    reached_per_position: tuple[int, ...] | None = None
    logprobs: list[GeneratedToken] | None = None


class Acceptance(msgspec.Struct, kw_only=True):
    """An acceptance result as it appears in every file and in every `--json`. Unknown values are null, never 0.

    Attributes:
        conditional_acceptance_rates: a step that never drafted a position counts as one that rejected it.
        reached_conditional_acceptance_rates: over the steps that drafted the position; known where every answer lists
            its steps. The two differ where drafts vary in length, and then this is the drafter's own rate.
        acceptance_length_bounds: set for the source `bounds`: the exact value lies in between, and
            `acceptance_length` is the midpoint.
    """

    source: Source | None
    num_drafts: int | None = None
    num_draft_tokens: int | None = None
    num_accepted_tokens: int | None = None
    accepted_per_position: tuple[int, ...] | None = None
    acceptance_length: float | None = None
    acceptance_rate: float | None = None
    per_position_acceptance_rates: tuple[float, ...] | None = None
    conditional_acceptance_rates: tuple[float | None, ...] | None = None
    reached_conditional_acceptance_rates: tuple[float | None, ...] | None = None
    acceptance_length_bounds: Interval | None = None
    acceptance_rate_bounds: Interval | None = None
    tokens_per_step: float | None = None
    intervals: Intervals | None = None
    findings: list[Finding] = []


def acceptance_of(
    counts: AcceptanceCounts,
    source: Source,
    *,
    tokens_per_step: float | None = None,
    intervals: Intervals | None = None,
    findings: Sequence[Finding] = (),
) -> Acceptance:
    """The result that exact counts give."""
    return Acceptance(
        source=source,
        num_drafts=counts.num_drafts,
        num_draft_tokens=counts.num_draft_tokens,
        num_accepted_tokens=counts.num_accepted_tokens,
        accepted_per_position=counts.accepted_per_position,
        acceptance_length=counts.acceptance_length,
        acceptance_rate=counts.acceptance_rate,
        per_position_acceptance_rates=counts.per_position_acceptance_rates,
        conditional_acceptance_rates=counts.conditional_acceptance_rates,
        tokens_per_step=tokens_per_step,
        intervals=intervals,
        findings=list(findings),
    )


def turn_ends(messages: Sequence[Message]) -> list[int]:
    """Positions of the messages that the model is to answer, one request each.

    These are the messages of a user or a tool that neither an assistant's message nor a tool's follows: recorded
    answers are sent as they are, and several user messages in a row are turns one after the other.
    """
    followers = [message.role for message in messages[1:]] + [None]
    return [
        position
        for position, (message, follower) in enumerate(zip(messages, followers, strict=False))
        if message.role in ("user", "tool") and follower not in ("assistant", "tool")
    ]


def prompt_sha256(messages: Sequence[Message]) -> str:
    """The sha256 that identifies a prompt's messages, whatever file they came from."""
    return hashlib.sha256(msgspec.json.encode([_identifying(message) for message in messages])).hexdigest()


def _identifying(message: Message) -> list[Any]:
    """Role and content, and what else a message has."""
    more = msgspec.to_builtins(message)
    return [more.pop("role"), more.pop("content"), *([more] if more else [])]
