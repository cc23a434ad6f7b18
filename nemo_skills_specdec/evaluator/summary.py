"""From the rows and attempts of a benchmark to what NeMo-Skills prints and writes.

All answers of all seeds and chunks are put together first, and every figure is computed from their sums: never a mean
of means. Prompts are the clusters of the intervals, so the seeds of one prompt count as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import stdev
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, total
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.evaluator.attempts import Attempts, JobAttempt, joined_windows, side_by_side, taking_part
from nemo_skills_specdec.evaluator.wording import told_in_a_job
from nemo_skills_specdec.measurement.attempts import check_attempts, cut_off_requests
from nemo_skills_specdec.measurement.checks import check_request
from nemo_skills_specdec.measurement.conclude import conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.request_statistics import contradictions, has_statistics, per_request_counts
from nemo_skills_specdec.measurement.result import Evaluation, prompts_of
from nemo_skills_specdec.records import Acceptance, Finding, RequestRecord

Columns = dict[str, Callable[[str, Any, Mapping[str, Any]], "str | None"]]
"""NeMo-Skills' form of a table: column -> (name, value, all values of the line) -> text."""


def evaluate_seeds(
    benchmark: str,
    seeds: Sequence[Sequence[RequestRecord]],
    kept: Sequence[Attempts] = (),
    beside: Mapping[str, Sequence[JobAttempt]] | None = None,
) -> Evaluation:
    """What the answers of all seeds amount to.

    Args:
        kept: what is kept about the attempts of all output files; without it there are per-request counts or nothing.
        beside: attempts of other jobs of the same evaluation. The counters hold those that used the server meanwhile,
            too, and are not compared with answers then.
    """
    records = [record for seed in seeds for record in seed]
    ids = {record.response_id for record in records if record.response_id is not None}
    attempts = taking_part((attempt for item in kept for attempt in item.attempts), ids)
    observed = [finding for item in kept for finding in item.findings]
    for item in kept[1:]:
        observed += [*item.server.findings, *check_request(_request(item), item.server)]
    observed += contradictions([reason for item in kept for reason in item.contradictions])
    observed += check_attempts(attempts, relied_on=not has_statistics(records))
    window = joined_windows(attempts)
    sharing = side_by_side(attempts, beside or {}) if has_statistics(records) else []
    if sharing:
        window = None
        observed.append(_shared(sharing))
    conditions = Conditions(
        benchmark=benchmark,
        prompts_planned=len({(record.category, record.question_id) for record in records}),
        request=_request(kept[0]) if kept else RequestOptions(model=""),
        observed=observed,
        cut_off=sum(map(cut_off_requests, attempts)),
        wall_seconds=busy_seconds(records),
    )
    server = kept[0].server if kept else ServerInfo(engine=None, base_url="")
    evidence = Evidence(conditions=conditions, server=server, records=records, window=window)
    return told_in_a_job(conclude(evidence))


def busy_seconds(records: Sequence[RequestRecord]) -> float:
    """Time in which at least one request was on its way; pauses between attempts and between seeds are left out."""
    busy, until = 0.0, -math.inf
    for start, end in sorted((record.start_time, record.end_time) for record in records if record.error is None):
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return busy


def line_of(evaluation: Evaluation, seeds: Sequence[Sequence[RequestRecord]], *, whole: bool) -> dict[str, Any]:
    """The values of one line of the table, and what stands in `metrics.json` beside them.

    Names and units are NeMo-Skills' where it has them (`spec_acceptance_rate` in percent); lists and intervals hold
    fractions. What is unknown is left out.

    Args:
        whole: whether this is the benchmark and not one of its categories: then everything is written out.
    """
    acceptance, averages = evaluation.overall.acceptance, evaluation.averages
    rate = acceptance.acceptance_rate
    intervals = acceptance.intervals
    values: dict[str, Any] = {
        "spec_acceptance_length": acceptance.acceptance_length,
        "spec_acceptance_rate": None if rate is None else 100 * rate,
        "spec_al_interval": _interval(acceptance),
        "spec_al_request_mean": averages.request_mean.acceptance_length,
        "spec_al_category_macro": averages.category_macro.acceptance_length if whole else None,
        "spec_conditional_rates": acceptance.conditional_acceptance_rates,
        "spec_per_position_rates": acceptance.per_position_acceptance_rates,
        "spec_num_drafts": acceptance.num_drafts,
        "spec_draft_tokens": acceptance.num_draft_tokens,
        "spec_accepted_tokens": acceptance.num_accepted_tokens,
        "spec_accepted_per_position": acceptance.accepted_per_position,
        "spec_tokens_per_step": acceptance.tokens_per_step,
        "spec_intervals": None if intervals is None else msgspec.to_builtins(intervals),
        "spec_source": acceptance.source,
        "num_requests": evaluation.overall.num_requests,
        "num_failed_requests": evaluation.overall.num_failed,
    }
    line = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if v is not None}
    if len(seeds) > 1:
        line |= _over_seeds(seeds)
    if whole:
        line["spec_findings"] = msgspec.to_builtins(acceptance.findings)
        line["specdec"] = msgspec.to_builtins(evaluation)
    return line


def columns() -> Columns:
    """The table: the columns that NeMo-Skills' users know, in their order, then ours."""
    return {
        "num_entries": as_whole,
        "avg_tokens": as_whole,
        "gen_seconds": as_whole,
        "spec_acceptance_length": as_figure,
        "spec_acceptance_rate": as_figure,
        "spec_al_interval": as_interval,
        "spec_al_request_mean": as_figure,
        "spec_al_category_macro": as_figure,
        "spec_conditional_rates": as_percentages,
        "spec_source": as_source,
    }


