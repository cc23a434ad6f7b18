"""The content of a report as plain data; `html` and `markdown` write the same content."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.records import Finding
from nemo_skills_specdec.report.plot import Plot


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """One large number with its name above and what there is to say about it below."""

    name: str
    value: str
    detail: str = ""


class PageTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table of texts; the first column names the row.

    Attributes:
        folded: whether it opens on demand, as one detail of many.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False


class ShellLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line for the shell, and what it does."""

    title: str
    line: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a page."""

    title: str
    text: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[PageTable] = ()
    commands: Sequence[ShellLine] = ()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report.

    Attributes:
        verdict: one sentence that sums it up, with the numbers.
        findings: all of them; the grave ones are shown first.
    """

    title: str
    subtitle: str
    verdict: str
    headlines: Sequence[Headline] = ()
    findings: Sequence[Finding] = ()
    sections: Sequence[Section] = ()
    made_by: str = ""

    @property
    def plots(self) -> list[Plot]:
        """The plots of all sections."""
        return [plot for section in self.sections for plot in section.plots]
