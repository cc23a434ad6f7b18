"""From evidence to result: the one way in which answers and snapshots become averages, categories, speed and findings.

Pure: a run directory holds all of the evidence, so every figure can be computed again from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from nemo_skills_specdec.acceptance import total
from nemo_skills_specdec.client.exchange import as_sent
from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.measurement.checks import (
    NOT_OURS,
    check_client,
    check_outcome,
    check_reading,
    check_records,
    check_request,
)
from nemo_skills_specdec.measurement.evidence import Evidence
from nemo_skills_specdec.measurement.load_checks import check_load
from nemo_skills_specdec.measurement.prompt_cache import check_prompt_cache
from nemo_skills_specdec.measurement.request_statistics import (
    has_statistics,
    per_request_counts,
    with_stepless_answers,
)
from nemo_skills_specdec.measurement.result import Evaluation, Measured, evaluation_of
from nemo_skills_specdec.measurement.snapshots import reading_of
from nemo_skills_specdec.measurement.traffic import check_counts
from nemo_skills_specdec.records import Finding


def conclude(evidence: Evidence) -> Evaluation:
    """What a measurement amounts to."""
    conditions = evidence.conditions
    info, request = evidence.server, as_sent(conditions.request)
    records = with_stepless_answers(evidence.records)
    whole = Measured(
        records=records,
        reading=reading_of(evidence.window, info),
        request_file=conditions.request_file,
        wall_seconds=conditions.wall_seconds,
    )
    categories = {
        name: Measured(
            records=[record for record in records if record.category == name],
            reading=reading_of(window, info),
            wall_seconds=conditions.category_wall_seconds.get(name, 0.0),
        )
        for name, window in evidence.categories.items()
    }
    findings = [
        *conditions.observed,
        *info.findings,
        *check_request(request, info),
        *check_parts(whole, categories, contiguous=conditions.cut_off == 0),
    ]
    if whole.reading is not None:
        findings += check_reading(
            whole.reading,
            records,
            request=request,
            warmup_requests=conditions.warmup_requests,
            cut_off=conditions.cut_off,
        )
    findings += check_records(
        records,
        prompts_planned=conditions.prompts_planned,
        interrupted=conditions.interrupted,
        max_failed=conditions.max_failed,
    )
    findings += check_client(conditions.senders)
    findings += check_load(
        [part.records for part in categories.values()] or [records],
        concurrency=conditions.concurrency,
        request_rate=conditions.request_rate,
    )
    if not conditions.speculates:
        findings = [finding for finding in findings if finding.code != "speculation_off"]
    if {finding.code for finding in findings} & NOT_OURS:
        whole.reading = _without_others(whole.reading)
        for part in categories.values():
            part.reading = _without_others(part.reading)
    evaluation = evaluation_of(
        conditions.benchmark,
        whole,
        categories,
        findings=without_repeats(findings),
        interrupted=conditions.interrupted,
        seed=conditions.seed,
        speed=conditions.speed,
        concurrency=conditions.concurrency if conditions.request_rate is None else None,
    )
    if conditions.categories_planned is not None:
        macro = msgspec.structs.replace(evaluation.averages.category_macro, of=conditions.categories_planned)
        evaluation.averages = msgspec.structs.replace(evaluation.averages, category_macro=macro)
    overall = evaluation.overall.acceptance
    overall.findings += check_prompt_cache(records, evaluation.overall.prompt_cache)
    overall.findings += [*check_outcome(overall, request, info), *_check_macro(evaluation)]
    return evaluation


def _without_others(reading: CounterReading | None) -> CounterReading | None:
    """A reading without its decode steps and cached prompts, since they are not ours alone."""
    if reading is None:
        return None
    ours = msgspec.structs.replace(reading.traffic, decode_steps=None, cached_prompt_tokens=None)
    return msgspec.structs.replace(reading, traffic=ours)


def _check_macro(evaluation: Evaluation) -> list[Finding]:
    """Whether the average over categories is one over all of them."""
    over, of = evaluation.averages.category_macro.over, evaluation.averages.category_macro.of
    if of is None or not 0 < over < of:
        return []
    return [
        Finding(
            code="macro_over_a_part",
            severity="warning",
            message=f"The category macro average is over {over} of {of} categories; the acceptance of the others is "
            "not known.",
            numbers={"over": over, "categories": of},
        )
    ]


def check_parts(whole: Measured, categories: Mapping[str, Measured], *, contiguous: bool = True) -> list[Finding]:
    """Compares what must be the same said twice: request files and responses, categories and their total.

    Args:
        contiguous: whether the windows of the categories follow one another; where an attempt was killed, what it had
            begun is in the total alone.
    """
    findings: list[Finding] = []
    in_responses = per_request_counts([r for r in whole.records if r.counts_source == "response"])
    if whole.request_file is not None and in_responses is not None and has_statistics(whole.records):
        findings += check_counts("responses", in_responses, "request files", whole.request_file)
    parts = [m.reading.counts for m in categories.values() if m.reading is not None and m.reading.counts is not None]
    counts = whole.reading.counts if whole.reading is not None else None
    if contiguous and counts is not None and len(parts) == len(categories) > 1:
        findings += check_counts("categories together", total(parts), "total", counts)
    return findings


def without_repeats(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, each said once."""
    return list({(finding.code, finding.message): finding for finding in findings}.values())
