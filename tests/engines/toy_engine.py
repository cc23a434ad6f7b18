"""An engine of one module, as docs/adding-an-engine.md tells to write it."""

from collections.abc import Mapping, Sequence
from typing import Any

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import (
    Ask,
    CounterReading,
    EngineFacts,
    ServerInfo,
    SourceOffer,
    Traffic,
    number_or_none,
    offer,
    part_of,
    text_or_none,
)
from nemo_skills_specdec.engines.counters import differences, gauge_total
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.limits import check_answer

NAMES = {
    spec_counters.DRAFTS: "toy:steps_total",
    spec_counters.DRAFT_TOKENS: "toy:drafted_total",
    spec_counters.ACCEPTED: "toy:accepted_total",
    "generation_tokens": "toy:tokens_total",
}
BUSY = ("toy:running",)

FACTS = EngineFacts(
    name="toy",
    title="Toy",
    series=frozenset([*NAMES.values(), *BUSY]),
    vital=("toy:tokens_total",),
    owners=("toyland",),
    metrics_flag="--toy-metrics",
    speculate="start Toy with --draft",
    statistics_since=(2, 0),
    cache_reset="/forget",
)


def answers_to(ask: Ask) -> bool:
    return "toys" in part_of({"about": ask.get("/about")}, "about")


def describe(info: ServerInfo, ask: Ask) -> None:
    about = part_of({"about": ask.get("/about")}, "about")
    info.version = text_or_none(about.get("version"))
    info.draft_length = number_or_none(about.get("draft"))
    info.speculation = "on" if info.draft_length else "off"


def offers(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
    return [
        offer("response", None, "AL, AR, per request", uses="field toy_stats", cure="upgrade to Toy 2.0"),
        offer("counters", bool(samples), "AL, AR", uses="toy:steps_total", cure=no_metrics),
    ]


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    deltas, findings = differences(NAMES, before, after)
    tokens = deltas.get("generation_tokens")
    traffic = Traffic(generation_tokens=tokens.total if tokens else None, busy_after=gauge_total(after, BUSY))
    reading = CounterReading(engine="toy", source=None, traffic=traffic, findings=tuple(findings))
    if not remarks.is_whole(after[0], FACTS):
        return remarks.not_an_engines(reading, after[0], FACTS)
    return spec_counters.read_counts(reading, deltas, draft_length=info.draft_length if info else None)


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    return {"toy_stats": True}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    stats = part_of(response, "toy")
    steps, accepted = number_or_none(stats.get("steps")), number_or_none(stats.get("accepted"))
    if steps is None or accepted is None:
        return None
    counts = AcceptanceCounts(num_drafts=steps, num_draft_tokens=None, num_accepted_tokens=accepted)
    check_answer(counts, completion_tokens=None, draft_length=info.draft_length if info else None)
    return counts


def request_steps(response: Mapping[str, Any]) -> None:
    return None


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    return None
