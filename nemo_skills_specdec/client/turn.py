"""One request on its way: what the loop that sends and the thread that decodes hand each other."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.client.body import BodyWriter
from nemo_skills_specdec.client.endpoint import Endpoint
from nemo_skills_specdec.client.http_response import HttpResponse
from nemo_skills_specdec.client.schedule import Start
from nemo_skills_specdec.records import Outcome, PromptRow


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known before the first request is sent.

    Attributes:
        context: how to check the server's certificate; None without TLS.
        turns: of each row, serialised (see `encode_turns`).
        requests: of each row, the first request as bytes.
        places: conversations in flight at most.
        secrets: texts that must appear in no message.
        timeout_seconds: for one request, from sending to its last byte.
        max_seconds: no conversation starts later than this.
        answer_limit: bytes of one answer at most.
    """

    endpoint: Endpoint
    context: ssl.SSLContext | None
    rows: Sequence[PromptRow]
    turns: Sequence[tuple[bytes, ...]]
    writer: BodyWriter
    requests: Sequence[bytes]
    starts: Sequence[Start]
    places: int
    secrets: tuple[str, ...]
    streamed: bool
    timeout_seconds: float
    max_seconds: float
    answer_limit: int


class Turn(msgspec.Struct, eq=False):
    """One turn of a prompt, to be sent or being answered. Times are seconds since the epoch.

    Attributes:
        answers: the model's own answers to the turns before it, as they stand in a body.
        scheduled_at: when the schedule wanted it sent.
        ready_at: when it could have been sent: `scheduled_at`, or later when a place became free for it.
        sent_at: when its first byte was handed to the socket.
        num_resends: how often it was sent again.
        response: what has come back; None before it was sent.
    """

    index: int
    number: int
    request: bytes
    answers: list[bytes]
    scheduled_at: float
    ready_at: float
    sent_at: float
    num_resends: int = 0
    response: HttpResponse | None = None


class Ending(msgspec.Struct, frozen=True, eq=False):
    """How a turn ended.

    Attributes:
        outcome: `answered` where the response came whole; what it is worth is seen on decoding it.
        at: when it ended, where its response does not tell.
        detail: what went wrong, in words.
        awaited: whether the sending side waits to be told what follows.
    """

    turn: Turn
    outcome: Outcome
    at: float
    detail: str
    awaited: bool
