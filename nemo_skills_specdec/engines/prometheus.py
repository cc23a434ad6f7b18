"""Exposition text to samples per label set, and differences of counters over a window.

A counter is differenced per label set and only then summed: data-parallel engines, streaming and plain requests, or
draft positions each have their own label set, and the reset of one would hide in a sum.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from nemo_skills_specdec.engines.base import Labels, Samples
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.records import Finding

ENGINE_PREFIXES = ("vllm:", "sglang:", "llamacpp:")

_START_TIME = "process_start_time_seconds"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How far one counter went in a window.

    Attributes:
        parts: label set and increase, one entry per endpoint and label set.
        findings: why the difference must not be used (`counters_decreased`, `missing_label_set`, `not_a_count`).
    """

    name: str
    parts: tuple[tuple[Labels, int], ...]
    findings: tuple[Finding, ...] = ()

    @property
    def total(self) -> int:
        """The increase over all endpoints and label sets."""
        return sum(value for _, value in self.parts)

    def by_label(self, label: str) -> dict[str, int]:
        """The increase per value of one label; label sets without it are left out."""
        sums: dict[str, int] = {}
        for labels, value in self.parts:
            key = dict(labels).get(label)
            if key is not None:
                sums[key] = sums.get(key, 0) + value
        return sums


def parse_metrics(text: str, where: str = "the metrics") -> Samples:
    """Samples of one exposition text, in the classic or in the OpenMetrics format; series names exactly as they stand.

    Args:
        where: what the text is, for error messages: a path or a URL.

    Raises:
        DataError: the text is empty, an HTML page, JSON, or no exposition text, or an engine's sample stands twice.
    """
    problem = not_metrics(text)
    if problem is not None:
        raise DataError(f"{where} {problem}")
    series: dict[str, dict[Labels, float]] = {}
    for family in _families(text, where):
        for sample in family.samples:
            label_sets = series.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            if labels in label_sets and sample.name.startswith(ENGINE_PREFIXES):
                raise DataError(
                    f"{where} holds {sample.name}{_labels_text(labels)} twice; give the text of one endpoint, "
                    "and one --metrics-url per endpoint"
                )
            label_sets[labels] = float(sample.value)
    if not series:
        raise DataError(f"{where} holds no sample; give the text of an inference server's /metrics")
    return Samples(series)


def not_metrics(text: str) -> str | None:
    """What a text is if it is plainly no exposition text (empty, an HTML page, JSON), with the cure; None otherwise."""
    head = text.lstrip("\ufeff \t\r\n")[:200].lower()
    if not head:
        return "is empty; give the text of an inference server's /metrics"
    if head.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return "is a web page, not metrics; give the URL or the text of an inference server's /metrics"
    if head.startswith(("{", "[", '"')):
        return "is JSON, not metrics; give the URL or the text of an inference server's /metrics"
    return None


def has_prefix(samples: Samples, prefix: str) -> bool:
    """Whether any series begins so."""
    return any(name.startswith(prefix) for name in samples.series)


def series_name(name: str, readings: Iterable[Samples]) -> str:
    """The name under which a counter stands: with `_total`, as exposed, or without, as some exporters write it."""
    if name.endswith("_total") and any(name[: -len("_total")] in samples.series for samples in readings):
        with_total = any(name in samples.series for samples in readings)
        return name if with_total else name[: -len("_total")]
    return name


def gauge_values(readings: Iterable[Samples], name: str) -> list[tuple[Labels, float]]:
    """All samples of a gauge, over all endpoints."""
    return [pair for samples in readings for pair in samples.series.get(name, {}).items()]


def gauge_total(readings: Iterable[Samples], names: Sequence[str]) -> int | None:
    """The sum of some gauges that count things; None if none of them is there."""
    values = [value for name in names for _, value in gauge_values(readings, name)]
    return round(sum(values)) if values else None


def difference(name: str, before: Sequence[Samples], after: Sequence[Samples]) -> Difference | None:
    """Differences one counter per endpoint and label set.

    A label set that is new counts from 0, because counters appear when they are first used. A label set that is gone
    leaves its part of the window unknown, and one that decreased belongs to another server process: both are findings.

    Args:
        name: series name; the form without `_total` is taken where only that is there.
        before: one reading per endpoint.
        after: the same endpoints in the same order.

    Returns:
        None if the counter is nowhere in `after` nor in `before`.
    """
    name = series_name(name, [*after, *before])
    if not any(name in samples.series for samples in [*before, *after]):
        return None
    parts: list[tuple[Labels, int]] = []
    findings: list[Finding] = []
    for old_samples, new_samples in zip(before, after, strict=True):
        old, new = old_samples.series.get(name, {}), new_samples.series.get(name, {})
        findings += [_missing(name, labels, value) for labels, value in old.items() if labels not in new]
        for labels, value in sorted(new.items(), key=lambda item: sorted(item[0])):
            start = old.get(labels, 0.0)
            if not (value.is_integer() and start.is_integer()):
                findings.append(_not_a_count(name, labels, start, value))
            elif value < start:
                findings.append(_decreased(name, labels, start, value))
            else:
                parts.append((labels, int(value) - int(start)))
    return Difference(name=name, parts=tuple(parts), findings=tuple(findings))


