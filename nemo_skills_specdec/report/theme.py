"""Colours and type, for the page and for the plots in it.

The series colours are Okabe and Ito's, which people with any kind of colour blindness can tell apart, darkened or
lightened until each has a contrast of at least 3 to 1 with the page.
"""

from __future__ import annotations

from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

PALETTE: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#14171c"),
    "panel": ("#f5f6f8", "#1d2128"),
    "ink": ("#1c2128", "#e4e8ee"),
    "muted": ("#57606a", "#9da7b3"),
    "grid": ("#e4e7eb", "#2c323b"),
    "line": ("#cfd5dc", "#3a424d"),
    "link": ("#0a5c99", "#7cc0f5"),
    "good": ("#006b4d", "#4cd3a5"),
    "warn": ("#8a5a00", "#f0b94a"),
    "bad": ("#b3261e", "#ff8a80"),
    "series-1": ("#0072b2", "#56b4e9"),
    "series-2": ("#d55e00", "#ff8c42"),
    "series-3": ("#008763", "#2fc79d"),
    "series-4": ("#b0508a", "#e59ac6"),
    "series-5": ("#a87400", "#f0c24b"),
    "series-6": ("#5b4fb3", "#aaa2f2"),
    "series-7": ("#6b6b6b", "#b5b5b5"),
    "series-8": ("#7a3b12", "#d6a077"),
}
"""By name: the colour in light and in dark."""

THEME: dict[str, Any] = {
    "background": None,
    "font": FONT,
    "padding": {"left": 2, "right": 8, "top": 6, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--ink)",
        "titleFontWeight": 500,
        "titleFontSize": 12,
        "labelFontSize": 12,
        "titlePadding": 8,
        "gridColor": "var(--grid)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelLimit": {"expr": "containerSize()[0] < 600 ? 110 : 240"},
        "tickCount": 5,
        "labelOverlap": True,
    },
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 12, "symbolSize": 70, "symbolOpacity": 1},
    "text": {"font": FONT, "fontSize": 12},
}
"""Vega-Lite's configuration; colours are variables of the page."""


def stylesheet() -> str:
    """The palette as CSS variables, which change with the colour scheme."""
    lines = [f"--{name}: light-dark({light}, {dark});" for name, (light, dark) in PALETTE.items()]
    return f":root {{ color-scheme: light dark; font-family: {FONT};\n" + "\n".join(lines) + "\n}\n"


def painted(text: str) -> str:
    """A specification as JSON in the colours of the light scheme, for pictures that stand outside of a page."""
    for name, (light, _) in PALETTE.items():
        text = text.replace(f"var(--{name})", light)
    return text
