"""What is stored and handed between rooms: prompt rows, request records, findings, acceptance results.

Plain typed data with its (de)serialisation, no behaviour. Field names in files are those of the attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.errors import DataError
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


class Message(msgspec.Struct, frozen=True):
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


class PromptRow(msgspec.Struct, kw_only=True):
    """One prompt: what to send, and which kind of text it is.

    Attributes:
        messages: system and user messages in order. Each user message that no assistant message follows is a turn:
            it is sent with everything before it, and the model's own answer takes the place after it.
    """

    question_id: str
    category: str
    sub_category: str | None = None
    source: str | None = None
    src_id: str | None = None
    difficulty: str | None = None
    multiturn: bool = False
    messages: list[Message]


class RequestRecord(msgspec.Struct, kw_only=True):
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
        counts: from the server's per-request statistics; None where it sent none.
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
    completion_tokens: int | None = None
    start_time: float = 0.0
    end_time: float = 0.0
    queue_seconds: float = 0.0
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    num_chunks: int | None = None
    inter_chunk_seconds: float | None = None
    inter_chunk_p99_seconds: float | None = None
    counts: AcceptanceCounts | None = None
    counts_source: Source | None = None


class Acceptance(msgspec.Struct, kw_only=True):
    """An acceptance result as it appears in every file and in every `--json`. Unknown values are null, never 0.

    Attributes:
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


def prompt_sha256(messages: Sequence[Message]) -> str:
    """The sha256 that identifies a prompt's messages, whatever file they came from."""
    return hashlib.sha256(msgspec.json.encode([[m.role, m.content] for m in messages])).hexdigest()


def read_prompt_rows(path: Path) -> list[PromptRow]:
    """Reads a JSONL file of prompts.

    Every line is an object with one of `messages` (list of role and content), `turns` (list of user texts), `prompt` or
    `text` (one user text). `question_id` or `id` is optional, then derived from the text; `category` is optional, then
    `uncategorized`. Other keys are ignored.

    Raises:
        DataError: the file cannot be read, is not UTF-8, is empty, or a line (named by its number) is broken.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, e.g. with iconv") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give the path of a JSONL file") from error
    rows: list[PromptRow] = []
    lines: dict[str, int] = {}
    # Not splitlines(): it would also split at U+2028 and other characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = _prompt_row(line, f"{path} line {number}")
        if row.question_id in lines:
            raise DataError(
                f"{path} line {number}: id {row.question_id!r} stands already on line {lines[row.question_id]}; "
                "give every prompt its own id, or none"
            )
        lines[row.question_id] = number
        rows.append(row)
    if not rows:
        raise DataError(f"{path} holds no prompt; give a JSONL file with one object a line")
    return rows


def write_prompt_rows(path: Path, rows: Iterable[PromptRow]) -> None:
    """Writes prompts as JSONL in NeMo-Skills' row shape."""
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def _prompt_row(line: str, where: str) -> PromptRow:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise DataError(f"{where} is not JSON ({error}); one object a line is expected") from error
    if not isinstance(value, dict):
        raise DataError(f'{where} is not a JSON object; write e.g. {{"prompt": "..."}}')
    messages = _messages(value, where)
    identity = value.get("question_id", value.get("id"))
    turns = sum(message.role == "user" for message in messages)
    return PromptRow(
        question_id=str(identity) if identity not in (None, "") else prompt_sha256(messages)[:32],
        category=str(value.get("category") or "uncategorized"),
        sub_category=_optional_text(value.get("sub_category")),
        source=_optional_text(value.get("source")),
        src_id=_optional_text(value.get("src_id")),
        difficulty=_optional_text(value.get("difficulty")),
        multiturn=turns > 1,
        messages=messages,
    )


def _messages(value: dict[str, Any], where: str) -> list[Message]:
    if "messages" in value:
        try:
            messages = msgspec.convert(value["messages"], list[Message])
        except msgspec.ValidationError as error:
            raise DataError(f"{where}: `messages` must be a list of role and content ({error})") from error
    elif "turns" in value or "prompt" in value or "text" in value:
        key = next(key for key in ("turns", "prompt", "text") if key in value)
        turns = value[key] if isinstance(value[key], list) else [value[key]]
        if not all(isinstance(turn, str) for turn in turns):
            raise DataError(f"{where}: `{key}` must be a text or a list of texts")
        messages = [Message("user", turn) for turn in turns]
    else:
        raise DataError(f"{where} has none of `messages`, `turns`, `prompt`, `text`; one of them is needed")
    if not messages or messages[-1].role != "user" or not any(m.content.strip() for m in messages if m.role == "user"):
        raise DataError(f"{where} does not end with a user message that has text; nothing could be sent")
    return messages


def _optional_text(value: object) -> str | None:
    return None if value is None else str(value)
