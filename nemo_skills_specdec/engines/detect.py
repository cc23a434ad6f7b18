"""What is this server: engine, version, models, speculation, and which sources of acceptance it offers.

Only white-listed fields are taken from what a server says about itself: SGLang's server info holds API keys, passwords
and the launch command, so nothing else of it is kept, not even for an error message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from ssl import SSLContext
from typing import Any
from urllib.parse import quote

from nemo_skills_specdec.engines import remarks
from nemo_skills_specdec.engines.base import Ask, EngineName, ServerInfo, text_or_none
from nemo_skills_specdec.engines.fetch import Fetched, base_url, fetch, key_refused, public_url
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.engines.scrape import entries, loaded_models, take_snapshot
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import ServerError, UsageError
from nemo_skills_specdec.records import Finding

Asking = Callable[[str], Fetched]
"""GETs a URL; knows with which key to ask, how long to wait, and whom to trust."""


def detect(
    url: str,
    metrics_urls: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    server_type: EngineName | None = None,
    timeout: float = 10.0,
    *,
    tls: SSLContext | None = None,
) -> ServerInfo:
    """Asks a server what it is. Sends no prompt, so nothing is counted.

    Args:
        metrics_urls: metrics endpoints, where they are not the server's own `/metrics`.
        headers: sent to the server and to the metrics endpoints, such as `bearer(key)`.
        server_type: the engine, for routers that hide it.
        timeout: seconds for each question.
        tls: how certificates are checked; by default as `tls_context()` does.

    Raises:
        ServerError: the server cannot be reached, wants another key, or is no inference server.
    """
    if server_type is not None and server_type not in ENGINES:
        raise UsageError(f"the server type {server_type!r} is unknown; give one of {', '.join(ENGINES)}")
    root = base_url(url)
    asking = partial(fetch, headers=headers, timeout=timeout, tls=tls)
    listing = asking(f"{root}/v1/models")
    problem = listing.error or key_refused(listing)
    if problem is not None:
        raise ServerError(problem)
    models = entries(listing.json())
    snapshots = [take_snapshot(item, headers, timeout, tls=tls) for item in metrics_urls or (root,)]
    ask = _ask(root, asking, models, snapshots)
    engine = server_type or _engine(ask, snapshots)
    names = [item["id"] for item in models if isinstance(item.get("id"), str)]
    if engine is None and not names:
        raise ServerError(_no_server(listing))
    info = ServerInfo(engine=engine, base_url=public_url(root), models=names)
    if engine is None:
        info.findings.append(_hidden(["engine", "version", "speculation", "metrics"]))
        return info
    module = ENGINES[engine]
    own = [item.samples for item in snapshots if item.error is None and module.FACTS.namespace in item.samples.prefixes]
    module.describe(info, Ask(get=ask.get, samples=own, models=models))
    info.findings += remarks.other_prefixes(own, module.FACTS)
    if info.speculation == "unknown":
        lacking = next((samples for samples in own if not remarks.is_whole(samples, module.FACTS)), None)
        info.findings += [remarks.speculation_unknown(lacking, module.FACTS)] if lacking is not None else []
    hidden = ["version"] * (info.version is None) + ["metrics"] * (not own)
    if info.speculation == "unknown" and len(hidden) == 2:
        info.findings.append(_hidden([*hidden, "speculation"]))
    if metrics_urls:
        info.findings += _mixed(info, metrics_urls, snapshots, asking)
    info.offers = module.offers(info, own, next((item.error for item in snapshots if item.error is not None), ""))
    return info


def _ask(root: str, asking: Asking, models: Sequence[Mapping[str, Any]], snapshots: Sequence[Snapshot]) -> Ask:
    """Questions to one server, each path asked once; a router of llama.cpp is asked for its only loaded model."""
    loaded = loaded_models(models)
    query = f"model={quote(loaded[0], safe='')}" if len(loaded) == 1 else ""

    @cache
    def get(path: str) -> Any:
        joint = "&" if "?" in path else "?"
        return asking(f"{root}{path}{joint + query if query else ''}").json()

    return Ask(get=get, samples=[item.samples for item in snapshots if item.error is None], models=models)


def _engine(ask: Ask, snapshots: Sequence[Snapshot]) -> EngineName | None:
    owners = {str(item.get("owned_by", "")).lower() for item in ask.models}
    named = [name for name, module in ENGINES.items() if owners & set(module.FACTS.owners)]
    by_series = [item.engine for item in snapshots if item.engine is not None]
    found = [*named, *by_series]
    return found[0] if found else next((name for name, module in ENGINES.items() if module.answers_to(ask)), None)


def _mixed(
    info: ServerInfo, metrics_urls: Sequence[str], snapshots: Sequence[Snapshot], asking: Asking
) -> list[Finding]:
    """Findings if the engines behind a router differ, or if some of them are not to be seen.

    Each metrics endpoint is taken for an engine, and asked what it is.
    """
    assert info.engine is not None
    module = ENGINES[info.engine]
    told: dict[str, dict[str, None]] = {"version": {}, "model": {}, "draft length": {}, "method": {}}
    for url, snapshot in zip(metrics_urls, snapshots, strict=True):
        if snapshot.error is not None or snapshot.engine != info.engine:
            continue
        root = base_url(url)
        models = entries(asking(f"{root}/v1/models").json())
        one = ServerInfo(engine=info.engine, base_url=public_url(root))
        module.describe(one, _ask(root, asking, models, [snapshot]))
        figures = {
            "version": one.version,
            "model": text_or_none(models[0].get("id")) if models else None,
            "draft length": str(one.draft_length) if one.draft_length is not None else None,
            "method": one.method,
        }
        for name, value in figures.items():
            told[name].update({value: None} if value is not None else {})
    different = {name: list(values) for name, values in told.items() if len(values) > 1}
    if not different:
        return []
    what = "; ".join(f"{name} {', '.join(values)}" for name, values in different.items())
    return [
        Finding(
            code="mixed_configurations",
            severity="warning",
            message=f"The engines behind these metrics URLs differ ({what}), and their counts are added up; measure "
            "those of one configuration.",
            numbers={name.replace(" ", "_"): ", ".join(values) for name, values in different.items()},
        )
    ]


def _hidden(what: Sequence[str]) -> Finding:
    """The finding for a server that tells little of itself, as routers and gateways do."""
    return Finding(
        code="router_hides",
        severity="warning",
        message=f"This server hides its {', '.join(what)}, as routers do; give the metrics of every engine behind it "
        "with --metrics-url, and the kind of engine with --server-type.",
        numbers={"hidden": ", ".join(what)},
    )


def _no_server(listing: Fetched) -> str:
    return (
        f"{listing.url} lists no model (HTTP status {listing.status}): this is not an inference server with an "
        "OpenAI-compatible API; is the URL right? For a router, give --server-type"
    )
