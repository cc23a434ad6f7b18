"""A page as Markdown: the words and tables of the HTML file, for a pull request or a wiki."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nemo_skills_specdec.report.page import Page, PageTable
from nemo_skills_specdec.report.plot import Plot, cell_text

MOST_ROWS = 30
"""A plot with more rows is a curve, which a table of texts does not show."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def to_markdown(page: Page) -> str:
    """The whole file."""
    lines = [f"# {escaped(page.title)}", "", escaped(page.subtitle), "", escaped(page.verdict), ""]
    for finding in page.findings:
        if finding.severity != "info":
            lines += [f"> **{finding.severity}** {escaped(finding.message)} (`{finding.code}`)", ""]
    if page.headlines:
        head = ["figure", "value", ""]
        lines += table(head, [[item.name, item.value, item.detail] for item in page.headlines])
    for section in page.sections:
        lines += [f"## {escaped(section.title)}", ""]
        lines += [escaped(section.text), ""] if section.text else []
        for plot in section.plots:
            lines += _plot(plot)
        for item in section.tables:
            lines += _table(item)
        for command in section.commands:
            lines += [f"{escaped(command.title)}:", "", *(f"    {line}" for line in command.line.splitlines()), ""]
    remarks = [
        f"* {escaped(finding.message)} (`{finding.code}`)" for finding in page.findings if finding.severity == "info"
    ]
    if remarks:
        lines += ["## Remarks", "", *remarks, ""]
    return "\n".join([*lines, escaped(page.made_by), ""])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table, the first column to the left and the others to the right, with an empty line after it."""
    if not rows:
        return []
    return [
        "| " + " | ".join(map(escaped, head)) + " |",
        "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|",
        *("| " + " | ".join(map(escaped, row)) + " |" for row in rows),
        "",
    ]


def escaped(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _plot(plot: Plot) -> list[str]:
    if len(plot.rows) > MOST_ROWS:
        return [f"### {escaped(plot.title)}", "", escaped(plot.alt), ""]
    rows = [[cell_text(row, column) for column in plot.columns] for row in plot.rows]
    titles = [column.title for column in plot.columns]
    return [f"### {escaped(plot.title)}", "", *table(titles, rows), escaped(plot.caption), ""]


def _table(item: PageTable) -> list[str]:
    found = table(item.head, item.rows)
    if not found:
        return []
    return [f"### {escaped(item.title)}", "", *found, *([escaped(item.note), ""] if item.note else [])]
