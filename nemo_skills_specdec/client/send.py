"""Sends conversations to a server and times what comes back.

While requests are in flight, chunks are only time-stamped and framed. An answer is decoded only where the next turn of
its conversation needs it. Every failure ends up in `Exchange.error`, none is raised, and nothing that a server may have
read is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import aiohttp
import msgspec

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.body import BodyWriter, body_writer, encode_answer, encode_turns, endpoint, turn_body
from nemo_skills_specdec.client.clock import epoch_clock, lag_of, probe_lag
from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions, Sent
from nemo_skills_specdec.client.faults import (
    body_fault,
    connection_fault,
    one_line,
    retry_after,
    secrets_of,
    server_message,
    status_fault,
    stream_fault,
    without_secrets,
)
from nemo_skills_specdec.client.interrupt import run_interruptible
from nemo_skills_specdec.client.schedule import Start, schedule
from nemo_skills_specdec.client.sockets import allow_open_files, open_socket
from nemo_skills_specdec.client.sse import DONE, last_events, split_events
from nemo_skills_specdec.records import Outcome, PromptRow

_CONNECT_SECONDS = 20.0
_DRAIN_SECONDS = 2.0
_KEEP_IDLE_SECONDS = 2.0
"""Idle connections are dropped sooner than servers do (uvicorn and cpp-httplib: 5 s), or a request could meet one that
is just being closed and fail through no fault of the server."""
_CLOSED_BEFORE_SECONDS = 0.5
_READ_BUFFER = 1 << 20
_ERROR_BODY = 1 << 16
_REFUSALS_TO_GIVE_UP = 8
_SECONDS_TO_GIVE_UP = 15.0


class _Window(msgspec.Struct):
    """What the tasks of one call share."""

    session: aiohttp.ClientSession
    target: str
    headers: dict[str, str]
    secrets: tuple[str, ...]
    rows: Sequence[PromptRow]
    turns: list[tuple[bytes, ...]]
    writer: BodyWriter
    stream: bool
    timeout_seconds: float
    now: Callable[[], float]
    started_at: float
    close_at: float
    on_exchange: Callable[[Exchange], None] | None
    done: list[list[Exchange]]
    closed: asyncio.Event
    connected: asyncio.Event
    stopping: bool = False
    refusals: int = 0
    gave_up: str | None = None


async def send(
    rows: Sequence[PromptRow],
    *,
    url: str,
    headers: Mapping[str, str] | None = None,
    request: RequestOptions,
    load: LoadOptions,
    on_exchange: Callable[[Exchange], None] | None = None,
    stop: asyncio.Event | None = None,
) -> Sent:
    """Sends all prompts, turn by turn, and returns what came back.

    The turns of a conversation follow one another with the model's own answers in between (its reasoning is not fed
    back). If a turn fails, the later turns of that conversation are recorded as failed without being sent. Requests are
    never repeated, but for those that met a kept connection which the server had closed. If nothing at the address
    accepts a connection, no further conversation is started.

    Args:
        url: the server's address, with or without `/v1`.
        headers: sent with every request, e.g. `Authorization`; their values appear in no message.
        on_exchange: called in the event loop when a request is over, failed or not; it should return soon.
        stop: once set, nothing more is sent and what is in flight is aborted with the outcome `interrupted`.

    Raises:
        UsageError: the address or the options are wrong; nothing has been sent then.
    """
    target = endpoint(url, request.api)
    writer = body_writer(request)
    turns = [encode_turns(writer, row) for row in rows]
    starts = schedule([row.category for row in rows], load)
    workers = min(len(starts), load.concurrency or len(starts))
    allow_open_files(workers + 64)
    connected = asyncio.Event()
    connections = aiohttp.TraceConfig()
    connections.on_connection_create_end.append(partial(_note_connection, connected))
    connections.on_connection_reuseconn.append(_note_reuse)
    clock = epoch_clock()
    started_at = clock()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_IDLE_SECONDS, ttl_dns_cache=None, socket_factory=open_socket
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=load.timeout_seconds, sock_connect=_CONNECT_SECONDS),
        read_bufsize=_READ_BUFFER,
        trust_env=load.proxy_from_env,
        trace_configs=[connections],
    ) as session:
        window = _Window(
            session=session,
            target=target,
            # Compressed streams arrive late and in lumps.
            headers={"Accept-Encoding": "identity", **(headers or {}), "Content-Type": "application/json"},
            secrets=secrets_of(url, headers or {}),
            rows=rows,
            turns=turns,
            writer=writer,
            stream=request.extra_body.get("stream", request.stream) is True,
            timeout_seconds=load.timeout_seconds,
            now=clock,
            started_at=started_at,
            close_at=started_at + load.max_seconds if load.max_seconds is not None else float("inf"),
            on_exchange=on_exchange,
            done=[[] for _ in rows],
            closed=asyncio.Event(),
            connected=connected,
        )
        lags: list[float] = []
        probe = asyncio.create_task(probe_lag(lags))
        try:
            interrupted = await _run(window, starts, workers, stop)
        finally:
            probe.cancel()
        ended_at = clock()
    return Sent(
        exchanges=[exchange for group in window.done for exchange in group],
        not_sent=[row.question_id for row, group in zip(rows, window.done, strict=True) if not group],
        interrupted=interrupted,
        gave_up=window.gave_up,
        started_at=started_at,
        ended_at=ended_at,
        lag=lag_of(lags),
    )


def send_all(
    rows: Sequence[PromptRow],
    *,
    url: str,
    headers: Mapping[str, str] | None = None,
    request: RequestOptions,
    load: LoadOptions,
    on_exchange: Callable[[Exchange], None] | None = None,
) -> Sent:
    """`send` for plain code; blocks until all is over.

    Ctrl-C (or SIGTERM, as batch systems send it before they kill) stops sending, aborts what is in flight and returns
    everything so far with `interrupted` set; a second one acts as if this function did nothing about it. Where an event
    loop already runs in this thread, as in a notebook, the work is done in a thread of its own.

    Raises:
        UsageError: the address or the options are wrong; nothing has been sent then.
    """

    async def main(stop: asyncio.Event) -> Sent:
        return await send(
            rows,
            url=url,
            headers=headers,
            request=request,
            load=load,
            on_exchange=on_exchange,
            stop=stop,
        )

    return run_interruptible(main)


async def _run(window: _Window, starts: Sequence[Start], workers: int, stop: asyncio.Event | None) -> bool:
    """Works through the schedule; whether it was stopped before its end."""
    queue = iter(starts)
    tasks = [asyncio.ensure_future(_work(window, queue)) for _ in range(workers)]
    stopper = asyncio.ensure_future((stop or asyncio.Event()).wait())
    work: asyncio.Future[Any] = asyncio.gather(*tasks)
    try:
        await asyncio.wait((work, stopper), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
        else:
            window.stopping = True
    finally:
        for task in (*tasks, stopper):
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return window.stopping


async def _work(window: _Window, queue: Iterator[Start]) -> None:
    """One of the conversations in flight: takes the next start from the schedule, again and again."""
    for start in queue:
        due = window.now() if start.offset is None else window.started_at + start.offset
        if due >= window.close_at or window.gave_up:
            return
        if (wait := due - window.now()) > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(window.closed.wait(), wait)
        # Waiting for a place may have taken it past the end.
        if window.now() >= window.close_at or window.gave_up:
            return
        await _converse(window, start.index, due)
        if window.stopping:
            return


async def _converse(window: _Window, index: int, scheduled_at: float) -> None:
    row, turns = window.rows[index], window.turns[index]
    answers: list[bytes] = []
    for turn in range(len(turns)):
        exchange = Exchange(
            question_id=row.question_id,
            category=row.category,
            turn=turn,
            scheduled_at=scheduled_at,
            sent_at=scheduled_at,
            ended_at=scheduled_at,
        )
        await _exchange(window, exchange, turn_body(window.writer, turns, answers))
        if exchange.error is None and turn + 1 < len(turns):
            answer = read_answer(exchange)
            if answer.error is not None:
                exchange.error, exchange.outcome = answer.error, "failed"
            answers.append(encode_answer(window.writer, answer.generation))
        _record(window, index, exchange)
        if exchange.error is not None or window.stopping:
            for later in range(turn + 1, len(turns)):
                _record(window, index, _never_sent(exchange, later))
            return
        scheduled_at = exchange.ended_at


async def _exchange(window: _Window, exchange: Exchange, body: bytes) -> None:
    """Sends one request and fills in what comes back."""
    fault: str | None = None
    outcome: Outcome = "failed"
    ended = False
    try:
        async with _post(window, exchange, body) as response:
            exchange.status = response.status
            if response.status != 200:
                outcome = "refused"
                exchange.retry_after_seconds = retry_after(response.headers.get("Retry-After"))
                message = await response.content.read(_ERROR_BODY)
                fault = status_fault(response.status, message, response.headers.get("Location"))
            elif response.content_type == "text/html":
                fault = f"the answer is an HTML page: {server_message(await response.content.read(_ERROR_BODY))}"
            elif _is_stream(response.content_type, window.stream):
                exchange.streamed = True
                done = await _follow(response.content, exchange, window.now)
                exchange.ended_at = window.now()
                ended = done
                fault = stream_fault(exchange.frames, done)
                if done and response.connection is not None:
                    # The connection can be used again only once the last, empty HTTP chunk has been read.
                    with contextlib.suppress(asyncio.TimeoutError, aiohttp.ClientError, OSError):
                        await asyncio.wait_for(response.content.read(), _DRAIN_SECONDS)
            else:
                exchange.frames = [await response.read()]
                fault = body_fault(exchange.frames[0])
    except asyncio.CancelledError:
        if not window.stopping:
            raise
        if not ended:
            fault, outcome = "interrupted", "interrupted"
    except Exception as error:  # whatever goes wrong with one request is that request's result
        outcome, fault = connection_fault(error, seconds=window.timeout_seconds, chunks=len(exchange.frames))
        if (
            isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            and not window.connected.is_set()
        ):
            window.refusals += 1
            waited = window.now() - window.started_at
            if window.refusals >= _REFUSALS_TO_GIVE_UP or waited > _SECONDS_TO_GIVE_UP:
                window.gave_up = one_line(fault, window.secrets)
                window.closed.set()
    if not ended:
        exchange.ended_at = window.now()
    if fault is not None:
        exchange.error, exchange.outcome = one_line(fault, window.secrets), outcome
        exchange.frames = [without_secrets(frame, window.secrets) for frame in exchange.frames]


@contextlib.asynccontextmanager
async def _post(window: _Window, exchange: Exchange, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer's head has arrived when this is entered.

    A server may close a connection after an answer although it promised to keep it (llama.cpp does so after every
    stream). A request that met such a connection was read by nobody, and this shows within a round trip; it is sent
    again on another. One that breaks off later may have been worked on, so it has failed.
    """
    while True:
        reused: list[bool] = []
        exchange.sent_at = window.now()
        request = window.session.post(
            window.target, data=body, headers=window.headers, allow_redirects=False, trace_request_ctx=reused
        )
        try:
            response = await request
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            late = window.now() - exchange.sent_at > _CLOSED_BEFORE_SECONDS
            if late or not reused or isinstance(error, aiohttp.ClientConnectorError):
                raise
            exchange.num_resends += 1
            continue
        async with response:
            yield response
        return


async def _note_reuse(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
    """Notes in a request's own list that it goes over a kept connection."""
    context.trace_request_ctx.append(True)


async def _follow(content: aiohttp.StreamReader, exchange: Exchange, now: Callable[[], float]) -> bool:
    """Time-stamps and frames a stream until `[DONE]` or its end; whether `[DONE]` came."""
    frames, times = exchange.frames, exchange.chunk_times
    rest = b""
    while data := await content.readany():
        at = now()
        payloads, rest = split_events(rest + data if rest else data)
        for payload in payloads:
            if payload == DONE:
                return True
            frames.append(payload)
            times.append(at)
    at = now()
    for payload in last_events(rest):
        if payload == DONE:
            return True
        frames.append(payload)
        times.append(at)
    return False


def _record(window: _Window, index: int, exchange: Exchange) -> None:
    window.done[index].append(exchange)
    if window.on_exchange is not None:
        window.on_exchange(exchange)


async def _note_connection(connected: asyncio.Event, *_: object) -> None:
    connected.set()


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
