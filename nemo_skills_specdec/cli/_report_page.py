"""A report in the browser."""

from __future__ import annotations

from pathlib import Path

import typer


def open_page(page: Path) -> None:
    """Opens a file in the browser of this machine; without one, nothing happens."""
    typer.launch(page.resolve().as_uri())
