"""Differences of counters over a window, one by one for each endpoint and label set.

A counter is differenced per label set and only then summed: data-parallel engines, streaming and plain requests, or
draft positions each have their own label set, and the reset of one would hide in a sum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from nemo_skills_specdec.engines.exposition import START_TIME, Labels, Samples, labels_text
from nemo_skills_specdec.records import Finding

USE_LABELS = frozenset(
    {"position", "token_position", "finished_reason", "is_streaming", "mode", "cache_source", "priority"}
)
"""Labels whose values appear when they are first used: a position that was accepted, a request that was streamed."""

EXACT_FLOATS = 2**53
"""From here on a float no longer holds every integer, so a difference of counters may be off."""

_CAUSES = {
    "counters_decreased": "went back from {before:.0f} to {after:.0f}: the server restarted in the window, or another "
    "one answered; measure again, and give every replica its own --metrics-url.",
    "missing_label_set": "was {before:.0f} before the window and is missing after it: an engine or a replica went "
    "away; measure again, and give every replica its own --metrics-url.",
    "missing_before": "is {after:.0f} after the window and was missing before it, so how much of it belongs to the "
    "window is unknown: the text before was cut off, or an engine joined; measure again, after a request to warm up.",
    "not_a_count": "goes from {before:g} to {after:g}, which are not counts; is this really the text of an inference "
    "server's /metrics?",
}
"""Why the difference of a counter must not be used, by the code of the finding; the series comes before."""


class CounterDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How far one counter went in a window.

    Attributes:
        parts: label set and increase, one entry per endpoint and label set.
        findings: why the difference must not be used.
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


def gauge_values(readings: Iterable[Samples], name: str) -> list[tuple[Labels, float]]:
    """All finite samples of a gauge, over all endpoints."""
    return [
        (labels, value)
        for samples in readings
        for labels, value in samples.series.get(name, {}).items()
        if abs(value) < EXACT_FLOATS
    ]


def gauge_total(readings: Iterable[Samples], names: Sequence[str]) -> int | None:
    """The sum of some gauges that count things; None if none of them is there."""
    values = [value for name in names for _, value in gauge_values(readings, name)]
    return round(sum(values)) if values else None


def difference(
    name: str, before: Sequence[Samples], after: Sequence[Samples], *, late: bool = False
) -> CounterDifference | None:
    """Differences one counter per endpoint and label set.

    A label set that is gone leaves its part of the window unknown, one that decreased belongs to another server
    process, and one that is new holds an unknown part from before the window: all three are findings. A new one counts
    from 0 only if that is sure: the endpoint had counted nothing yet, or the label set differs from one that was there
    by a label that appears with its first use.

    Args:
        before: one reading per endpoint, as `after`, in the same order.
        late: whether this counter itself appears when it is first used, and nothing exact rests on it.

    Returns:
        None if the counter is nowhere in `after` nor in `before`.
    """
    if not any(name in samples.series for samples in [*before, *after]):
        return None
    parts: list[tuple[Labels, int]] = []
    findings: list[Finding] = []
    for old_samples, new_samples in zip(before, after, strict=True):
        old, new = old_samples.series.get(name, {}), new_samples.series.get(name, {})
        from_zero = late or _had_counted_nothing(old_samples)
        known = {_without_use(labels) for labels in old}
        gone = {labels: value for labels, value in old.items() if labels not in new}
        findings += [_broken("missing_label_set", name, labels, value, None) for labels, value in gone.items()]
        for labels, value in sorted(new.items(), key=lambda item: sorted(item[0])):
            start = old.get(labels, 0.0)
            if not (_is_count(value) and _is_count(start)):
                findings.append(_broken("not_a_count", name, labels, start, value))
            elif value < start:
                findings.append(_broken("counters_decreased", name, labels, start, value))
            elif labels not in old and value and not from_zero and _without_use(labels) not in known:
                findings.append(_broken("missing_before", name, labels, None, value))
            else:
                parts.append((labels, int(value) - int(start)))
    return CounterDifference(name=name, parts=tuple(parts), findings=tuple(findings))


def differences(
    names: Mapping[str, str], before: Sequence[Samples], after: Sequence[Samples], *, late: Collection[str] = ()
) -> tuple[dict[str, CounterDifference], list[Finding]]:
    """Differences several counters, and collects what is wrong with them and with the window.

    Args:
        names: a short name of ours for each series name.
        late: short names of the counters that appear when they are first used.

    Returns:
        The differences under the short names, absent where the series is absent; and findings.
    """
    found = {short: difference(name, before, after, late=short in late) for short, name in names.items()}
    present = {short: value for short, value in found.items() if value is not None}
    findings = [finding for value in present.values() for finding in value.findings]
    return present, _summarised(findings) + restarts(before, after)


def sound_totals(deltas: Mapping[str, CounterDifference]) -> dict[str, int]:
    """The increase of each counter of which nothing is wrong."""
    return {short: delta.total for short, delta in deltas.items() if not delta.findings}


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
                    "another process answered; measure again, and give every replica its own --metrics-url.",
                    numbers={"series": name, "before": was, "after": now},
                )
            )
    return findings


def _had_counted_nothing(samples: Samples) -> bool:
    """Whether no counter of the engine had counted anything: there was no server yet, or an unused one."""
    return not any(
        value
        for name, label_sets in samples.series.items()
        if name.endswith(("_total", "_count"))
        for value in label_sets.values()
    )


def _without_use(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] not in USE_LABELS)


def _is_count(value: float) -> bool:
    return value.is_integer() and abs(value) < EXACT_FLOATS


def _changed_birth(old: Samples, new: Samples) -> tuple[str, float, float] | None:
    births = [name for name in old.series if name == START_TIME or name.endswith("_created")]
    for name in sorted(births, key=lambda name: (name != START_TIME, name)):
        for labels, was in old.series[name].items():
            now = new.series.get(name, {}).get(labels, was)
            if now != was:
                return name, was, now
    return None


def _broken(code: str, name: str, labels: Labels, before: float | None, after: float | None) -> Finding:
    series = f"{name}{labels_text(labels)}"
    # Not a count may also be what JSON has no number for.
    told = [str(value) if code == "not_a_count" else value for value in (before, after)]
    return Finding(
        code=code,
        severity="invalid",
        message=f"{series} {_CAUSES[code].format(before=before, after=after)}",
        numbers={"series": series, "before": told[0], "after": told[1]},
    )


def _summarised(findings: Sequence[Finding]) -> list[Finding]:
    """One finding per code: a restarted server decreases every counter, and one of them says enough."""
    result = []
    for code in dict.fromkeys(finding.code for finding in findings):
        same = [finding for finding in findings if finding.code == code]
        more = f" ({len(same) - 1} more like this.)" if len(same) > 1 else ""
        result.append(msgspec.structs.replace(same[0], message=f"{same[0].message}{more}"))
    return result
