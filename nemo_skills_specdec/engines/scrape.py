"""One GET of a metrics endpoint gives a snapshot, or why there is none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from ssl import SSLContext
from typing import Any
from urllib.parse import quote

import msgspec

from nemo_skills_specdec.engines.base import decoded, part_of
from nemo_skills_specdec.engines.fetch import Fetched, base_url, fetch, key_refused, metrics_url, public_url
from nemo_skills_specdec.engines.reading import no_engine_series
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError, UsageError

_OTHER_PATHS = sorted({module.FACTS.metrics_path for module in ENGINES.values()} - {"/metrics"})


def take_snapshot(
    url: str, headers: Mapping[str, str] | None = None, timeout: float = 10.0, *, tls: SSLContext | None = None
) -> Snapshot:
    """Scrapes one metrics endpoint. This never raises: why there are no metrics stands in the snapshot's `error`.

    A router of llama.cpp answers only for a named model; the only one that it has loaded is asked for. Where a server
    has a list of JSON at `/metrics`, its metrics are looked for where other engines have theirs.

    Args:
        url: the server, or its metrics endpoint (see `metrics_url`).
        headers: sent to the endpoint, such as `bearer(key)`.
        timeout: seconds for the whole exchange.
        tls: how certificates are checked; by default as `tls_context()` does.
    """
    try:
        address = metrics_url(url)
        fetched = fetch(address, headers, timeout, tls=tls)
        if _wants_model(fetched):
            models = loaded_models(entries(fetch(f"{base_url(url)}/v1/models", headers, timeout, tls=tls).json()))
            if len(models) != 1:
                fetched = Fetched(url=fetched.url, status=fetched.status, error=_which_model(fetched.url, models))
            else:
                fetched = fetch(f"{address}?model={quote(models[0], safe='')}", headers, timeout, tls=tls)
        elif fetched.status == 200 and fetched.text.lstrip().startswith("["):
            # Where an engine has something else at this path, its metrics are at another.
            elsewhere = [fetch(f"{base_url(url)}{path}", headers, timeout, tls=tls) for path in _OTHER_PATHS]
            fetched = next((found for found in elsewhere if found.status == 200), fetched)
    except UsageError as error:
        fetched = Fetched(url=public_url(url), error=str(error))
    problem = fetched.error or _status_problem(fetched)
    snapshot = Snapshot(url=fetched.url, taken_at=time.time(), status=fetched.status, text=fetched.text, error=problem)
    if problem is not None:
        return snapshot
    # Parsed here, so that the snapshot that is returned carries its samples.
    try:
        told = None if snapshot.samples.prefixes else f"{snapshot.url} {no_engine_series(snapshot.samples)}"
    except DataError as error:
        told = str(error)
    return snapshot if told is None else msgspec.structs.replace(snapshot, error=told)


def entries(listing: Any) -> list[dict[str, Any]]:
    """What `/v1/models` lists."""
    data = listing.get("data") if isinstance(listing, dict) else None
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def loaded_models(models: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of those models that llama.cpp's router has loaded."""
    loaded = [item for item in models if part_of(item, "status").get("value") == "loaded"]
    return [item["id"] for item in loaded if isinstance(item.get("id"), str)]


def _wants_model(fetched: Fetched) -> bool:
    """Whether this is llama.cpp's router, which answers 400 where the query names no model."""
    message = part_of(decoded(fetched.text), "error").get("message") if fetched.status == 400 else None
    return isinstance(message, str) and "model name is missing" in message


def _which_model(url: str, models: list[str]) -> str:
    loaded = f"it has loaded {', '.join(models)}" if models else "it has loaded none yet"
    return (
        f"{url} is that of llama.cpp's router, which serves the metrics of one model at a time, and {loaded}; give "
        f"the one that is measured as --metrics-url '{url}?model=NAME'"
    )


def _status_problem(fetched: Fetched) -> str | None:
    refused = key_refused(fetched)
    if refused is not None:
        return refused
    flags = ", ".join(
        f"{module.FACTS.title} with {module.FACTS.metrics_flag}"
        for module in ENGINES.values()
        if module.FACTS.metrics_flag is not None
    )
    if fetched.status == 404:
        return f"{fetched.url} does not exist (404): start {flags}; or is it another port? (--metrics-url)"
    if fetched.status == 501:
        return f"{fetched.url} is switched off (501): start {flags}"
    if fetched.status != 200:
        return f"{fetched.url} answers with HTTP status {fetched.status} instead of metrics; check the server's log"
    return None
