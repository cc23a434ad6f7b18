"""One plot as plain data: a Vega-Lite specification, the rows it draws, and the words that go with it.

The same rows make the marks, the text on hover, the table below the plot and what a screen reader says, so that they
cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Kind = Literal["text", "count", "number", "share", "seconds", "speed", "clock"]
"""How a value is written: `share` is a fraction shown in per cent, `clock` seconds since the start of the run."""

PlotRow = dict[str, Any]

UNKNOWN = "-"
TIP = "tip"
"""The field of a row that holds its text on hover."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a plot's rows.

    Attributes:
        key: of the rows. With `interval`, its ends are in `<key>_low` and `<key>_high`, either of which may be missing.
        title: as on the axis, on hover and in the table.
    """

    key: str
    title: str
    kind: Kind = "number"
    interval: bool = False


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """One plot.

    Attributes:
        name: unique on a page; of image files and anchors.
        alt: what it shows, in a sentence, for those who cannot see it.
        caption: how to read it, and what it rests on.
        spec: Vega-Lite, without size, theme and data, which is `rows`.
        wide: whether it needs a page's whole width.
    """

    name: str
    title: str
    alt: str
    caption: str = ""
    spec: dict[str, Any]
    columns: Sequence[Column]
    rows: Sequence[PlotRow]
    wide: bool = False


def value_text(value: Any, kind: Kind) -> str:
    """A value as people read it, with its unit."""
    if value is None:
        return UNKNOWN
    match kind:
        case "text":
            return str(value)
        case "count":
            return f"{value:,.0f}"
        case "share":
            return f"{100 * value:.1f} %"
        case "seconds":
            return f"{1000 * value:.3g} ms" if abs(value) < 1 else f"{value:.2f} s"
        case "clock":
            return f"{value:.1f} s"
        case "speed":
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
        case _:
            return f"{value:.3f}"


def cell_text(row: PlotRow, column: Column) -> str:
    """A row's figure, with its interval where it has one, as `2.031 (1.982 to 2.079)`."""
    text = value_text(row.get(column.key), column.kind)
    low, high = row.get(f"{column.key}_low"), row.get(f"{column.key}_high")
    if not column.interval or low is None or high is None:
        return text
    return f"{text} ({value_text(low, column.kind)} to {value_text(high, column.kind)})"


def with_known_ends(column: Column, rows: Sequence[PlotRow]) -> Column:
    """The column, as one without intervals where no row has one."""
    known = any(row.get(f"{column.key}_low") is not None for row in rows)
    return msgspec.structs.replace(column, interval=column.interval and known)


def with_tips(rows: Sequence[PlotRow], columns: Sequence[Column]) -> list[PlotRow]:
    """The rows, each with its text on hover: a line a column that it has."""
    return [
        {
            **row,
            TIP: "\n".join(
                f"{column.title}: {cell_text(row, column)}" for column in columns if row.get(column.key) is not None
            ),
        }
        for row in rows
    ]
