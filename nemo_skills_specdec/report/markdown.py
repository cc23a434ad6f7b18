"""A page as Markdown: the words and tables of the HTML file, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.report.page import Page, PageTable
from nemo_skills_specdec.report.plot import Plot, cell_text
from nemo_skills_specdec.shown import markdown

MOST_ROWS = 30
"""A plot with more rows is a curve, which a table of texts does not show."""


def to_markdown(page: Page) -> str:
    """The whole file."""
    lines = [f"# {markdown(page.title)}", "", markdown(page.subtitle), "", markdown(page.verdict), ""]
    for finding in page.findings:
        if finding.severity != "info":
            lines += [f"> **{finding.severity}** {markdown(finding.message)} (`{finding.code}`)", ""]
    if page.headlines:
        head = ["figure", "value", ""]
        lines += table(head, [[item.name, item.value, item.detail] for item in page.headlines])
    for section in page.sections:
        lines += [f"## {markdown(section.title)}", ""]
        lines += [markdown(section.text), ""] if section.text else []
        for plot in section.plots:
            lines += _plot(plot)
        for item in section.tables:
            lines += _table(item)
        for command in section.commands:
            lines += [f"{markdown(command.title)}:", "", *(f"    {line}" for line in command.line.splitlines()), ""]
    remarks = [
        f"* {markdown(finding.message)} (`{finding.code}`)" for finding in page.findings if finding.severity == "info"
    ]
    if remarks:
        lines += ["## Remarks", "", *remarks, ""]
    return "\n".join([*lines, markdown(page.made_by), ""])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table, the first column to the left and the others to the right, with an empty line after it."""
    if not rows:
        return []
    return [
        "| " + " | ".join(map(markdown, head)) + " |",
        "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|",
        *("| " + " | ".join(map(markdown, row)) + " |" for row in rows),
        "",
    ]


def _plot(plot: Plot) -> list[str]:
    if len(plot.rows) > MOST_ROWS:
        return [f"### {markdown(plot.title)}", "", markdown(plot.alt), ""]
    rows = [[cell_text(row, column) for column in plot.columns] for row in plot.rows]
    titles = [column.title for column in plot.columns]
    return [f"### {markdown(plot.title)}", "", *table(titles, rows), markdown(plot.caption), ""]


def _table(item: PageTable) -> list[str]:
    found = table(item.head, item.rows)
    if not found:
        return []
    return [f"### {markdown(item.title)}", "", *found, *([markdown(item.note), ""] if item.note else [])]
