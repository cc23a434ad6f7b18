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
from nemo_skills_specdec.measurement.prompt_cache import PromptCache, prompt_cache_of
from nemo_skills_specdec.measurement.request_statistics import has_statistics, per_request_counts, reached_in
from nemo_skills_specdec.measurement.speed import Speed, SteadyState, speed_of, steady_state_of
from nemo_skills_specdec.measurement.speed_options import SpeedOptions
from nemo_skills_specdec.records import Acceptance, Finding, RequestRecord, Source, acceptance_of
from nemo_skills_specdec.statistics import Average, Averages, Intervals, Prompt, mean, uncertainty

SOURCES: tuple[Source, ...] = ("response", "request_file", "counters", "bounds", "gauge_estimate")
"""Best first: the headline is taken from the first that knows the acceptance length."""


class Part(msgspec.Struct, kw_only=True):
    """The figures of a category, or of everything.

    Attributes:
        prompt_cache: tokens of the prompts that the server had in its prefix cache; None if nothing tells.
        steady_state: without ramp-up and tail; None unless asked for, or if the asked number was never in flight.
    """

    num_prompts: int
    num_requests: int
    num_failed: int
    acceptance: Acceptance
    speed: Speed
    steady_state: SteadyState | None = None
    prompt_cache: PromptCache | None = None


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


def part_of(measured: Measured, acceptance: Acceptance, options: SpeedOptions) -> Part:
    """The figures of one window or category."""
    return Part(
        num_prompts=len({(record.category, record.question_id) for record in measured.records}),
        num_requests=len(measured.records),
        num_failed=sum(record.error is not None for record in measured.records),
        acceptance=acceptance,
        speed=speed_of(measured.records, measured.wall_seconds, options),
        prompt_cache=prompt_cache_of(measured.records, measured.reading),
    )


def evaluation_of(
    benchmark: str,
    whole: Measured,
    windows: Mapping[str, Measured],
    *,
    findings: Sequence[Finding],
    interrupted: bool = False,
    seed: int = 0,
    speed: SpeedOptions | None = None,
    concurrency: int | None = None,
) -> Evaluation:
    """Joins everything measured into the content of `metrics.json`.

    Args:
        whole: all records, and the reading from the first snapshot to the last.
        windows: by category, a window of its own each (`--by-category`); empty if there was one window only.
        findings: of the whole run.
        concurrency: the number of requests that were to be in flight; None if no number was asked for.
    """
    options = speed or SpeedOptions()
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
        acceptance = headline(sources_of(measured, uncertain.categories.get(category)))
        categories[category] = part_of(measured, acceptance, options)
    whole_part = part_of(whole, overall, options)
    if options.steady_state and concurrency is not None:
        apart = [window.records for window in windows.values()] or [whole.records]
        whole_part.steady_state = steady_state_of(apart, concurrency, options)
    averages = averages_of(whole.records, overall, categories, uncertain.averages)
    return Evaluation(
        benchmark=benchmark,
        status="interrupted" if interrupted else "complete",
        overall=whole_part,
        averages=_with_totals(averages, requests=len(whole.records), categories=len(categories)),
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


def _with_totals(averages: Averages, *, requests: int, categories: int) -> Averages:
    """The averages, each with how many it could be over."""
    return Averages(
        pooled=averages.pooled,
        request_mean=msgspec.structs.replace(averages.request_mean, of=requests),
        category_macro=msgspec.structs.replace(averages.category_macro, of=categories),
    )


def _span(records: Sequence[RequestRecord]) -> float:
    answered = [record for record in records if record.error is None]
    if not answered:
        return 0.0
    return max(record.end_time for record in answered) - min(record.start_time for record in answered)
