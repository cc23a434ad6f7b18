"""One replica over time: what each new reading adds, and what a restart costs."""

from __future__ import annotations

from typing import Literal

import msgspec

from nemo_skills_specdec.engines.base import CounterReading, EngineName, ServerInfo
from nemo_skills_specdec.engines.exposition import START_TIME, Samples
from nemo_skills_specdec.engines.reading import read_samples
from nemo_skills_specdec.watch.figures import WatchFigures, add_up, figures_of_reading

EventKind = Literal["joined", "restarted", "replaced", "unusable", "unreachable", "back", "left"]
"""What can happen to a replica besides counting.

`joined`: seen for the first time. `restarted`: its process or its counters began anew. `replaced`: an older process
answers in its place, as behind a load balancer. `unusable`: its counters cannot be compared with those before.
`unreachable`: it gave no metrics. `back`: it gives some again. `left`: its series are gone from the endpoint.
"""

_RESTARTS = ("process_restarted", "counters_decreased")
_NOT_COMPARABLE = ("missing_label_set", "missing_before", "not_a_count")


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """Something that happened to a replica, or to an endpoint with all its replicas.

    Attributes:
        at: seconds since the epoch.
        message: what to know of it, in words; may be empty.
    """

    at: float
    replica: str
    kind: EventKind
    message: str = ""


class WatchInterval(msgspec.Struct, frozen=True, kw_only=True, tag="interval"):
    """What one replica counted between two readings.

    Attributes:
        at: its end, in seconds since the epoch.
        seconds: its length.
        in_flight: requests running or waiting at its end.
        findings: codes of what is to be said about the figures.
    """

    at: float
    seconds: float
    replica: str
    engine: EngineName
    figures: WatchFigures
    in_flight: int | None = None
    findings: tuple[str, ...] = ()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one replica at one instant."""

    at: float
    samples: Samples


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one replica.

    Attributes:
        first: the reading with which the time begins over which its counters can be compared.
        last: the latest reading.
        before: what it counted in earlier such times.
        seconds_before: how long they were together.
        present: whether the latest look at its endpoint showed it.
    """

    name: str
    engine: EngineName
    first: Observed
    last: Observed
    before: tuple[WatchFigures, ...] = ()
    seconds_before: float = 0.0
    present: bool = True

    @property
    def seconds(self) -> float:
        """For how long it has been counted."""
        return self.seconds_before + self.last.at - self.first.at


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """A replica after one more reading, and what came with it: an interval, or why there is none."""

    state: ReplicaState
    interval: WatchInterval | None = None
    event: WatchEvent | None = None


def advance(state: ReplicaState, now: Observed, info: ServerInfo | None) -> Advance:
    """Reads the counters between the latest reading and a new one.

    Where they cannot be compared, the time between the two is lost, and counting begins anew with the new one.
    """
    reading = read_samples([state.last.samples], [now.samples], info, state.engine)
    broken = _break(reading, state.last.samples, now.samples)
    if broken is not None:
        kind, message = broken
        lost = now.at - state.last.at
        event = WatchEvent(
            at=now.at, replica=state.name, kind=kind, message=f"{message}; {lost:.0f} s are not counted".lstrip("; ")
        )
        return Advance(state=_anew(state, now, info), event=event)
    interval = WatchInterval(
        at=now.at,
        seconds=now.at - state.last.at,
        replica=state.name,
        engine=state.engine,
        figures=figures_of_reading(reading),
        in_flight=reading.traffic.busy_after,
        findings=tuple(dict.fromkeys(finding.code for finding in reading.findings)),
    )
    return Advance(state=msgspec.structs.replace(state, last=now, present=True), interval=interval)


def counted_so_far(state: ReplicaState, info: ServerInfo | None) -> WatchFigures:
    """What the replica counted while it was watched, but for the times that were lost."""
    return add_up(_stretches(state, info))


def _stretches(state: ReplicaState, info: ServerInfo | None) -> list[WatchFigures]:
    if state.first is state.last:
        return list(state.before) or [WatchFigures()]
    reading = read_samples([state.first.samples], [state.last.samples], info, state.engine)
    return [*state.before, figures_of_reading(reading)]


def _anew(state: ReplicaState, now: Observed, info: ServerInfo | None) -> ReplicaState:
    if state.first is not state.last:
        state = msgspec.structs.replace(state, before=tuple(_stretches(state, info)), seconds_before=state.seconds)
    return msgspec.structs.replace(state, first=now, last=now, present=True)


def _break(reading: CounterReading, old: Samples, new: Samples) -> tuple[EventKind, str] | None:
    """Why the counters before and after cannot be compared, if they cannot."""
    codes = {finding.code for finding in reading.findings}
    if codes.intersection(_RESTARTS):
        return ("replaced", "an older process answers") if _birth(new) < _birth(old) else ("restarted", "")
    finding = next((finding for finding in reading.findings if finding.code in _NOT_COMPARABLE), None)
    return ("unusable", str(finding.numbers.get("series"))) if finding is not None else None


def _birth(samples: Samples) -> float:
    return max(samples.series.get(START_TIME, {}).values(), default=0.0)