def as_whole(_name: str, value: Any, _line: Mapping[str, Any]) -> str:
    """A whole number."""
    return str(int(value))


def as_figure(name: str, value: Any, line: Mapping[str, Any]) -> str:
    """Two digits, and the spread over seeds where there are several."""
    spread = (line.get(f"{name}_statistics") or {}).get("std_dev_across_runs")
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"


def as_interval(_name: str, value: Any, _line: Mapping[str, Any]) -> str:
    """Both ends."""
    return f"[{value[0]:.2f}, {value[1]:.2f}]"


def as_percentages(_name: str, value: Any, _line: Mapping[str, Any]) -> str:
    """One figure a draft position, in percent; a dash where it is undefined."""
    return " ".join("-" if rate is None else f"{100 * rate:.1f}" for rate in value)


def as_source(_name: str, value: Any, line: Mapping[str, Any]) -> str:
    """Where the numbers come from, and whether they must not be used."""
    codes = [finding["code"] for finding in line.get("spec_findings", ()) if finding["severity"] == "invalid"]
    return f"{value} (INVALID: {', '.join(codes)})" if codes else str(value)


def told_in_words(evaluation: Evaluation) -> list[str]:
    """What a job says at its end: the result, the other averages, and every finding that asks for care."""
    acceptance, averages = evaluation.overall.acceptance, evaluation.averages
    rate = acceptance.acceptance_rate
    parts = [
        f"acceptance length {_figure(acceptance.acceptance_length)}"
        + (f" {as_interval('', interval, {})}" if (interval := _interval(acceptance)) else ""),
        f"acceptance rate {_figure(None if rate is None else 100 * rate)} %",
        f"drafts {acceptance.num_drafts}, draft tokens {acceptance.num_draft_tokens}, "
        f"accepted {acceptance.num_accepted_tokens}",
    ]
    for name, rates in (
        ("per position", acceptance.per_position_acceptance_rates),
        ("conditional", acceptance.conditional_acceptance_rates),
    ):
        if rates:
            parts.append(f"{name} {as_percentages('', rates, {})} %")
    lines = [
        f"Speculative decoding, from {acceptance.source}: " + "; ".join(parts),
        f"Averages of the acceptance length: pooled {_figure(averages.pooled.acceptance_length)}, request mean "
        f"{_figure(averages.request_mean.acceptance_length)}, category macro "
        f"{_figure(averages.category_macro.acceptance_length)}",
    ]
    return lines + [
        f"{finding.severity}: {finding.message} ({finding.code})"
        for finding in acceptance.findings
        if finding.severity != "info"
    ]


def _shared(names: Sequence[str]) -> Finding:
    return Finding(
        code="counters_shared",
        severity="info",
        message=f"Other jobs of the same evaluation ({', '.join(names)}) used the server at the same time, so its "
        "counters were not compared with these answers, whose statistics are this benchmark's alone.",
        numbers={"jobs": len(names)},
    )


def _request(kept: Attempts) -> RequestOptions:
    arguments = kept.arguments
    extra = arguments.get("extra_body")
    return RequestOptions(
        model=str(arguments.get("model", "")),
        temperature=arguments.get("temperature"),
        ignore_eos=bool(isinstance(extra, dict) and extra.get("ignore_eos")),
    )


def _over_seeds(seeds: Sequence[Sequence[RequestRecord]]) -> dict[str, Any]:
    """The spread over seeds, in the form that NeMo-Skills gives it; nothing where a seed has no figure of its own."""
    statistics: dict[str, Any] = {}
    for name, factor, figure in (
        ("spec_acceptance_length", 1, "acceptance_length"),
        ("spec_acceptance_rate", 100, "acceptance_rate"),
    ):
        runs = [
            getattr(per_request_counts(seed) or NO_STEPS, figure) if has_statistics(seed) else None for seed in seeds
        ]
        known = [factor * value for value in runs if value is not None]
        if len(known) < len(seeds):
            continue
        spread = stdev(known)
        by_prompt: dict[tuple[str, str], list[float]] = {}
        for seed in seeds:
            for prompt, value in _by_prompt(seed, figure).items():
                by_prompt.setdefault(prompt, []).append(factor * value)
        within = [stdev(values) for values in by_prompt.values() if len(values) == len(seeds)]
        statistics[f"{name}_statistics"] = {
            "avg": math.fsum(known) / len(known),
            "std_dev_across_runs": spread,
            "std_err_across_runs": spread / math.sqrt(len(known)),
            "avg_sample_std_dev": math.fsum(within) / len(within) if within else None,
        }
    return statistics


def _by_prompt(records: Sequence[RequestRecord], figure: str) -> dict[tuple[str, str], float]:
    names = list(dict.fromkeys((r.category, r.question_id) for r in records if r.counts is not None))
    figures = [getattr(total(prompt.requests), figure) for prompt in prompts_of(records)]
    return {name: value for name, value in zip(names, figures, strict=True) if value is not None}


def _interval(acceptance: Acceptance) -> list[float] | None:
    """The uncertainty of the acceptance length: the bounds where there are bounds, else the confidence interval."""
    interval = acceptance.acceptance_length_bounds or (
        acceptance.intervals.acceptance_length if acceptance.intervals else None
    )
    return None if interval is None else [interval.low, interval.high]


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
