"""Two sets of snapshots in, what they say about acceptance out."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.engines.base import CounterReading, EngineName, Samples, ServerInfo, Snapshot, Traffic
from nemo_skills_specdec.engines.prometheus import parse_metrics
from nemo_skills_specdec.engines.registry import ENGINES, recognise_engine
from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.records import Acceptance, Finding, acceptance_of

NO_ENGINE_SERIES = (
    "holds no vllm:, sglang: or llamacpp: series: either this is not an inference server's /metrics (wrong URL or "
    "port?), "
    "or it is vLLM started with --disable-log-stats (remove that flag; statistics inside responses work with it)"
)


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
        before: at the window's start.
        after: at its end.
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
    unavailable = [snapshot for snapshot in [*before, *after] if snapshot.error is not None]
    if unavailable:
        return _nothing(name, "metrics_unavailable", f"no metrics: {unavailable[0].error}")
    try:
        old = [_samples(snapshot, may_be_empty=True) for snapshot in before]
        new = [_samples(snapshot, may_be_empty=False) for snapshot in after]
    except DataError as error:
        return _nothing(name, "metrics_unreadable", str(error))
    found = {recognise_engine(samples) for samples in new}
    if found == {None}:
        return _nothing(name, "no_engine_metrics", f"{after[0].url} {NO_ENGINE_SERIES}")
    if name is None or not any(ENGINES[name].recognise(samples) for samples in new):
        if len(found) > 1:
            names = ", ".join(sorted(str(item) for item in found))
            return _nothing(
                None, "mixed_engines", f"the metrics endpoints are of different engines ({names}); give those of one"
            )
        name = next(iter(found))
    assert name is not None
    return ENGINES[name].read(old, new, info)


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


def _samples(snapshot: Snapshot, *, may_be_empty: bool) -> Samples:
    if may_be_empty and not snapshot.text.strip():
        return Samples({})
    return parse_metrics(snapshot.text, snapshot.url)


def _nothing(engine: EngineName | None, code: str, message: str) -> CounterReading:
    return CounterReading(
        engine=engine, source=None, findings=(Finding(code=code, severity="invalid", message=message),)
    )
