"""The kinds of plots that the report is made of, as Vega-Lite layers: pure functions from columns to specifications.

Every shape reads the fields that its columns name. Colours are names of `palette`, filled in when the plot is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nemo_skills_specdec.report.plot import TIP, Column

SERIES_COLOURS = [f"var(--series-{number})" for number in range(1, 9)]
"""More series than these repeat colours; shapes and dashes then still tell neighbours apart."""
ACCENT, STRONG, SOFT = "var(--series-1)", "var(--ink)", "var(--muted)"
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
_SYMBOLS = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
_FORMATS = {"share": ".0%", "count": ",d"}
_SECONDS = "abs(datum.value) < 1 ? format(1000 * datum.value, '~r') + ' ms' : format(datum.value, '~r') + ' s'"

Layer = dict[str, Any]


def interval_dots(value: Column, name: Column, names: int, series: Column | None = None, shares: int = 1) -> Layer:
    """Dots with intervals, a line each, in the order of the rows; several series share a line, each shifted.

    Args:
        names: how many lines there are.
        shares: how many series share each of them.
    """
    y: dict[str, Any] = {"field": name.key, "type": "nominal", "sort": None, "title": None}
    offset: dict[str, Any] = {"yOffset": {"field": series.key, "sort": None}} if series else {}
    interval = {
        "mark": {"type": "rule", "strokeWidth": 2, "aria": False},
        "encoding": {
            "x": {"field": f"{value.key}_low", "type": "quantitative", **_scaled(value)},
            "x2": {"field": f"{value.key}_high"},
            "y": y,
            "color": _colour(series),
            **offset,
        },
    }
    dot = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
        "encoding": {
            "x": {"field": value.key, "type": "quantitative", **_scaled(value)},
            "y": y,
            "color": _colour(series),
            **_symbol(series),
            **offset,
            **_told(),
        },
    }
    layers = [interval, dot] if value.interval else [dot]
    return {"height": names * (26 if series is None else 12 + 14 * shares), "layer": layers}


def lines(
    x: Column,
    y: Column,
    series: Column | None = None,
    *,
    dots: bool = True,
    steps: bool = False,
    zero: bool = False,
    ordinal: bool = False,
) -> Layer:
    """Lines, one a series, with the intervals of y as bands, or as rules for one line over an ordinal x.

    Args:
        dots: whether each point is drawn; if not, it still answers to the pointer.
        steps: whether a value holds from its point to the next.
        zero: whether the y axis begins at 0.
        ordinal: whether x is a few values that stand at equal distances.
    """
    across: dict[str, Any] = {"field": x.key, "type": "quantitative", **_axis(x, zero=False)}
    if ordinal:
        across = {"field": x.key, "type": "ordinal", "sort": None, "axis": {"title": x.title, "labelAngle": 0}}
    up = {"type": "quantitative", **_axis(y, zero=zero)}
    line = {"type": "line", "strokeWidth": 2, "aria": False, **({"interpolate": "step-after"} if steps else {})}
    colour = _colour(series)
    dash: dict[str, Any] = {}
    if series is not None:
        dash = {"strokeDash": _by_series(series, _DASHES)}
    layers: list[Layer] = []
    if y.interval:
        kind: dict[str, Any] = {"type": "area", "opacity": 0.18}
        if ordinal and series is None:
            kind = {"type": "rule", "strokeWidth": 2}
        ends = {"y": {"field": f"{y.key}_low", **up}, "y2": {"field": f"{y.key}_high"}}
        band = {"mark": {**kind, "aria": False}, "encoding": {"x": across, **ends, "color": colour}}
        layers.append(band)
    layers.append(
        {
            "mark": line,
            "encoding": {"x": across, "y": {"field": y.key, **up}, "color": colour, **dash},
        }
    )
    point = {"type": "point", "filled": True, "size": 50, "opacity": 1} if dots else {"type": "point", "size": 180}
    layers.append(
        {
            "mark": point if dots else {**point, "opacity": 0, "filled": True},
            "encoding": {
                "x": across,
                "y": {"field": y.key, **up},
                "color": colour,
                **(_symbol(series) if dots else {}),
                **_told(),
            },
        }
    )
    return {"height": 220, "layer": layers}


def distribution(value: Column, share: Column, mark: Column) -> Layer:
    """A curve through the rows, and a labelled dot for each row that has a mark, which the curve leaves out."""
    place = {
        "x": {"field": value.key, "type": "quantitative", **_axis(value, zero=False)},
        "y": {"field": share.key, "type": "quantitative", **_axis(share, zero=True)},
    }
    plain, named = f"!isValid(datum['{mark.key}'])", f"isValid(datum['{mark.key}'])"
    return {
        "height": 200,
        "layer": [
            {
                "transform": [{"filter": plain}],
                "mark": {"type": "line", "strokeWidth": 2, "aria": False, "color": ACCENT, "interpolate": "linear"},
                "encoding": place,
            },
            {
                "transform": [{"filter": plain}],
                "mark": {"type": "point", "filled": True, "size": 120, "opacity": 0},
                "encoding": {**place, **_told()},
            },
            {
                "transform": [{"filter": named}],
                "mark": {"type": "point", "filled": True, "size": 70, "color": ACCENT, "opacity": 1},
                "encoding": {**place, **_told()},
            },
            {
                "transform": [{"filter": named}],
                "mark": {"type": "text", "align": "left", "dx": 7, "dy": 9, "aria": False, "color": STRONG},
                "encoding": {**place, "text": {"field": mark.key}},
            },
        ],
    }


def bars(x: Column, y: Column) -> Layer:
    """A bar a row, in the order of the rows."""
    return {
        "height": 220,
        "mark": {"type": "bar", "cornerRadiusEnd": 2, "color": ACCENT},
        "encoding": {
            "x": {"field": x.key, "type": "ordinal", "sort": None, "axis": {"title": x.title, "labelAngle": 0}},
            "y": {"field": y.key, "type": "quantitative", **_axis(y, zero=True)},
            **_told(),
        },
    }


def scatter(x: Column, y: Column, series: Column, label: Column | None = None) -> Layer:
    """A point a row, both axes from zero."""
    place = {
        "x": {"field": x.key, "type": "quantitative", **_axis(x, zero=True)},
        "y": {"field": y.key, "type": "quantitative", **_axis(y, zero=True)},
    }
    layers: list[Layer] = [
        {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": {**place, "color": _colour(series), **_symbol(series), **_told()},
        }
    ]
    if label is not None:
        text = {"type": "text", "align": "left", "dx": 9, "limit": 120, "aria": False, "color": SOFT}
        layers.append({"mark": text, "encoding": {**place, "text": {"field": label.key}}})
    return {"height": 300, "layer": layers}


def heat_map(x: Column, y: Column, value: Column, names: int, *, middle: float | None = None) -> Layer:
    """A cell a row, with its number in it.

    Args:
        names: how many rows of cells there are.
        middle: the value that is neither good nor bad; cells on either side of it get different colours.
    """
    axes = {
        "x": {
            "field": x.key,
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": {"labelAngle": -40, "orient": "top"},
        },
        "y": {"field": y.key, "type": "nominal", "sort": None, "title": None},
    }
    scale: dict[str, Any] = {"scheme": "viridis", "zero": False}
    light = f"datum['{value.key}'] > (datum['shade_middle'])"
    if middle is not None:
        scale = {"domainMid": middle, "range": ["#b35806", "#f7f7f7", "#2166ac"]}
        light = f"abs(datum['{value.key}'] - {middle}) < 0.6 * datum['shade_reach']"
    return {
        "height": 28 * names,
        "layer": [
            {
                "mark": {"type": "rect"},
                "encoding": {
                    **axes,
                    "color": {"field": value.key, "type": "quantitative", "scale": scale, "legend": None},
                    **_told(),
                },
            },
            {
                "mark": {"type": "text", "aria": False, "fontSize": 11, "tooltip": False},
                "encoding": {
                    **axes,
                    "text": {"field": value.key, "type": "quantitative", "format": _FORMATS.get(value.kind, ".2f")},
                    "color": {"condition": {"test": light, "value": "#000000"}, "value": "#ffffff"},
                },
            },
        ],
    }


def marked(layer: Layer, x: float, label: str) -> Layer:
    """A shape with layers, and a dashed line across at some x."""
    rule = {
        "data": {"values": [{"at": x, "name": label}]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "color": SOFT, "aria": False, "tooltip": False},
        "encoding": {"x": {"field": "at", "type": "quantitative"}},
    }
    return {**layer, "layer": [rule, *layer["layer"]]}


def _told() -> dict[str, Any]:
    return {
        "tooltip": {"field": TIP, "type": "nominal"},
        "description": {"field": TIP, "type": "nominal"},
    }


def _scaled(column: Column) -> dict[str, Any]:
    return _axis(column, zero=False)


def _axis(column: Column, *, zero: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": column.title}
    if column.kind in _FORMATS:
        axis["format"] = _FORMATS[column.kind]
    if column.kind == "seconds":
        axis["labelExpr"] = _SECONDS
    return {"axis": axis, "scale": {"zero": zero, "nice": column.kind != "clock"}}


def _colour(series: Column | None) -> dict[str, Any]:
    return {"value": ACCENT} if series is None else _by_series(series, SERIES_COLOURS)


def _symbol(series: Column | None) -> dict[str, Any]:
    return {} if series is None else {"shape": _by_series(series, _SYMBOLS)}


def _by_series(series: Column, values: Sequence[Any]) -> dict[str, Any]:
    """A channel that tells series apart. All of them ask for the same legend, so that there is one."""
    legend = {"title": None, "orient": "bottom", "columns": 1, "labelLimit": 260, "symbolLimit": 30}
    return {"field": series.key, "type": "nominal", "sort": None, "scale": {"range": values}, "legend": legend}
