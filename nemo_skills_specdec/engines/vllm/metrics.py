"""vLLM's counters on `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo, Traffic
from nemo_skills_specdec.engines.counters import CounterDifference, differences, gauge_total
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.vllm.facts import BUSY, FACTS, PREFIX, TRAFFIC, V0_SERIES
from nemo_skills_specdec.records import Finding

_NGRAM = ("ngram", "ngram_gpu")

_EVERY_STEP = 0.99
"""With several requests in flight, drafts and decode steps were seen to differ by 0.3 % though every step drafts."""


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of vLLM's counters, per label set (engine, model, position), summed over endpoints.

    Counters that are present and did not move mean speculation that drafted nothing. Absent ones mean no speculation.
    """
    names = {**spec_counters.counter_names(PREFIX), **TRAFFIC}
    deltas, findings = differences(names, before, after)
    traffic = _traffic(deltas, before, after)
    findings += remarks.summed_up(after, TRAFFIC["generation_tokens"])
    reading = CounterReading(engine="vllm", source=None, traffic=traffic, findings=tuple(findings))
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        return _without_series(reading, after)
    # Every position of the configured draft has a counter from the start.
    told = [info.draft_length if info is not None else None, spec_counters.num_positions(after, PREFIX)]
    return spec_counters.read_counts(
        reading,
        deltas,
        draft_length=max((length for length in told if length is not None), default=None),
        remark=lambda counts: _ngram_in_every_step(counts, traffic, info),
    )


def _traffic(deltas: Mapping[str, CounterDifference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = {
        short: deltas[short].total if short in deltas and not deltas[short].findings else None for short in TRAFFIC
    }
    return Traffic(**totals, busy_before=gauge_total(before, BUSY), busy_after=gauge_total(after, BUSY))


def _ngram_in_every_step(counts: AcceptanceCounts, traffic: Traffic, info: ServerInfo | None) -> list[Finding]:
    """A finding if n-gram drafts stand in every step, found or not.

    Model Runner V2, and `ngram_gpu` before it, draft K tokens in every step; where no n-gram is found they repeat the
    last token. Other runners draft nothing then, and such steps are in no counter. Both call their mean AL.
    """
    drafts, steps = counts.num_drafts, traffic.decode_steps
    if info is None or info.method not in _NGRAM or drafts is None or not steps or drafts < _EVERY_STEP * steps:
        return []
    return [
        Finding(
            code="ngram_in_every_step",
            severity="warning",
            message=f"every decode step counts as a draft ({drafts} of {steps}): this vLLM drafts even where it finds "
            "no n-gram (Model Runner V2, ngram_gpu), so AL and AR include those steps. Other versions and runners "
            "leave them out and show a higher AL at the same speed: compare tokens per step",
            numbers={"num_drafts": drafts, "decode_steps": steps},
        )
    ]


def _without_series(reading: CounterReading, after: Sequence[Samples]) -> CounterReading:
    """What follows from series of vLLM without a counter of drafts."""
    if any(name in samples.series for samples in after for name in V0_SERIES):
        too_old = Finding(
            code="server_too_old",
            severity="invalid",
            message="This vLLM (0.8 or older) has no counters of drafts; use vLLM 0.9 or later.",
        )
        return remarks.with_findings(reading, too_old)
    for samples in after:
        if not remarks.is_whole(samples, FACTS):
            return remarks.not_an_engines(reading, samples, FACTS)
    off = remarks.speculation_off("vLLM", "its metrics have no vllm:spec_decode series", FACTS.speculate)
    return remarks.with_findings(reading, off)
