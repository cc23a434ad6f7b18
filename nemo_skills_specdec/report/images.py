"""The plots of a page as PNG or SVG files, made from the same specifications as those of the HTML file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.report.html import specification
from nemo_skills_specdec.report.plot import Plot
from nemo_skills_specdec.report.theme import PALETTE, painted

ImageFormat = Literal["png", "svg"]

WIDTH, WIDE = 560, 900
"""Of a picture, in pixels of the screen; a PNG has twice as many."""


def write_images(plots: Sequence[Plot], folder: Path, formats: Sequence[ImageFormat]) -> list[Path]:
    """Writes `<name>.<format>` for every plot and format.

    Raises:
        UsageError: the package that draws them is not installed.
        WriteError: a file cannot be written.
    """
    if importlib.util.find_spec("vl_convert") is None:
        raise UsageError("pictures need the package vl-convert-python; pip install 'nemo-skills-specdec[images]'")
    import vl_convert

    written = []
    for plot in plots:
        text = picture_specification(plot)
        for kind in formats:
            if kind == "png":
                content = vl_convert.vegalite_to_png(text, scale=2)
            else:
                content = vl_convert.vegalite_to_svg(text).encode()
            path = folder / f"{plot.name}.{kind}"
            write_atomically(path, content)
            written.append(path)
    return written


def picture_specification(plot: Plot) -> str:
    """A plot as JSON with its title, a size and the colours of the light scheme."""
    spec = {
        **specification(plot),
        "width": WIDE if plot.wide else WIDTH,
        "background": PALETTE["page"][0],
        "title": {"text": plot.title, "anchor": "start", "fontSize": 14, "color": PALETTE["ink"][0]},
    }
    return painted(msgspec.json.encode(spec).decode())
