"""`ns-specdec grafana`: a dashboard, and Prometheus' rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from nemo_skills_specdec.cli._streams import write_line
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.option_groups import one_of

GrafanaEngine = Literal["vllm", "sglang", "llamacpp"]
MeteredEngine = Literal["vllm", "sglang", "llamacpp"]
"""Engines whose counters have been compared with a real Prometheus' view of them."""

DASHBOARD, RULES = "specdec-dashboard.json", "specdec-rules.yml"


def grafana(
    output_dir: Annotated[Path, typer.Option("--output-dir", "--output_dir", help="Folder for the two files.")] = Path(
        "."
    ),
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Engine whose servers are scraped; repeatable. Default: all.", **one_of(GrafanaEngine)),
    ] = None,
    window: Annotated[
        str, typer.Option(help="Window of the rules' rates: at least four scrape intervals, such as 5m.")
    ] = "5m",
    min_al: Annotated[float, typer.Option(min=1.0, help="Acceptance length below which an alert fires.")] = 1.5,
) -> None:
    """Write a Grafana dashboard to import, and recording and alerting rules for Prometheus."""
    from nemo_skills_specdec.files import pretty, write_atomically
    from nemo_skills_specdec.grafana.dashboard import dashboard
    from nemo_skills_specdec.grafana.rules import rules_yaml

    if not re.fullmatch(r"[1-9]\d*[smhd]", window):
        raise UsageError(f"--window {window!r} is not a Prometheus duration; write e.g. 90s, 5m or 1h")
    engines = list(dict.fromkeys(engine or get_args(GrafanaEngine)))
    files = {
        DASHBOARD: pretty(dashboard(engines)),
        RULES: rules_yaml(engines, window=window, min_al=min_al).encode(),
    }
    for name, content in files.items():
        write_atomically(output_dir / name, content)
        write_line(str(output_dir / name))
