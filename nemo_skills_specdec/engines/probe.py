"""One short request, to see whether answers carry statistics of acceptance, and of which engine: no other way tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import Any

import msgspec

from nemo_skills_specdec.engines.base import EngineName, ServerInfo, offer
from nemo_skills_specdec.engines.fetch import base_url, fetch
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.errors import IdentityError

_PROMPT = "Count: 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4"
_MAX_TOKENS = 16


def probe_responses(
    info: ServerInfo, url: str, headers: Mapping[str, str], timeout: float = 60.0, *, tls: SSLContext | None = None
) -> None:
    """Sends one chat completion where something is open that only an answer tells, and settles it in `info`.

    That is whether the source `response` is there, and the engine itself where a router hides it but lets its
    statistics through. An answer without statistics settles it only if it has more than one token. The request is
    counted by the server, so this must not happen inside a window.
    """
    unsettled = info.engine is None or any(item.source == "response" and item.available is None for item in info.offers)
    if not unsettled or not info.models or info.speculation == "off":
        return
    asked = [info.engine] if info.engine is not None else list(ENGINES)
    response = _ask(info, asked, base_url(url), headers, timeout, tls)
    if response is None:
        return
    try:
        found = next((name for name in asked if ENGINES[name].request_counts(response, info) is not None), None)
    except IdentityError:
        return
    if info.engine is None and found is not None:
        info.engine, info.speculation = found, "on"
        info.offers = ENGINES[found].offers(info, [], "the server hides its metrics; give each engine's --metrics-url")
    info.offers = [
        offer(item.source, found is not None, item.gives, uses=item.uses, cure=item.cure)
        if item.source == "response" and item.available is None
        else item
        for item in info.offers
    ]


def _ask(
    info: ServerInfo,
    engines: Sequence[EngineName],
    root: str,
    headers: Mapping[str, str],
    timeout: float,
    tls: SSLContext | None,
) -> dict[str, Any] | None:
    """The answer to a short request that asks for the statistics of some engines; None if there is none."""
    body: dict[str, Any] = {
        "model": info.models[0],
        "messages": [{"role": "user", "content": _PROMPT}],
        "max_tokens": _MAX_TOKENS,
        "temperature": 0,
    }
    for name in engines:
        body |= ENGINES[name].request_extras(stream=False, info=info)
    answer = fetch(f"{root}/v1/chat/completions", headers, timeout, body=msgspec.json.encode(body), tls=tls).json()
    return answer if isinstance(answer, dict) else None
