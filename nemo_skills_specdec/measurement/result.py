"""What a run amounts to: from request records and counter readings to averages, categories, speed and findings.

Pure: everything here can be computed again from a run directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, reached_conditional_rates
from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.engines.reading import acceptance_of_reading
from nemo_skills_specdec.measurement.request_statistics import has_statistics, per_request_counts, reached_in
from nemo_skills_specdec.records import Acceptance, Finding, RequestRecord, Source, acceptance_of
from nemo_skills_specdec.statistics import Average, Averages, Intervals, Prompt, mean, uncertainty

SOURCES: tuple[Source, ...] = ("response", "request_file", "counters", "bounds", "gauge_estimate")
"""Best first: the headline is taken from the first that knows the acceptance length."""


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of one figure over requests, in seconds or tokens per second; interpolated linearly between order statistics."""

    mean: float
    p50: float
    p90: float
    p99: float


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it went, as a client saw it.

    Attributes:
        wall_seconds: from the first request sent to the last byte received, summed over windows.
        output_tokens_per_second: completion tokens of all answers / wall_seconds: the system's throughput.
        user_tokens_per_second: per answer, (completion tokens - 1) / (last chunk - first chunk) where streamed,
            completion tokens / end-to-end time where not.
        inter_chunk_seconds: per answer, the mean gap between chunks. A chunk holds several tokens under speculation.
    """

    wall_seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    output_tokens_per_second: float | None
    user_tokens_per_second: Percentiles | None = None
    ttft_seconds: Percentiles | None = None
    tpot_seconds: Percentiles | None = None
    inter_chunk_seconds: Percentiles | None = None
    end_to_end_seconds: Percentiles | None = None
    queue_seconds: Percentiles | None = None


class Part(msgspec.Struct, kw_only=True):
    """The figures of a category, or of everything."""

    num_prompts: int
    num_requests: int
    num_failed: int
    acceptance: Acceptance
    speed: Speed


class Evaluation(msgspec.Struct, kw_only=True):
    """The content of `metrics.json`.

    Attributes:
        overall: pooled over everything; its findings are those of the whole run.
        averages: the three averages of the acceptance length; what the sources cannot give is null.
        sources: every source that the run has, by name, for the same requests.
        status: `interrupted` if not every prompt was sent or answered because the run was stopped.
    """

    benchmark: str
    status: Literal["complete", "interrupted"] = "complete"
    overall: Part
    averages: Averages
    categories: dict[str, Part]
    sources: dict[str, Acceptance]

    @property
    def valid(self) -> bool:
        """Whether no finding says that the numbers must not be used."""
        return all(finding.severity != "invalid" for finding in self.overall.acceptance.findings)


class Measured(msgspec.Struct, kw_only=True):
    """One window: its records and, where there are any, what other sources say about the same requests.

    Attributes:
        request_file: the sum over SGLang's request-metric files, if they hold every answer.
    """

    records: list[RequestRecord]
    reading: CounterReading | None = None
    request_file: AcceptanceCounts | None = None
    wall_seconds: float = 0.0


def prompts_of(records: Sequence[RequestRecord]) -> list[Prompt]:
    """Groups records into prompts, the clusters of the bootstrap; answers without statistics are left out."""
    by_prompt: dict[tuple[str, str], list[AcceptanceCounts]] = {}
    for record in records:
        if record.counts is not None:
            by_prompt.setdefault((record.category, record.question_id), []).append(record.counts)
    return [Prompt(category=category, requests=tuple(counts)) for (category, _), counts in by_prompt.items()]


def sources_of(measured: Measured, intervals: Intervals | None = None) -> dict[str, Acceptance]:
    """Every source of acceptance that a window has, best first.

    Args:
        intervals: of the rates that the answers' own counts give.
    """
    found: dict[str, Acceptance] = {}
    counts = per_request_counts(measured.records)
    if counts is not None and has_statistics(measured.records):
        source: Source = next(r.counts_source or "response" for r in measured.records if r.counts is not None)
        found[source] = acceptance_of(counts, source, intervals=intervals)
        reached = reached_in(measured.records)
        if reached is not None and counts.accepted_per_position is not None:
            rates = reached_conditional_rates(counts.accepted_per_position, reached)
            found[source].reached_conditional_acceptance_rates = rates
    if measured.request_file is not None and "request_file" not in found:
        found["request_file"] = acceptance_of(measured.request_file, "request_file")
    if measured.reading is not None and measured.reading.source is not None:
        found[measured.reading.source] = acceptance_of_reading(measured.reading)
    return {source: found[source] for source in SOURCES if source in found}


def headline(sources: Mapping[str, Acceptance]) -> Acceptance:
    """The best source that knows the acceptance length; else the best one; else one that says nothing."""
    knowing = [acceptance for acceptance in sources.values() if acceptance.acceptance_length is not None]
    best = knowing or list(sources.values())
    return msgspec.structs.replace(best[0], findings=[]) if best else Acceptance(source=None)


def speed_of(records: Sequence[RequestRecord], wall_seconds: float) -> Speed:
    """Speed of the answered requests; failed ones are left out of every figure but the wall time."""
    answered = [record for record in records if record.error is None]
    completion = _known_sum([record.completion_tokens for record in answered])
    return Speed(
        wall_seconds=wall_seconds,
        prompt_tokens=_known_sum([record.prompt_tokens for record in answered]),
        completion_tokens=completion,
        output_tokens_per_second=completion / wall_seconds if completion is not None and wall_seconds > 0 else None,
        user_tokens_per_second=_percentiles([user_speed(record) for record in answered]),
        ttft_seconds=_percentiles([record.ttft_seconds for record in answered]),
        tpot_seconds=_percentiles([record.tpot_seconds for record in answered]),
        inter_chunk_seconds=_percentiles([record.inter_chunk_seconds for record in answered]),
        end_to_end_seconds=_percentiles([record.end_time - record.start_time for record in answered]),
        queue_seconds=_percentiles([record.queue_seconds for record in answered]),
    )


def user_speed(record: RequestRecord) -> float | None:
    """Output tokens per second that one user saw; None where it cannot be known."""
    if record.tpot_seconds:
        return 1 / record.tpot_seconds
    elapsed = record.end_time - record.start_time
    if record.ttft_seconds is not None or record.completion_tokens is None or elapsed <= 0:
        return None
    return record.completion_tokens / record.samples / elapsed


def part_of(measured: Measured, acceptance: Acceptance) -> Part:
    """The figures of one window or category."""
    return Part(
        num_prompts=len({(record.category, record.question_id) for record in measured.records}),
        num_requests=len(measured.records),
        num_failed=sum(record.error is not None for record in measured.records),
        acceptance=acceptance,
        speed=speed_of(measured.records, measured.wall_seconds),
    )


def evaluation_of(
    benchmark: str,
    whole: Measured,
    windows: Mapping[str, Measured],
    *,
    findings: Sequence[Finding],
    interrupted: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Joins everything measured into the content of `metrics.json`.

    Args:
        whole: all records, and the reading from the first snapshot to the last.
        windows: by category, a window of its own each (`--by-category`); empty if there was one window only.
        findings: of the whole run.
    """
    uncertain = uncertainty(prompts_of(whole.records), seed=seed)
    sources = sources_of(whole, uncertain.overall)
    overall = headline(sources)
    overall.findings = list(findings)
    if overall.tokens_per_step is None:
        # Only counters know of the steps without drafts.
        overall.tokens_per_step = next(
            (source.tokens_per_step for source in sources.values() if source.tokens_per_step is not None), None
        )
    categories: dict[str, Part] = {}
    by_category: dict[str, list[RequestRecord]] = {}
    for record in whole.records:
        by_category.setdefault(record.category, []).append(record)
    for category, records in by_category.items():
        measured = windows.get(category) or Measured(records=records, wall_seconds=_span(records))
        categories[category] = part_of(measured, headline(sources_of(measured, uncertain.categories.get(category))))
    return Evaluation(
        benchmark=benchmark,
        status="interrupted" if interrupted else "complete",
        overall=part_of(whole, overall),
        averages=averages_of(whole.records, overall, categories, uncertain.averages),
        categories=categories,
        sources=sources,
    )


