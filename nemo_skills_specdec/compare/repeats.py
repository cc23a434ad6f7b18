"""Run directories told apart into repeats of one configuration: the same server, asked the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.run import Run, load_run
from nemo_skills_specdec.measurement.run_directory import METRICS

_PER_RUN = frozenset(
    {
        "base_url",
        "metrics_urls",
        "command",
        "config_hash",
        "remarks",
        "request_files",
        "seed",
        "order_seed",
        "drafter",
        "drafter_order",
        "benchmark",
        "windows",
    }
)
"""Arguments that differ between repeats, or that say nothing of the configuration."""

_NOT_TOLD = ("base_url", "offers", "findings")
"""What a server says that differs between repeats, or that says nothing of the configuration."""


class RunGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration, measured once or several times.

    Attributes:
        label: engine, method and load, for people.
    """

    label: str
    runs: list[Run]

    @property
    def speculates(self) -> bool:
        """Whether its server drafts, as far as that is known."""
        return self.runs[0].manifest.server.speculation != "off"


def runs_in(path: Path) -> list[Run]:
    """The run that a directory is, or all finished runs of a study or anywhere below a folder.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    if (path / METRICS).is_file():
        return [load_run(path)]
    found = sorted(metrics.parent for metrics in path.rglob(METRICS))
    if not found:
        raise DataError(f"{path} is neither a run nor a study: it holds no {METRICS}; give the --output-dir of a run")
    return [load_run(directory) for directory in found]


def group_runs(runs: Sequence[Run]) -> list[RunGroup]:
    """Puts repeats together, in the order of first appearance; a directory given twice counts once."""
    distinct = {run.directory.resolve(): run for run in runs}
    groups: dict[bytes, list[Run]] = {}
    for run in distinct.values():
        groups.setdefault(_identity(run), []).append(run)
    return [RunGroup(label=label_of(members[0]), runs=members) for members in groups.values()]


def label_of(run: Run) -> str:
    """Engine, method, draft length and load of a run in a few words."""
    server, load = run.manifest.server, run.manifest.arguments.get("load") or {}
    method = "no speculation" if server.speculation == "off" else server.method or "speculation"
    length = f" k{server.draft_length}" if server.draft_length and server.speculation != "off" else ""
    concurrency = f", concurrency {load['concurrency']}" if load.get("concurrency") else ""
    rate = f", {load['request_rate']:g} prompts/s" if load.get("request_rate") else ""
    engine = f"{server.engine or 'unknown engine'} {server.version or ''}".rstrip()
    return f"{engine}, {method}{length}{concurrency}{rate}"


def _identity(run: Run) -> bytes:
    server = run.manifest.server
    arguments: dict[str, Any] = {k: v for k, v in run.manifest.arguments.items() if k not in _PER_RUN and v}
    load = {k: v for k, v in (arguments.pop("load", None) or {}).items() if k not in ("seed", "timeout_seconds")}
    told = [getattr(server, name) for name in server.__struct_fields__ if name not in _NOT_TOLD]
    # Sampled answers are repeated with other seeds.
    arguments["request"] = {k: v for k, v in (arguments.get("request") or {}).items() if k != "seed"}
    return msgspec.json.encode([told, arguments, load, run.manifest.prompts_sha256], order="deterministic")
