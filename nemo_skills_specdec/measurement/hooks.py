"""How a measurement is watched and kept while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.records import RequestRecord


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Which end of which window snapshots belong to.

    Attributes:
        category: whose window it is; None for that of all prompts. The end of one is the start of the next.
    """

    end: Literal["before", "after"]
    category: str | None = None


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """Called while a measurement goes on, so that it can be watched and kept; these should be quick.

    Attributes:
        stage: what comes next, in a word or two.
        record: a request ended.
        snapshots: snapshots were taken, at the start or at the end of the window of a category, if it is one.
        recall: gives back the records that `record` was given since the last call, where it keeps them on disk; then
            memory does not grow with the number of answers. None where they are to be kept in memory.
    """

    stage: Callable[[str], None] = lambda _: None
    record: Callable[[RequestRecord], None] = lambda _: None
    snapshots: Callable[[Sequence[Snapshot], Edge], None] = lambda _taken, _edge: None
    recall: Callable[[], list[RequestRecord]] | None = None


def both(
    first: Callable[[RequestRecord], None], second: Callable[[RequestRecord], None]
) -> Callable[[RequestRecord], None]:
    """Calls one, then the other."""

    def call(record: RequestRecord) -> None:
        first(record)
        second(record)

    return call
