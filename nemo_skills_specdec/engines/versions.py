"""Comparing the versions that servers report."""

from __future__ import annotations

import re


def at_least(version: str | None, wanted: tuple[int, ...]) -> bool | None:
    """Whether a version such as `0.5.10.post1` or `0.32.0+cpu` is at least `wanted`; None if it cannot be read."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version or "")
    if match is None:
        return None
    numbers = tuple(int(part) for part in match[1].split("."))
    width = max(len(numbers), len(wanted))
    return numbers + (0,) * (width - len(numbers)) >= wanted + (0,) * (width - len(wanted))


def version_text(version: tuple[int, ...]) -> str:
    """A version as it is written: `0.5.19`."""
    return ".".join(str(part) for part in version)
