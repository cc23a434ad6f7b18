"""Short requests before the window: they pay for what a server does only once, and show what its answers carry."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions
from nemo_skills_specdec.client.send import send_all
from nemo_skills_specdec.engines.fetch import public_url
from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.records import Message, PromptRow

FEWEST = 4
MAX_TOKENS = 8
"""Enough to see whether answers carry statistics; a warm-up is to cost little beside the run."""


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

    Args:
        request: as in the window, but for the length of the answers.
        count: of requests; None for as many as the load will have in flight.
        headers: sent with every request, e.g. `Authorization`.

    Raises:
        ServerError: not a single one was answered.
    """
    count = warm_up_requests(load) if count is None else count
    sent = send_all(
        [
            PromptRow(
                question_id=f"warm-up-{number}",
                category="warm-up",
                messages=[Message("user", f"Warm-up {number}: count from {number} to {number + 9}.")],
            )
            for number in range(count)
        ],
        url=url,
        headers=headers,
        request=msgspec.structs.replace(request, max_tokens=min(request.max_tokens or MAX_TOKENS, MAX_TOKENS)),
        load=msgspec.structs.replace(load, concurrency=count, request_rate=None, max_seconds=None, order="given"),
    )
    if sent.interrupted:
        raise KeyboardInterrupt
    errors = [exchange.error or read_answer(exchange).error for exchange in sent.exchanges]
    if all(error is not None for error in errors):
        raise ServerError(f"{public_url(url)} answered no request: {errors[0]}")
    return [exchange for exchange, error in zip(sent.exchanges, errors, strict=True) if error is None]
