"""All replicas over time: one round of readings after the other."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import msgspec

from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.reading import no_engine_series
from nemo_skills_specdec.engines.registry import recognise_engine
from nemo_skills_specdec.engines.replicas import split_replicas
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.watch.figures import WatchFigures, add_up
from nemo_skills_specdec.watch.replica import (
    Observed,
    ReplicaState,
    WatchEvent,
    WatchInterval,
    advance,
    counted_so_far,
)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one endpoint.

    Attributes:
        at: seconds since the epoch, by a clock that never jumps.
    """

    at: float
    snapshot: Snapshot


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at every endpoint showed.

    Attributes:
        at: the latest of them, in seconds since the epoch.
        intervals: one of each replica that could be compared with its latest reading.
        total: the sum of the intervals.
    """

    at: float
    intervals: list[WatchInterval]
    events: list[WatchEvent]
    total: WatchFigures


class WatchedEndpoint(msgspec.Struct, kw_only=True):
    """One URL that is watched.

    Attributes:
        info: what the server says about itself; None where it does not.
        unreachable_since: seconds since the epoch; None while it gives metrics.
    """

    name: str
    info: ServerInfo | None = None
    unreachable_since: float | None = None
    replicas: dict[str, ReplicaState] = {}


Session = dict[str, WatchedEndpoint]
"""What is watched, by URL."""


def endpoint_name(url: str) -> str:
    """A URL in short: host, port, the path where it is not the usual one, and the model that a router is asked for."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    path = parts.path.removesuffix("/metrics").removesuffix("/v1").rstrip("/")
    model = parse_qs(parts.query).get("model", [""])[0]
    return f"{parts.netloc.rpartition('@')[2]}{path} {model}".strip()


def observe(session: Session, looks: Mapping[str, Look]) -> Round:
    """Takes one look at every endpoint into the session."""
    intervals: list[WatchInterval] = []
    events: list[WatchEvent] = []
    for url, look in looks.items():
        endpoint = session[url]
        problem = look.snapshot.error or _no_samples(look.snapshot)
        if problem is not None:
            if endpoint.unreachable_since is None:
                endpoint.unreachable_since = look.at
                events.append(WatchEvent(at=look.at, replica=endpoint.name, kind="unreachable", message=problem))
            continue
        if endpoint.unreachable_since is not None:
            away = f"after {look.at - endpoint.unreachable_since:.0f} s"
            events.append(WatchEvent(at=look.at, replica=endpoint.name, kind="back", message=away))
            endpoint.unreachable_since = None
        _take(endpoint, look, intervals, events)
    total = add_up(interval.figures for interval in intervals) if intervals else WatchFigures()
    return Round(at=max(look.at for look in looks.values()), intervals=intervals, events=events, total=total)


def replica_figures(session: Session) -> dict[str, tuple[ReplicaState, WatchFigures]]:
    """Each replica by its name, and what it counted so far."""
    return {
        state.name: (state, counted_so_far(state, endpoint.info))
        for endpoint in session.values()
        for state in endpoint.replicas.values()
    }


def _take(endpoint: WatchedEndpoint, look: Look, intervals: list[WatchInterval], events: list[WatchEvent]) -> None:
    samples = look.snapshot.samples
    engine = recognise_engine(samples)
    assert engine is not None
    shown = split_replicas(samples, engine)
    for label, own in shown.items():
        name = f"{endpoint.name} {label}".strip()
        now = Observed(at=look.at, samples=own)
        state = endpoint.replicas.get(label)
        if state is None or state.engine != engine:
            endpoint.replicas[label] = ReplicaState(name=name, engine=engine, first=now, last=now)
            events.append(WatchEvent(at=look.at, replica=name, kind="joined", message=engine))
            continue
        if not state.present:
            events.append(WatchEvent(at=look.at, replica=name, kind="back"))
        step = advance(state, now, endpoint.info)
        endpoint.replicas[label] = step.state
        intervals += [step.interval] if step.interval is not None else []
        events += [step.event] if step.event is not None else []
    for label, state in endpoint.replicas.items():
        if state.present and label not in shown:
            endpoint.replicas[label] = msgspec.structs.replace(state, present=False)
            events.append(WatchEvent(at=look.at, replica=state.name, kind="left"))


def _no_samples(snapshot: Snapshot) -> str | None:
    parsed = snapshot.parsed
    if not isinstance(parsed, Samples):
        return str(parsed)
    return None if snapshot.engine is not None else f"{snapshot.url} {no_engine_series(parsed)}"
