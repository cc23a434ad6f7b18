"""Snapshots at both ends of a window: taken, settled, and read together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ssl import SSLContext

import msgspec

from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.scrape import take_snapshot
from nemo_skills_specdec.engines.snapshot import Snapshot

SETTLE_SECONDS = 0.2
"""Between two readings that must agree. Engines publish after the last response, typically within milliseconds."""
SETTLE_TIMEOUT_SECONDS = 5.0


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The snapshots at both ends of a window, one of each per metrics endpoint, in the same order.

    Several windows of one server are one `Window` whose lists are those of all, one after the other: a window is to the
    next what one endpoint is to another, since differences are taken in each and then added.
    """

    before: list[Snapshot]
    after: list[Snapshot]


def take_snapshots(urls: Sequence[str], headers: Mapping[str, str], tls: SSLContext | None = None) -> list[Snapshot]:
    """One snapshot of every metrics endpoint, in the order given."""
    return [take_snapshot(url, headers, tls=tls) for url in urls]


def take_settled_snapshots(
    urls: Sequence[str], headers: Mapping[str, str], info: ServerInfo | None, tls: SSLContext | None = None
) -> list[Snapshot]:
    """Snapshots at either end of a window, re-read until nothing was counted between two and nothing is running.

    Gives up after `SETTLE_TIMEOUT_SECONDS` and returns the last: then the traffic accounting says what is wrong.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    last = take_snapshots(urls, headers, tls)
    while True:
        time.sleep(SETTLE_SECONDS)
        snapshots = take_snapshots(urls, headers, tls)
        since = read_window(last, snapshots, info)
        counted = since.traffic.generation_tokens or (since.counts is not None and since.counts.num_drafts)
        if not (counted or since.traffic.busy_after) or time.monotonic() > deadline:
            return snapshots
        last = snapshots


def one_after_the_other(windows: Sequence[Window]) -> Window | None:
    """Several windows as one; None without any."""
    if not windows:
        return None
    return Window(
        before=[snapshot for window in windows for snapshot in window.before],
        after=[snapshot for window in windows for snapshot in window.after],
    )


def reading_of(window: Window | None, info: ServerInfo | None) -> CounterReading | None:
    """What the counters say about a window; None without one."""
    return read_window(window.before, window.after, info) if window is not None and window.after else None
