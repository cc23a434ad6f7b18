"""A Grafana dashboard as plain data, to be imported from its JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.engines.base import EngineName
from nemo_skills_specdec.grafana.queries import EngineQueries, queries_of

SELECTOR = 'job=~"$job",instance=~"$instance",model_name=~"$model"'
"""A label that a series lacks matches as well, so llama.cpp's, which have no model, are found."""
WINDOW = "$__rate_interval"
_REPLICA, _POOLED = "{{instance}} {{engine}}", "{{job}} {{model_name}}"
_COLUMNS = 24

Panel = dict[str, Any]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One query of a panel, and the name of its lines."""

    expr: str
    legend: str


class PanelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a panel shows.

    Attributes:
        of: the queries for one engine; an engine that does not count it has none.
    """

    title: str
    description: str
    unit: str
    of: Callable[[EngineQueries], list[Query]]


def dashboard(engines: Sequence[EngineName]) -> dict[str, Any]:
    """The dashboard for servers of some engines; those that are not there leave no trace in the panels."""
    queries = [queries_of(engine, SELECTOR, WINDOW) for engine in engines]
    panels = [_panel(number, plan, queries) for number, plan in enumerate(_PLANS)]
    return {
        "title": "Speculative decoding",
        "uid": "specdec",
        "description": "Acceptance from the engines' own counters. Written by ns-specdec grafana.",
        "tags": ["speculative-decoding", *engines],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables(queries)},
        "panels": panels,
    }


def _acceptance_length(one: EngineQueries) -> list[Query]:
    return _bounds(one, one.drafts, "1 + ", _same, _REPLICA)


def _pooled_length(one: EngineQueries) -> list[Query]:
    return _bounds(one, one.drafts, "1 + ", _pool, _POOLED)


def _acceptance_rate(one: EngineQueries) -> list[Query]:
    return _bounds(one, one.draft_tokens, "", _same, _REPLICA)


def _per_position(one: EngineQueries) -> list[Query]:
    if one.per_position is None:
        return []
    positions = f"sum by (job, model_name, position) ({one.per_position})"
    return [
        Query(
            expr=f"{positions} / ignoring (position) group_left () ({_pool(one.drafts)} > 0)",
            legend="{{model_name}} p{{position}}",
        )
    ]


def _tokens_per_step(one: EngineQueries) -> list[Query]:
    if one.steps is None or one.step_tokens is None:
        return []
    return [Query(expr=f"({one.step_tokens}) / ({one.steps} > 0)", legend=_REPLICA)]


def _drafted(one: EngineQueries) -> list[Query]:
    return [
        Query(expr=_pool(one.draft_tokens), legend=f"drafted {_POOLED}"),
        Query(expr=_pool(one.accepted_low), legend=f"accepted {_POOLED}"),
    ]


def _throughput(one: EngineQueries) -> list[Query]:
    return [Query(expr=one.generation_tokens, legend=_REPLICA)]


def _requests(one: EngineQueries) -> list[Query]:
    return [Query(expr=one.requests, legend=_REPLICA)] if one.requests is not None else []


def _in_flight(one: EngineQueries) -> list[Query]:
    return [Query(expr=one.in_flight, legend=_REPLICA)]


def _cache(one: EngineQueries) -> list[Query]:
    return [Query(expr=f"({one.cached_prompt_tokens}) / (({one.prompt_tokens}) > 0)", legend=_REPLICA)]


_BRACKETS = "SGLang counts no accepted tokens, so the value is only known to lie between low and high. "
_PLANS = [
    PanelPlan(
        title="Acceptance length, pooled",
        description=f"1 + accepted tokens / verification steps, summed over the replicas of a model. {_BRACKETS}",
        unit="none",
        of=_pooled_length,
    ),
    PanelPlan(
        title="Acceptance length by replica",
        description=f"1 + accepted tokens / verification steps. {_BRACKETS}",
        unit="none",
        of=_acceptance_length,
    ),
    PanelPlan(
        title="Acceptance rate by replica",
        description=f"Accepted tokens / draft tokens. {_BRACKETS}",
        unit="percentunit",
        of=_acceptance_rate,
    ),
    PanelPlan(
        title="Acceptance rate by draft position",
        description="Steps that accepted the position / all verification steps. SGLang does not count it.",
        unit="percentunit",
        of=_per_position,
    ),
    PanelPlan(
        title="Tokens per decode step",
        description="Steps without drafts included; this is what speed follows. Only vLLM counts steps as they happen.",
        unit="none",
        of=_tokens_per_step,
    ),
    PanelPlan(
        title="Draft tokens",
        description="Proposed and accepted per second; for SGLang the fewest that were accepted.",
        unit="none",
        of=_drafted,
    ),
    PanelPlan(
        title="Throughput",
        description="Generated tokens per second; SGLang counts them when a request ends.",
        unit="none",
        of=_throughput,
    ),
    PanelPlan(title="Requests ended", description="Per second.", unit="reqps", of=_requests),
    PanelPlan(title="Requests in flight", description="Running and waiting.", unit="none", of=_in_flight),
    PanelPlan(
        title="Prompt tokens from the prefix cache",
        description="Of all prompt tokens.",
        unit="percentunit",
        of=_cache,
    ),
]


def _same(expr: str) -> str:
    return f"({expr})"


def _pool(expr: str) -> str:
    return f"sum by (job, model_name) ({expr})"


def _bounds(one: EngineQueries, of: str, plus: str, level: Callable[[str], str], legend: str) -> list[Query]:
    """A ratio of sums; two where the numerator is only bracketed."""
    ends = {"": one.accepted_low} if one.exact else {" low": one.accepted_low, " high": one.accepted_high}
    return [
        Query(expr=f"{plus}{level(accepted)} / ({level(of)} > 0)", legend=f"{legend}{end}")
        for end, accepted in ends.items()
    ]


def _panel(number: int, plan: PanelPlan, engines: Sequence[EngineQueries]) -> Panel:
    queries = [query for one in engines for query in plan.of(one)]
    width, height = _COLUMNS // 2, 8
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": plan.title,
        "description": plan.description.strip(),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": number % 2 * width, "y": number // 2 * height, "w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": plan.unit, "custom": {"spanNulls": False}}, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["last", "min", "max"]}},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "expr": query.expr,
                "legendFormat": query.legend,
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
            }
            for place, query in enumerate(queries)
        ],
    }


def _variables(engines: Sequence[EngineQueries]) -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    names = "|".join(one.engine for one in engines)
    series = f'{{__name__=~"({names}):.*"}}'
    return [source, *(_variable(name, label, series) for name, label in _LABELS.items())]


_LABELS = {"job": "job", "instance": "instance", "model": "model_name"}
"""A variable of the dashboard, and the label that it chooses by."""


def _variable(name: str, label: str, series: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": f"label_values({series}, {label})", "refId": name},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }
