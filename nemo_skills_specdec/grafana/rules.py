"""Recording and alerting rules for Prometheus, as YAML."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.engines.base import EngineName
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.grafana.queries import EngineQueries, queries_of

_POOL = "job, model_name"
"""Labels of what is added up over replicas."""


class RecordingRule(msgspec.Struct, frozen=True, kw_only=True):
    """One `record` of a group."""

    name: str
    expr: str
    labels: dict[str, str] = {}


class AlertingRule(msgspec.Struct, frozen=True, kw_only=True):
    """One `alert` of a group; `lasting` is how long it must hold, such as `10m`."""

    name: str
    expr: str
    lasting: str
    severity: str
    summary: str
    description: str


def rules_yaml(engines: Sequence[EngineName], *, window: str, min_al: float) -> str:
    """The file of rules.

    Args:
        engines: whose series there are.
        window: of every rate, such as `5m`; part of the rules' names.
        min_al: acceptance length below which the first alert fires.
    """
    groups: list[tuple[str, Sequence[RecordingRule | AlertingRule]]] = [
        (f"specdec-{engine}", counts(queries_of(engine, "", window), window)) for engine in engines
    ]
    groups += [("specdec-rates", rates(window)), ("specdec-alerts", alerts(window, min_al))]
    lines = [
        "# Written by `ns-specdec grafana`. Counts of each engine, rates of each replica and pooled, alerts.",
        "groups:",
    ]
    for name, rules in groups:
        lines += [f"  - name: {name}", "    rules:"]
        for rule in rules:
            lines += _record(rule) if isinstance(rule, RecordingRule) else _alert(rule)
    return "\n".join(lines) + "\n"


def counts(queries: EngineQueries, window: str) -> list[RecordingRule]:
    """What one engine counts per second and replica, under names that all engines share."""
    told = {
        "drafts": queries.drafts,
        "draft_tokens": queries.draft_tokens,
        "accepted_tokens_low": queries.accepted_low,
        "accepted_tokens_high": queries.accepted_high,
        "accepted_tokens_per_position": queries.per_position,
        "decode_steps": queries.steps,
        "decode_step_tokens": queries.step_tokens,
        "requests": queries.requests,
        "generation_tokens": queries.generation_tokens,
        "prompt_tokens": queries.prompt_tokens,
        "cached_prompt_tokens": queries.cached_prompt_tokens,
    }
    labels = {"speculating": ENGINES[queries.engine].FACTS.name}
    return [
        RecordingRule(name=_name(name, window), expr=expr, labels=labels)
        for name, expr in told.items()
        if expr is not None
    ]


def rates(window: str) -> list[RecordingRule]:
    """Acceptance of each replica, and pooled over those of a job and model; bounds where that is all there is."""
    found = []
    for level, pooled in (("", False), ("job_model:", True)):

        def counted(name: str, pooled: bool = pooled) -> str:
            series = _name(name, window)
            return f"sum by ({_POOL}) ({series})" if pooled else series

        drafts, tokens = f"({counted('drafts')} > 0)", f"({counted('draft_tokens')} > 0)"
        for end in ("low", "high"):
            accepted = counted(f"accepted_tokens_{end}")
            found += [
                RecordingRule(
                    name=f"{level}{_name(f'acceptance_length_{end}', window)}", expr=f"1 + {accepted} / {drafts}"
                ),
                RecordingRule(name=f"{level}{_name(f'acceptance_rate_{end}', window)}", expr=f"{accepted} / {tokens}"),
            ]
        positions = _name("accepted_tokens_per_position", window)
        match = f"sum by ({_POOL}, position) ({positions})" if pooled else positions
        found += [
            RecordingRule(
                name=f"{level}{_name('acceptance_rate_per_position', window)}",
                expr=f"{match} / ignoring (position) group_left () {drafts}",
            ),
            RecordingRule(
                name=f"{level}{_name('tokens_per_step', window)}",
                expr=f"{counted('decode_step_tokens')} / ({counted('decode_steps')} > 0)",
            ),
            RecordingRule(
                name=f"{level}{_name('prefix_cache_hit_rate', window)}",
                expr=f"{counted('cached_prompt_tokens')} / ({counted('prompt_tokens')} > 0)",
            ),
        ]
    return found


def alerts(window: str, min_al: float) -> list[AlertingRule]:
    """Acceptance that is low, that has fallen, or that is not there at all."""
    high = f"job_model:{_name('acceptance_length_high', window)}"
    accepted, drafts = _name("accepted_tokens_high", window), _name("drafts", window)
    # llama.cpp has counters of drafts whether or not it speculates.
    day, idle = "[1d] offset 1h", '{speculating="vllm"}'
    usual = (
        f"1 + sum by ({_POOL}) (sum_over_time({accepted}{day})) / (sum by ({_POOL}) (sum_over_time({drafts}{day})) > 0)"
    )
    return [
        AlertingRule(
            name="SpecdecAcceptanceLengthLow",
            expr=f"{high} < {min_al:g}",
            lasting="10m",
            severity="warning",
            summary="Acceptance length of {{ $labels.model_name }} is {{ $value | printf `%.2f` }}",
            description=f"Below {min_al:g} for 10 minutes, pooled over the replicas of {{{{ $labels.job }}}}.",
        ),
        AlertingRule(
            name="SpecdecAcceptanceLengthFallen",
            expr=f"({high} - 1) < 0.7 * ({usual} - 1)",
            lasting="30m",
            severity="warning",
            summary="Acceptance of {{ $labels.model_name }} has fallen",
            description="Fewer than 70 % as many tokens are accepted per step as in the day before.",
        ),
        AlertingRule(
            name="SpecdecNothingDrafted",
            expr=f"{_name('generation_tokens', window)}{idle} > 0 and {drafts}{idle} == 0",
            lasting="15m",
            severity="info",
            summary="{{ $labels.instance }} generates and drafts nothing",
            description="Speculation is configured, but no step has carried a draft for 15 minutes.",
        ),
    ]


def _name(figure: str, window: str) -> str:
    return f"specdec_{figure}:rate{window}"


def _record(rule: RecordingRule) -> list[str]:
    lines = [f"      - record: {rule.name}", "        expr: >-", f"          {rule.expr}"]
    if rule.labels:
        lines += ["        labels:", *(f"          {name}: {value}" for name, value in rule.labels.items())]
    return lines


def _alert(rule: AlertingRule) -> list[str]:
    return [
        f"      - alert: {rule.name}",
        "        expr: >-",
        f"          {rule.expr}",
        f"        for: {rule.lasting}",
        "        labels:",
        f"          severity: {rule.severity}",
        "        annotations:",
        f"          summary: '{rule.summary}'",
        f"          description: '{rule.description}'",
    ]