def differences(
    names: Mapping[str, str], before: Sequence[Samples], after: Sequence[Samples]
) -> tuple[dict[str, Difference], list[Finding]]:
    """Differences several counters, and collects what is wrong with them and with the window.

    Args:
        names: a short name of ours for each series name.

    Returns:
        The differences under the short names, absent where the series is absent; and findings.
    """
    found = {short: difference(name, before, after) for short, name in names.items()}
    present = {short: value for short, value in found.items() if value is not None}
    findings = [finding for value in present.values() for finding in value.findings]
    return present, _summarised(findings) + restarts(before, after)


def restarts(before: Sequence[Samples], after: Sequence[Samples]) -> list[Finding]:
    """A finding per endpoint whose process start, or whose counters' creation time (`_created`), changed."""
    findings = []
    for old, new in zip(before, after, strict=True):
        changed = _changed_birth(old, new)
        if changed is not None:
            name, was, now = changed
            findings.append(
                Finding(
                    code="process_restarted",
                    severity="invalid",
                    message=f"{name} changed from {was:.3f} to {now:.3f}: the server restarted in the window, or "
                    "another process answered; measure again, and give every replica its own --metrics-url",
                    numbers={"series": name, "before": was, "after": now},
                )
            )
    return findings


def _families(text: str, where: str) -> list[Metric]:
    classic, openmetrics = parse_classic, parse_openmetrics
    parsers = (openmetrics, classic) if re.search(r"^# EOF\s*\Z", text, re.MULTILINE) else (classic,)
    problem: Exception | None = None
    for parser in parsers:
        try:
            return list(parser(text))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            problem = error
    raise DataError(
        f"{where} is no Prometheus text ({str(problem)[:120]}); give the URL or the text of an inference server's "
        "/metrics"
    ) from problem


def _changed_birth(old: Samples, new: Samples) -> tuple[str, float, float] | None:
    births = [name for name in old.series if name == _START_TIME or name.endswith("_created")]
    for name in sorted(births, key=lambda name: (name != _START_TIME, name)):
        for labels, was in old.series[name].items():
            now = new.series.get(name, {}).get(labels, was)
            if now != was:
                return name, was, now
    return None


def _decreased(name: str, labels: Labels, start: float, value: float) -> Finding:
    return Finding(
        code="counters_decreased",
        severity="invalid",
        message=f"{name}{_labels_text(labels)} went back from {start:.0f} to {value:.0f}: the server restarted in the "
        "window, or another one answered; measure again, and give every replica its own --metrics-url",
        numbers={"series": f"{name}{_labels_text(labels)}", "before": start, "after": value},
    )


def _missing(name: str, labels: Labels, start: float) -> Finding:
    return Finding(
        code="missing_label_set",
        severity="invalid",
        message=f"{name}{_labels_text(labels)} was {start:.0f} before the window and is gone after it: an engine or a "
        "replica went away; measure again, and give every replica its own --metrics-url",
        numbers={"series": f"{name}{_labels_text(labels)}", "before": start, "after": None},
    )


def _not_a_count(name: str, labels: Labels, start: float, value: float) -> Finding:
    return Finding(
        code="not_a_count",
        severity="invalid",
        message=f"{name}{_labels_text(labels)} goes from {start} to {value}, which are no counts; "
        "is this really the text of an inference server's /metrics?",
        numbers={"series": f"{name}{_labels_text(labels)}", "before": str(start), "after": str(value)},
    )


def _summarised(findings: Sequence[Finding]) -> list[Finding]:
    """One finding per code: a restarted server decreases every counter, and one of them says enough."""
    result = []
    for code in dict.fromkeys(finding.code for finding in findings):
        same = [finding for finding in findings if finding.code == code]
        first = same[0]
        result.append(
            msgspec.structs.replace(first, message=f"{first.message} ({len(same) - 1} more like this)")
            if len(same) > 1
            else first
        )
    return result


def _labels_text(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels)) + "}" if labels else ""
