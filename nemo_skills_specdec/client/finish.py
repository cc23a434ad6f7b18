"""What becomes of a response once it is over: an exchange, and the next turn of its conversation.

This runs in a thread of its own, beside the loop that reads, and hands every exchange on as soon as it is made.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.body import encode_answer, turn_body
from nemo_skills_specdec.client.endpoint import request_bytes
from nemo_skills_specdec.client.exchange import Exchange
from nemo_skills_specdec.client.faults import (
    body_fault,
    broken_fault,
    one_line,
    server_message,
    status_fault,
    stream_fault,
)
from nemo_skills_specdec.client.http_response import HttpResponse
from nemo_skills_specdec.client.sse import MAX_EVENT, read_events
from nemo_skills_specdec.client.turn import Ending, Turn, Work
from nemo_skills_specdec.records import Outcome
from nemo_skills_specdec.redaction import redacted_bytes
from nemo_skills_specdec.retry_after import retry_after

_ERROR_BODY = 1 << 16
_LOOK_SECONDS = 0.1
"""How often endings are looked for that nobody waits for; waking this thread for each would slow down the reading."""


class Finisher:
    """The thread, and what it hands over.

    Attributes:
        done: the exchanges of each row, where they are kept.
        returned: for every awaited ending, the turn that follows, or None and when the conversation ended.
        stopping: once set, no turn follows any more.
        error: what the caller's `on_exchange` raised; the thread has ended then.
    """

    def __init__(
        self, work: Work, on_exchange: Callable[[Exchange], None] | None, wake: Callable[[], None], *, keep: bool
    ) -> None:
        """Args:
        wake: called when something was returned, or an error occurred.
        """
        self.done: list[list[Exchange]] = [[] for _ in work.rows] if keep else []
        self.returned: deque[tuple[Turn | None, float]] = deque()
        self.stopping = False
        self.error: BaseException | None = None
        self._work = work
        self._on_exchange = on_exchange
        self._wake = wake
        self._keep = keep
        self._endings: deque[Ending] = deque()
        self._hint = threading.Semaphore(0)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="specdec-finisher", daemon=True)
        self._thread.start()

    def put(self, ending: Ending) -> None:
        """Takes an ending over."""
        self._endings.append(ending)
        if ending.awaited:
            self._hint.release()

    def close(self) -> None:
        """Finishes what was taken over, and ends the thread."""
        self._closing = True
        self._hint.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                closing = self._closing
                while self._endings:
                    self._finish(self._endings.popleft())
                if closing:
                    return
                self._hint.acquire(timeout=_LOOK_SECONDS)
        except BaseException as error:  # the caller's: raised again where the caller sees it
            self.error = error
            self._wake()

    def _finish(self, ending: Ending) -> None:
        work, turn = self._work, ending.turn
        turns = work.turns[turn.index]
        exchange = exchange_of(ending, work)
        more = turn.number + 1 < len(turns)
        following: Turn | None = None
        if more and exchange.error is None:
            answer = read_answer(exchange)
            if answer.error is not None:
                exchange.error, exchange.outcome = one_line(answer.error, work.secrets), "failed"
            elif not self.stopping:
                answers = [*turn.answers, encode_answer(work.writer, answer.generation)]
                request = request_bytes(work.endpoint, turn_body(work.writer, turns, answers))
                at = exchange.ended_at
                following = Turn(turn.index, turn.number + 1, request, answers, at, at, at)
        if ending.awaited:
            self.returned.append((following, exchange.ended_at))
            self._wake()
        self._record(turn.index, exchange)
        if more and following is None:
            for number in range(turn.number + 1, len(turns)):
                self._record(turn.index, _never_sent(exchange, number))

    def _record(self, index: int, exchange: Exchange) -> None:
        if self._keep:
            self.done[index].append(exchange)
        if self._on_exchange is not None:
            self._on_exchange(exchange)


def exchange_of(ending: Ending, work: Work) -> Exchange:
    """What came back for a turn, framed but not decoded; never raises, whatever it was."""
    turn, row = ending.turn, work.rows[ending.turn.index]
    exchange = Exchange(
        question_id=row.question_id,
        category=row.category,
        turn=turn.number,
        scheduled_at=turn.scheduled_at,
        sent_at=turn.sent_at,
        ended_at=ending.at,
        sent=turn.response is not None or ending.outcome != "interrupted",
        num_resends=turn.num_resends,
    )
    try:
        outcome, fault = _fill(exchange, ending, work)
    except Exception as error:  # whatever goes wrong with one answer is that answer's result
        outcome, fault = "failed", f"{type(error).__name__}: {error}"
    if fault is not None:
        exchange.error, exchange.outcome = one_line(fault, work.secrets), outcome
        exchange.frames = [redacted_bytes(frame, work.secrets) for frame in exchange.frames]
    return exchange


def _fill(exchange: Exchange, ending: Ending, work: Work) -> tuple[Outcome, str | None]:
    """Fills in what came back; how it ended and what is wrong with it, if anything."""
    response = ending.turn.response
    if response is None or response.status is None:
        size = response.size if response is not None else 0
        return ending.outcome, broken_fault(ending.outcome, ending.detail, seconds=work.timeout_seconds, size=size)
    exchange.status = response.status
    pieces = _decompressed(response, work.answer_limit)
    content_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
    whole = ending.outcome == "answered"
    if whole and response.times:
        exchange.ended_at = response.times[-1]
    if response.status != 200:
        exchange.retry_after_seconds = retry_after(response.headers.get("retry-after"))
        message = b"".join(pieces)[:_ERROR_BODY]
        return "refused", status_fault(response.status, message, response.headers.get("location"))
    if content_type == "text/html":
        return "failed", f"the answer is an HTML page: {server_message(b''.join(pieces)[:_ERROR_BODY])}"
    if _is_stream(content_type, work.streamed):
        events = read_events(pieces, response.times, ended=whole)
        exchange.streamed, exchange.frames, exchange.chunk_times = True, events.frames, events.times
        if events.overlong:
            return "failed", f"an event of the stream is longer than {MAX_EVENT >> 20} MiB"
        if events.done_at is not None:
            whole, exchange.ended_at = True, events.done_at
        if whole:
            return "failed", stream_fault(events.frames, events.done_at is not None)
    elif whole:
        exchange.frames = [b"".join(pieces)]
        return "failed", body_fault(exchange.frames[0])
    return ending.outcome, broken_fault(
        ending.outcome,
        ending.detail,
        seconds=work.timeout_seconds,
        size=response.size,
        chunks=len(exchange.frames),
    )


def _never_sent(failed: Exchange, turn: int) -> Exchange:
    stopped = failed.outcome in ("answered", "interrupted")
    return Exchange(
        question_id=failed.question_id,
        category=failed.category,
        turn=turn,
        scheduled_at=failed.ended_at,
        sent_at=failed.ended_at,
        ended_at=failed.ended_at,
        sent=False,
        error="interrupted" if stopped else f"not sent: turn {failed.turn} failed",
        outcome="interrupted" if stopped else "not_sent",
    )


def _is_stream(content_type: str, asked: bool) -> bool:
    """Servers may ignore `stream`, and some name a stream's type wrongly, but none calls it JSON."""
    return content_type == "text/event-stream" or (asked and content_type != "application/json")


def _decompressed(response: HttpResponse, limit: int) -> Sequence[bytes]:
    """The pieces of the body as they were before a server compressed them, though it was asked not to."""
    if response.headers.get("content-encoding", "identity").lower() not in ("gzip", "x-gzip", "deflate"):
        return response.pieces
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    found = []
    for piece in response.pieces:
        found.append(stream.decompress(piece, limit))
        limit -= len(found[-1])
        if limit <= 0:
            raise ValueError("the compressed answer is too long")
    return found
