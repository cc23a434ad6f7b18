"""llama.cpp's counters on `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_skills_specdec.engines import remarks, spec_counters
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo, Traffic
from nemo_skills_specdec.engines.counters import CounterDifference, differences, gauge_total
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.llamacpp.facts import BUSY, FACTS, PREFIX, TRAFFIC
from nemo_skills_specdec.records import Finding


def read(before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
    """The difference of llama.cpp's counters, summed over endpoints.

    The counters are there, at 0, with speculation off too; those per position appear with the first draft.
    """
    names = {**spec_counters.counter_names(PREFIX), **TRAFFIC}
    deltas, findings = differences(names, before, after, late=[spec_counters.PER_POSITION])
    findings += remarks.summed_up(after, TRAFFIC["generation_tokens"])
    traffic = _traffic(deltas, before, after)
    reading = CounterReading(engine="llamacpp", source=None, traffic=traffic, findings=tuple(findings))
    if not any(spec_counters.has_spec_series(samples, PREFIX) for samples in after):
        lacking = next((samples for samples in after if not remarks.is_whole(samples, FACTS)), None)
        if lacking is not None:
            return remarks.not_an_engines(reading, lacking, FACTS)
        return remarks.with_findings(reading, _too_old())
    drafted = deltas.get(spec_counters.DRAFTS)
    if info is not None and info.speculation == "off" and drafted is not None and not drafted.total:
        off = remarks.speculation_off("llama.cpp", "its slots do not speculate", FACTS.speculate)
        return remarks.with_findings(reading, off)
    return spec_counters.read_counts(reading, deltas)


def _traffic(deltas: Mapping[str, CounterDifference], before: Sequence[Samples], after: Sequence[Samples]) -> Traffic:
    totals = {short: delta.total for short, delta in deltas.items() if not delta.findings}
    computed, cached = totals.get("computed_prompt_tokens"), totals.get("cached_prompt_tokens")
    return Traffic(
        prompt_tokens=computed + (cached or 0) if computed is not None else None,
        generation_tokens=totals.get("generation_tokens"),
        busy_before=gauge_total(before, BUSY),
        busy_after=gauge_total(after, BUSY),
    )


def _too_old() -> Finding:
    return Finding(
        code="no_acceptance_metrics",
        severity="invalid",
        message="This llama.cpp has no llamacpp:spec_decode series, so it is older than these counters; use a newer "
        "release, or the drafted and accepted tokens in each response.",
    )
