"""What a run was asked to do, as its manifest says it."""

from __future__ import annotations

from typing import Any

import msgspec

from nemo_skills_specdec.engines.fetch import public_url
from nemo_skills_specdec.launch.start import Started
from nemo_skills_specdec.launch.weight_files import WeightFile, weight_files
from nemo_skills_specdec.measurement.measure import Plan
from nemo_skills_specdec.redaction import redacted_options
from nemo_skills_specdec.studies.config import RunConfig
from nemo_skills_specdec.studies.stored_config import config_hash


def arguments_of(config: RunConfig, started: Started, plan: Plan) -> dict[str, Any]:
    """What a run was asked to do, for its manifest; addresses without credentials."""
    arguments: dict[str, Any] = msgspec.to_builtins(plan, enc_hook=str)
    arguments["base_url"] = public_url(plan.base_url)
    arguments["metrics_urls"] = [public_url(url) for url in plan.metrics_urls]
    return {
        "benchmark": config.benchmark.label,
        **redacted_options(arguments),
        "config_hash": config_hash(config),
        "launch": config.server.engine,
        "method": config.method.name,
        "draft_length": config.method.length,
        "draft_model": config.method.draft_model,
        "drafter": config.method.drafter,
        "drafter_order": config.method.drafter_order,
        "weights": _weights(config),
        "command": started.command,
        "remarks": list(started.remarks),
    }


def _weights(config: RunConfig) -> dict[str, list[WeightFile]]:
    """The weights' files of the target and of its drafter, for an engine that is started here."""
    if config.server.engine == "running":
        return {}
    paths = {"target": config.model.path, "drafter": config.method.draft_model}
    return {part: found for part, path in paths.items() if path is not None and (found := weight_files(path))}
