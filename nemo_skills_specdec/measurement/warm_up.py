"""Short requests before the window: they pay for what a server does only once, and show what its answers carry."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions
from nemo_skills_specdec.client.send import send_all
from nemo_skills_specdec.engines.fetch import public_url
from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.records import Message, PromptRow
from nemo_skills_specdec.retry_after import BUSY, LONGEST_WAIT_SECONDS

FEWEST = 4
MAX_TOKENS = 8
"""Enough to see whether answers carry statistics; a warm-up is to cost little beside the run."""
_SHORTEST_PAUSE_SECONDS = 0.05


def warm_up_requests(load: LoadOptions) -> int:
    """How many requests warm a server up for a load: as many as will be in flight.

    Engines compile kernels when they first see a batch of a size; with fewer requests the first batch of the window
    would pay for that.
    """
    return max(FEWEST, load.concurrency or FEWEST)


def warm_up(
    url: str, request: RequestOptions, load: LoadOptions, *, count: int | None, headers: Mapping[str, str]
) -> list[Exchange]:
    """Sends short requests, all at once, and gives back those that were answered.

    A server that asks to wait (`Retry-After` with 429 or 503) is asked again after that time.

    Args:
        request: as in the window, but for the length of the answers.
        count: of requests; None for as many as the load will have in flight.
        headers: sent with every request, e.g. `Authorization`.

    Raises:
        ServerError: not a single one was answered.
    """
    count = warm_up_requests(load) if count is None else count
    rows = [
        PromptRow(
            question_id=f"warm-up-{number}",
            category="warm-up",
            messages=[Message("user", f"Warm-up {number}: count from {number} to {number + 9}.")],
        )
        for number in range(count)
    ]
    request = msgspec.structs.replace(request, max_tokens=min(request.max_tokens or MAX_TOKENS, MAX_TOKENS))
    load = msgspec.structs.replace(load, concurrency=count, request_rate=None, max_seconds=None, order="given")
    answered: list[Exchange] = []
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        sent = send_all(rows, url=url, headers=headers, request=request, load=load)
        if sent.interrupted:
            raise KeyboardInterrupt
        errors = {exchange.question_id: exchange.error or read_answer(exchange).error for exchange in sent.exchanges}
        answered += [exchange for exchange in sent.exchanges if errors[exchange.question_id] is None]
        waits = {
            exchange.question_id: exchange.retry_after_seconds
            for exchange in sent.exchanges
            if exchange.status in BUSY and exchange.retry_after_seconds is not None
        }
        pause = max(waits.values(), default=None)
        if pause is None or time.monotonic() + pause > until:
            break
        time.sleep(max(pause, _SHORTEST_PAUSE_SECONDS))
        rows = [row for row in rows if row.question_id in waits]
    if not answered:
        raise ServerError(f"{public_url(url)} answered no request: {next(iter(errors.values()))}")
    return answered