def averages_of(
    records: Sequence[RequestRecord], overall: Acceptance, categories: Mapping[str, Part], from_answers: Averages
) -> Averages:
    """The three averages: from per-request counts where they are complete, otherwise what totals can give."""
    known = [record.counts for record in records if record.counts is not None]
    if known and has_statistics(records) and all(counts.num_drafts is not None for counts in known):
        return from_answers
    lengths = [x for part in categories.values() if (x := part.acceptance.acceptance_length) is not None]
    rates = [x for part in categories.values() if (x := part.acceptance.acceptance_rate) is not None]
    return Averages(
        pooled=Average(
            over=overall.num_drafts or 0,
            acceptance_length=overall.acceptance_length,
            acceptance_rate=overall.acceptance_rate,
        ),
        request_mean=Average(over=0, acceptance_length=None, acceptance_rate=None),
        category_macro=Average(over=len(lengths), acceptance_length=mean(lengths), acceptance_rate=mean(rates)),
    )


def _span(records: Sequence[RequestRecord]) -> float:
    answered = [record for record in records if record.error is None]
    if not answered:
        return 0.0
    return max(record.end_time for record in answered) - min(record.start_time for record in answered)


def _known_sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _percentiles(values: Sequence[float | None]) -> Percentiles | None:
    import numpy as np

    known = [value for value in values if value is not None]
    if not known:
        return None
    p50, p90, p99 = np.quantile(known, [0.5, 0.9, 0.99])
    return Percentiles(mean=float(np.mean(known)), p50=float(p50), p90=float(p90), p99=float(p99))
