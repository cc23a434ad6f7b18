"""A comparison as Markdown, short enough for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.compare.change import FigureChange
from nemo_skills_specdec.compare.comparison import Comparison
from nemo_skills_specdec.compare.outputs import outputs_text
from nemo_skills_specdec.compare.wording import (
    UNKNOWN,
    change_text,
    interval_text,
    noise_text,
    reasons_of,
    threshold_text,
    value_text,
)
from nemo_skills_specdec.shown import markdown

_MARKS = {"met": "✅", "violated": "❌", "undecided": "⚠️"}


def comparison_markdown(comparison: Comparison) -> str:
    """Thresholds first, then the totals, the findings, and the categories folded away."""
    level = f"{100 * (1 - comparison.significance):g} % interval"
    lines = [
        f"### {markdown(comparison.run.label)}",
        "",
        f"Baseline: {markdown(comparison.baseline.label)}. {comparison.prompts} prompts, "
        f"{len(comparison.baseline.directories)} and {len(comparison.run.directories)} run(s).",
        "",
        *(f"- {_MARKS[result.outcome]} {markdown(threshold_text(result))}" for result in comparison.thresholds),
        *([""] if comparison.thresholds else []),
        *_table(comparison.overall, level, "figure", [change.title for change in comparison.overall]),
        "",
        *(f"- {markdown(line)}" for line in outputs_text(comparison)),
        *_notes(comparison),
        *(f"- {finding.severity}: {markdown(finding.message)}" for finding in comparison.findings),
    ]
    for number, title in enumerate(_category_titles(comparison)):
        changes = [members[number] for members in comparison.categories.values()]
        if any(change.difference is not None for change in changes):
            lines += ["", f"<details><summary>{title} by category</summary>", ""]
            lines += _table(changes, level, "category", list(comparison.categories))
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _table(changes: Sequence[FigureChange], level: str, head: str, names: Sequence[str]) -> list[str]:
    shown = [(name, change) for name, change in zip(names, changes, strict=True) if change.run is not None]
    return [
        f"| {head} | baseline | run | change | {level} | verdict |",
        "|---|---|---|---|---|---|",
        *(
            f"| {markdown(name)} | {value_text(change, change.baseline)} | {value_text(change, change.run)} "
            f"| {change_text(change)} | {interval_text(change)} | {_verdict(change)} |"
            for name, change in shown
        ),
    ]


def _verdict(change: FigureChange) -> str:
    return change.verdict if change.p_value is not None else UNKNOWN


def _notes(comparison: Comparison) -> list[str]:
    """What the intervals hold, and which figures are missing and why, each said once."""
    held: dict[str, list[str]] = {}
    for change in comparison.overall:
        if change.noise:
            held.setdefault(noise_text(change), []).append(change.title)
    return [
        *(f"- Intervals of {', '.join(titles)} hold {noise}." for noise, titles in held.items()),
        *(f"- {', '.join(titles)}: {reason}." for reason, titles in reasons_of(comparison.overall).items()),
        "- Verdicts are corrected for many comparisons: a false one anywhere in the table has a probability of at "
        f"most {comparison.significance:g}.",
    ]


def _category_titles(comparison: Comparison) -> list[str]:
    return [change.title for change in next(iter(comparison.categories.values()), [])]
