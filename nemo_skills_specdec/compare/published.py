"""Published acceptance lengths and speedups, as a yardstick: the entries nearest to a run, and how they differ from it.

`published.json` holds facts with their source only, each checked in that source; what a source does not say is null.
"""

from __future__ import annotations

import re
from importlib import resources

import msgspec

from nemo_skills_specdec.compare.repeats import RunGroup

SHOWN = 5
_SIZE = re.compile(r"\d+(?:\.\d+)?b\b")


class PublishedResult(msgspec.Struct, frozen=True, kw_only=True):
    """One published figure.

    Attributes:
        average: which average of AL it is, where the source says so.
        speedup: over no speculation, as the source computes it.
    """

    target: str
    drafter: str | None
    method: str
    draft_length: int | None
    prompts: str
    temperature: float | None
    batch_size: int | None
    average: str | None
    acceptance_length: float | None
    speedup: float | None
    engine: str | None
    hardware: str | None
    source: str


class NearResult(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure beside a run.

    Attributes:
        differences: why the two may not be comparable.
    """

    result: PublishedResult
    differences: list[str]


def published_results() -> list[PublishedResult]:
    """All entries."""
    text = resources.files("nemo_skills_specdec.compare").joinpath("published.json").read_bytes()
    return msgspec.json.decode(text, type=list[PublishedResult])


def nearest(group: RunGroup, shown: int = SHOWN) -> list[NearResult]:
    """The published results with the fewest differences from a run, those of its own method first."""
    found = [NearResult(result=result, differences=_differences(group, result)) for result in published_results()]
    method = group.runs[0].manifest.server.method or ""
    found.sort(key=lambda near: (_plain(near.result.method) != _plain(method), len(near.differences)))
    return found[:shown]


def _differences(group: RunGroup, result: PublishedResult) -> list[str]:
    run = group.runs[0]
    server, arguments = run.manifest.server, run.manifest.arguments
    request, load = arguments.get("request") or {}, arguments.get("load") or {}
    asked = {
        "method": (server.method, result.method),
        "draft length": (server.draft_length, result.draft_length),
        "temperature": (request.get("temperature"), result.temperature),
        "engine": (server.engine, result.engine),
    }
    found = [
        f"{name} ({ours} here, {theirs if theirs is not None else 'not told'} there)"
        for name, (ours, theirs) in asked.items()
        if theirs is None or _plain(str(ours)) != _plain(str(theirs))
    ]
    model = str(request.get("model") or "")
    if not _same_model(model, result.target):
        found.insert(0, f"target ({model or 'unknown'} here, {result.target} there)")
    prompts = str(arguments.get("benchmark") or "")
    if _plain(result.prompts) not in _plain(prompts):
        found.append(f"prompts ({prompts or 'unknown'} here, {result.prompts} there)")
    if result.batch_size is None or load.get("concurrency") != result.batch_size:
        found.append(f"load (concurrency {load.get('concurrency')} here, batch size {result.batch_size or 'not told'})")
    if result.average is None:
        found.append("which average of AL it is, is not told there")
    return found


def _same_model(ours: str, theirs: str) -> bool:
    """Whether one name is in the other, but for the owner and punctuation, and their sizes agree."""
    a, b = _plain(ours.rsplit("/", 1)[-1]), _plain(theirs)
    sizes = [set(_SIZE.findall(name.lower())) for name in (ours, theirs)]
    return bool(a) and (b in a or a in b) and sizes[0] == sizes[1]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
