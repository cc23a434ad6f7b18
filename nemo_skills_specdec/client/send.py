"""Sends prompts to a server and times what comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from nemo_skills_specdec.client.body import body_writer, encode_turns, turn_body
from nemo_skills_specdec.client.clock import epoch_clock
from nemo_skills_specdec.client.endpoint import endpoint_url, read_endpoint, request_bytes
from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions, Sent
from nemo_skills_specdec.client.interrupt import first_signal
from nemo_skills_specdec.client.limits import answer_limit, connections_allowed, quick_reactions
from nemo_skills_specdec.client.loop import ClientLoop
from nemo_skills_specdec.client.schedule import schedule
from nemo_skills_specdec.client.turn import Work
from nemo_skills_specdec.records import PromptRow
from nemo_skills_specdec.redaction import secrets_of
from nemo_skills_specdec.tls import tls_context


def send_all(
    rows: Sequence[PromptRow],
    *,
    url: str,
    headers: Mapping[str, str] | None = None,
    request: RequestOptions,
    load: LoadOptions,
    on_exchange: Callable[[Exchange], None] | None = None,
    keep: bool = True,
    stop: threading.Event | None = None,
) -> Sent:
    """Sends all prompts, turn by turn, and blocks until all is over.

    The turns of a conversation follow one another with the model's own answers in between (its reasoning is not fed
    back). If a turn fails, the later turns of that conversation are recorded as failed without being sent. Requests are
    never repeated, but for those that met a kept connection which the server had closed. If nothing at the address
    accepts a connection, no further conversation is started. Every failure ends up in `Exchange.error`, none is raised.

    Ctrl-C (or SIGTERM, as batch systems send it before they kill, or SIGHUP, of a terminal that closes) stops sending,
    aborts what is in flight and returns everything so far with `interrupted` set; a second one acts as if this function
    did nothing about it.

    Args:
        url: the server's address, with or without `/v1`.
        headers: sent with every request, e.g. `Authorization`; their values appear in no message.
        on_exchange: called as soon as a request is over, failed or not, always in one and the same other thread. What
            it raises ends the run and is raised here.
        keep: whether `Sent.exchanges` is wanted; otherwise memory does not grow with the number of answers.
        stop: once set, has the same effect as Ctrl-C.

    Raises:
        UsageError: the address or the options are wrong; nothing has been sent then.
    """
    endpoint = read_endpoint(endpoint_url(url, request.api), headers or {}, proxy_from_env=load.proxy_from_env)
    writer = body_writer(request)
    turns = [encode_turns(writer, row) for row in rows]
    starts = schedule([row.category for row in rows], load)
    wanted = min(len(starts), load.concurrency or len(starts))
    places = connections_allowed(wanted)
    stop = stop or threading.Event()
    work = Work(
        endpoint=endpoint,
        context=tls_context(load.ca_file, insecure=load.insecure) if endpoint.secure else None,
        rows=rows,
        turns=turns,
        writer=writer,
        requests=[request_bytes(endpoint, turn_body(writer, parts, ())) for parts in turns],
        starts=starts,
        places=places,
        secrets=secrets_of([url], headers, [request.extra_body]),
        streamed=request.extra_body.get("stream", request.stream) is True,
        timeout_seconds=load.timeout_seconds,
        max_seconds=load.max_seconds if load.max_seconds is not None else float("inf"),
        answer_limit=answer_limit(request),
    )
    clock = epoch_clock()
    loop = ClientLoop(work, clock, stop, on_exchange, keep=keep)
    with first_signal(stop.set), quick_reactions():
        interrupted = loop.run()
    return Sent(
        exchanges=[exchange for group in loop.finisher.done for exchange in group],
        not_sent=[row.question_id for row, started in zip(rows, loop.pacer.started, strict=True) if not started],
        interrupted=interrupted,
        gave_up=loop.gave_up,
        started_at=loop.pacer.started_at,
        ended_at=loop.ended_at,
        lateness=loop.lateness.delays(),
        kernel_times=loop.kernel_times,
        dispatch=loop.dispatch.delays(),
        lowered_concurrency=loop.pool.lowered if places == wanted else places,
    )
