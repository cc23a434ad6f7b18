"""A page as one HTML file that needs nothing else: no network, no other file.

Names, prompts and whatever else comes from servers are text: Jinja escapes what stands in the page, and the data of the
plots is JSON in which no `<` is left. A content security policy in the file forbids every request.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from nemo_skills_specdec.report.glossary import TERMS, split_terms
from nemo_skills_specdec.report.page import Page
from nemo_skills_specdec.report.plot import UNKNOWN, Column, Plot, PlotRow, cell_text
from nemo_skills_specdec.report.theme import THEME, stylesheet
from nemo_skills_specdec.shown import plain

SCRIPTS = ("vega-6.4.0.min.js", "vega-lite-6.4.3.min.js", "page.js")
MOST_TABLE_ROWS = 60
"""Rows of a plot that its table shows; a curve of hundreds of points is no table."""


def to_html(page: Page) -> str:
    """The whole file."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["terms"] = split_terms
    environment.finalize = _harmless
    template = environment.from_string(_asset("page.html"))
    return template.render(
        page=page,
        style=stylesheet() + _asset("page.css"),
        scripts=[_asset(name) for name in SCRIPTS],
        plots=script_json([_drawn(plot) for plot in page.plots]),
        table=_table,
        terms=TERMS,
    )


def script_json(value: Any) -> str:
    """JSON that may stand in a script element."""
    text = plain(msgspec.json.encode(value).decode())
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _harmless(value: Any) -> Any:
    """Texts without what changes the direction of writing; the file's own parts are no such texts."""
    return plain(value) if type(value) is str else value


def specification(plot: Plot) -> dict[str, Any]:
    """A plot with its data and the theme, as wide as what it stands in."""
    fitted = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    return {**fitted, "config": THEME, "data": {"values": plot.rows}, **plot.spec}


def _drawn(plot: Plot) -> dict[str, Any]:
    return {"name": plot.name, "spec": specification(plot)}


def _table(plot: Plot) -> dict[str, Any]:
    """The rows of a plot as texts, evenly thinned where there are too many."""
    step = -(-len(plot.rows) // MOST_TABLE_ROWS) if plot.rows else 1
    shown = [[_cell(row, column) for column in plot.columns] for row in plot.rows[::step]]
    return {"rows": shown, "step": step}


def _cell(row: PlotRow, column: Column) -> str:
    return cell_text(row, column) if row.get(column.key) is not None else UNKNOWN


def _asset(name: str) -> str:
    return (files("nemo_skills_specdec.report") / "assets" / name).read_text(encoding="utf-8")
