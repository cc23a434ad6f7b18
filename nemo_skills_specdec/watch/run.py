"""The watch itself: look, take into the session, tell, wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ssl import SSLContext

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.engines.base import EngineName, ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.fetch import public_url
from nemo_skills_specdec.engines.scrape import take_snapshot
from nemo_skills_specdec.errors import ServerError, UsageError
from nemo_skills_specdec.watch.alarm import Alarm, Breach, RecentRounds, breach_of
from nemo_skills_specdec.watch.figures import WatchFigures, add_up
from nemo_skills_specdec.watch.recording import Line, WatchEnd, WatchStart
from nemo_skills_specdec.watch.replica import EventKind, WatchEvent
from nemo_skills_specdec.watch.session import (
    Look,
    Round,
    Session,
    WatchedEndpoint,
    endpoint_name,
    observe,
    replica_figures,
)

_ANEW: tuple[EventKind, ...] = ("restarted", "replaced", "joined", "back")
"""After these a server may be another, so it is asked again what it is."""


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch and for how long.

    Attributes:
        seconds: length of the watch; None for no end.
        every: seconds between two looks.
        headers: sent with each look, such as `bearer(key)`.
        tls: how certificates are checked; by default as `tls_context()` does.
    """

    urls: Sequence[str]
    every: float = 5.0
    seconds: float | None = None
    alarm: Alarm | None = None
    headers: Mapping[str, str] = {}
    tls: SSLContext | None = None


class ReplicaResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica did while it was watched.

    Attributes:
        seconds: over how long it was counted: without the times that a restart or a gap cost.
    """

    replica: str
    engine: EngineName
    seconds: float
    figures: WatchFigures


class WatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a watch amounts to.

    Attributes:
        seconds: from the first look to the last.
        total: of all replicas together.
        breach: what the alarm found; None if nothing, or without one.
    """

    started_at: float
    seconds: float
    total: WatchFigures
    replicas: list[ReplicaResult]
    events: list[WatchEvent]
    breach: Breach | None = None


def watch(
    options: WatchOptions,
    *,
    show: Callable[[Round, WatchResult], None],
    keep: Callable[[Line], None],
    stop: threading.Event,
) -> WatchResult:
    """Watches until it is time, until `stop` is set, or until an alarm over the last minutes goes off.

    Sends no prompt: looks at `/metrics`, and asks a server once, and again when it is another, what it is.

    Args:
        show: told each round, and the result so far.
        keep: given each line of the recording.
        stop: ends the watch after one more look.

    Raises:
        UsageError: one URL is given twice.
        ServerError: none of the URLs gives metrics.
    """
    urls = list(options.urls)
    names = [endpoint_name(url) for url in urls]
    if len(set(names)) < len(names):
        raise UsageError("a URL is given twice; give every server once")
    session: Session = {url: WatchedEndpoint(name=name) for url, name in zip(urls, names, strict=True)}
    with ThreadPoolExecutor(len(urls), thread_name_prefix="look") as pool:
        looks = _looks(options, pool)
        if all(look.snapshot.error is not None for look in looks.values()):
            raise ServerError(str(next(iter(looks.values())).snapshot.error))
        started = max(look.at for look in looks.values())
        keep(
            WatchStart(
                at=started, version=__version__, interval_seconds=options.every, urls=[public_url(url) for url in urls]
            )
        )
        recent = RecentRounds(options.alarm, started) if options.alarm is not None else None
        events: list[WatchEvent] = []
        next_at = time.monotonic()
        while True:
            latest = observe(session, looks)
            events += latest.events
            lines: list[Line] = [*latest.events, *latest.intervals]
            for line in lines:
                keep(line)
            _ask_again(session, latest, options, pool)
            result = _result(session, started, latest.at, events)
            breach = recent.take(latest) if recent is not None else None
            show(latest, result)
            over = options.seconds is not None and latest.at - started >= options.seconds - 1e-3
            if over or stop.is_set() or breach is not None:
                break
            next_at += options.every
            left = options.seconds - (latest.at - started) if options.seconds is not None else options.every
            stop.wait(max(min(next_at - time.monotonic(), left), 0.0))
            next_at = max(next_at, time.monotonic())
            looks = _looks(options, pool)
        keep(WatchEnd(at=latest.at))
    if options.alarm is not None and options.alarm.within is None:
        breach = breach_of(options.alarm, result.total, result.seconds)
    return msgspec.structs.replace(result, breach=breach)


def _looks(options: WatchOptions, pool: ThreadPoolExecutor) -> dict[str, Look]:
    def look(url: str) -> Look:
        snapshot = take_snapshot(url, options.headers, tls=options.tls)
        return Look(at=_EPOCH + time.monotonic(), snapshot=snapshot)

    return dict(zip(options.urls, pool.map(look, options.urls), strict=True))


_EPOCH = time.time() - time.monotonic()


def _ask_again(session: Session, latest: Round, options: WatchOptions, pool: ThreadPoolExecutor) -> None:
    """Asks the servers that may be others than before what they are; unknown where they do not say."""

    def ask(url: str) -> ServerInfo | None:
        try:
            return detect(url, (url,), options.headers, timeout=5.0, tls=options.tls)
        except ServerError:
            return None

    changed = {event.replica for event in latest.events if event.kind in _ANEW}
    urls = [
        url
        for url, endpoint in session.items()
        if endpoint.name in changed or any(state.name in changed for state in endpoint.replicas.values())
    ]
    for url, info in zip(urls, pool.map(ask, urls), strict=True):
        session[url].info = info


def _result(session: Session, started: float, at: float, events: Sequence[WatchEvent]) -> WatchResult:
    replicas = [
        ReplicaResult(replica=name, engine=state.engine, seconds=state.seconds, figures=figures)
        for name, (state, figures) in replica_figures(session).items()
    ]
    return WatchResult(
        started_at=started,
        seconds=at - started,
        total=add_up(one.figures for one in replicas) if replicas else WatchFigures(),
        replicas=replicas,
        events=list(events),
    )
