"""One short request, to see whether answers carry statistics of acceptance: no other way tells."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from nemo_skills_specdec.engines.base import ServerInfo, decoded, offer
from nemo_skills_specdec.engines.fetch import base_url
from nemo_skills_specdec.engines.registry import response_reader
from nemo_skills_specdec.errors import IdentityError

_PROMPT = "Count: 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4"
_MAX_TOKENS = 16


def probe_responses(info: ServerInfo, url: str, headers: Mapping[str, str], timeout: float = 60.0) -> None:
    """Sends one chat completion and settles, in `info.offers`, whether the source `response` is there.

    An answer that carries no statistics settles it only if it has more than one token. The request is counted by the
    server, so this must not happen inside a window.
    """
    reader = response_reader(info.engine)
    unsettled = any(item.source == "response" and item.available is None for item in info.offers)
    if reader is None or not unsettled or not info.models or info.speculation == "off":
        return
    body = {
        "model": info.models[0],
        "messages": [{"role": "user", "content": _PROMPT}],
        "max_tokens": _MAX_TOKENS,
        "temperature": 0,
        **reader.request_extras(stream=False, info=info),
    }
    try:
        answer = requests.post(
            f"{base_url(url)}/v1/chat/completions",
            json=body,
            headers=dict(headers),
            timeout=timeout,
            allow_redirects=False,
        )
        response = decoded(answer.content) if answer.status_code == 200 else None
        if not isinstance(response, dict):
            return
        found = reader.request_counts(response, info) is not None
    except (requests.exceptions.RequestException, IdentityError):
        return
    info.offers = [
        offer(item.source, found, item.gives, uses=item.uses, cure=item.cure)
        if item.source == "response" and item.available is None
        else item
        for item in info.offers
    ]
