"""Two sets of snapshots in, what they say about acceptance out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.engines import remarks
from nemo_skills_specdec.engines.base import CounterReading, EngineName, MetricsProblem, ServerInfo, Traffic
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.limits import Figures, impossible
from nemo_skills_specdec.engines.registry import ENGINES, recognise_engine
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.records import Acceptance, Finding, acceptance_of


def read_window(
    before: Sequence[Snapshot],
    after: Sequence[Snapshot],
    info: ServerInfo | None = None,
    engine: EngineName | None = None,
) -> CounterReading:
    """Reads what happened between two sets of snapshots, one snapshot per metrics endpoint, in the same order.

    Whatever the server sent, this returns: numbers that cannot be used become an `invalid` finding without rates. A
    snapshot before with no text and no error counts as a server that had not counted anything yet.

    Args:
        info: what the server says about itself, where known: SGLang's scheduling and draft length come from it.
        engine: the engine, where the caller knows it better than the names of the series.

    Raises:
        UsageError: the two lists differ in length or are empty.
    """
    if len(before) != len(after) or not after:
        raise UsageError(
            f"{len(before)} snapshots before and {len(after)} after; give one of each per metrics endpoint"
        )
    name = engine or (info.engine if info else None)
    unavailable = next((snapshot.error for snapshot in [*before, *after] if snapshot.error is not None), None)
    if unavailable is not None:
        return _nothing(name, "metrics_unavailable", f"No metrics: {_sentence(unavailable)}")
    try:
        old = [snapshot.samples if snapshot.text.strip() else Samples(series={}) for snapshot in before]
        new = [snapshot.samples for snapshot in after]
    except DataError as error:
        return _nothing(name, "metrics_unreadable", _sentence(str(error)))
    found = {recognise_engine(samples) for samples in new}
    if found == {None}:
        return _nothing(name, "no_engine_metrics", f"{after[0].url} {_sentence(no_engine_series(new[0]))}")
    if name is None or not any(ENGINES[name].FACTS.namespace in samples.prefixes for samples in new):
        if len(found) > 1:
            names = ", ".join(sorted(str(item) for item in found))
            told = f"The metrics endpoints are of different engines ({names}); give those of one."
            return _nothing(None, "mixed_engines", told)
        name = next(iter(found))
    assert name is not None
    namespace = ENGINES[name].FACTS.namespace
    for snapshot, first, last in zip(before, old, new, strict=True):
        if snapshot.text.strip() and namespace in last.prefixes and namespace not in first.prefixes:
            told = f"{snapshot.url} had no {namespace}: series before the window, so what it counted there is unknown."
            return _nothing(name, "metrics_unreadable", told)
    return read_samples(old, new, info, name)


def read_samples(
    before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None, engine: EngineName
) -> CounterReading:
    """Reads what happened between two sets of one engine's samples, without its numbers where they cannot be."""
    reading = ENGINES[engine].read(before, after, info)
    renamed = remarks.other_prefixes(after, ENGINES[engine].FACTS)
    return _possible(msgspec.structs.replace(reading, findings=(*renamed, *reading.findings)))


def figures_of(reading: CounterReading) -> Figures:
    """What a reading says, for the check of its physical bounds; where there are bounds, the upper one."""
    counts, traffic, bounds = reading.counts, reading.traffic, reading.acceptance_length_bounds
    return Figures(
        num_drafts=reading.num_drafts,
        num_draft_tokens=counts.num_draft_tokens if counts is not None else None,
        num_accepted_tokens=counts.num_accepted_tokens if counts is not None else None,
        acceptance_length=bounds.high if bounds is not None else reading.acceptance_length,
        draft_length=reading.draft_length,
        proposed_per_step=reading.proposed_per_step,
        first_tokens=traffic.first_tokens,
        decode_steps=traffic.decode_steps,
        generated_tokens=traffic.generation_tokens,
        settled=not (traffic.busy_before or traffic.busy_after),
    )


def acceptance_of_reading(reading: CounterReading) -> Acceptance:
    """The result that a reading gives, in the form of every file and every `--json`."""
    if reading.counts is not None and reading.source is not None:
        return acceptance_of(
            reading.counts, reading.source, tokens_per_step=tokens_per_step(reading.traffic), findings=reading.findings
        )
    return Acceptance(
        source=reading.source,
        num_drafts=reading.num_drafts,
        acceptance_length=reading.acceptance_length,
        acceptance_rate=reading.acceptance_rate,
        acceptance_length_bounds=reading.acceptance_length_bounds,
        acceptance_rate_bounds=reading.acceptance_rate_bounds,
        tokens_per_step=tokens_per_step(reading.traffic),
        findings=list(reading.findings),
    )


def tokens_per_step(traffic: Traffic) -> float | None:
    """Tokens emitted per decode step: (generation tokens - first tokens) / decode steps; None where one is unknown."""
    if traffic.generation_tokens is None or traffic.first_tokens is None or not traffic.decode_steps:
        return None
    return (traffic.generation_tokens - traffic.first_tokens) / traffic.decode_steps


def no_engine_series(samples: Samples) -> str:
    """What to say of a text of metrics without any engine's series, as the end of a sentence."""
    namespaces = [f"{module.FACTS.namespace}:" for module in ENGINES.values()]
    seen = f" but {', '.join(samples.others)}" if samples.others else ""
    return (
        f"holds no {', '.join(namespaces[:-1])} or {namespaces[-1]} series{seen}: either this is not an inference "
        "server's /metrics (wrong URL or port, or a router: give every engine's with --metrics-url), or it is vLLM "
        "started with --disable-log-stats (remove that flag; statistics inside responses work with it)"
    )


def _possible(reading: CounterReading) -> CounterReading:
    """The reading without its numbers, and with findings, if the numbers cannot be."""
    broken = impossible(figures_of(reading)) if reading.source is not None else []
    if not broken:
        return reading
    return msgspec.structs.replace(
        reading,
        source=None,
        counts=None,
        acceptance_length=None,
        acceptance_rate=None,
        acceptance_length_bounds=None,
        acceptance_rate_bounds=None,
        findings=(*(finding for finding in reading.findings if finding.code != "bounds"), *broken),
    )


def _nothing(engine: EngineName | None, problem: MetricsProblem, message: str) -> CounterReading:
    finding = Finding(code=problem, severity="invalid", message=message)
    return CounterReading(engine=engine, source=None, findings=(finding,), problem=problem)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
