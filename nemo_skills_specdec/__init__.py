"""Measures speculative decoding on a live inference server: acceptance, speed, and how sure one may be.

    import nemo_skills_specdec as sd

    run = sd.evaluate("http://localhost:8000", prompts="mini", concurrency=32)
    run.evaluation.overall.acceptance.acceptance_length

Names are loaded when they are first used, so importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nemo_skills_specdec.acceptance import AcceptanceCounts
    from nemo_skills_specdec.compare.runs import compare_runs
    from nemo_skills_specdec.engines.detect import detect
    from nemo_skills_specdec.measurement.run import Run, load_run
    from nemo_skills_specdec.measurement.saved_metrics import diff
    from nemo_skills_specdec.prompts.load import load_prompts
    from nemo_skills_specdec.statistics import averages, intervals
    from nemo_skills_specdec.studies.one_run import evaluate

__version__ = "0.1.0"
__all__ = [
    "AcceptanceCounts",
    "Run",
    "averages",
    "compare_runs",
    "detect",
    "diff",
    "evaluate",
    "intervals",
    "load_prompts",
    "load_run",
]

_HOMES = {
    "AcceptanceCounts": "acceptance",
    "Run": "measurement.run",
    "averages": "statistics",
    "compare_runs": "compare.runs",
    "detect": "engines.detect",
    "diff": "measurement.saved_metrics",
    "evaluate": "studies.one_run",
    "intervals": "statistics",
    "load_prompts": "prompts.load",
    "load_run": "measurement.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
