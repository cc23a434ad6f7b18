"""What the settings of a dataset folder are made of; nothing heavy is imported, since NeMo-Skills reads them often."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path


def evaluates_in_own_process() -> bool:
    """Whether this NeMo-Skills evaluates outputs in a process of its own, which then must be told to leave them."""
    try:
        return find_spec("nemo_skills.evaluation.evaluate_results") is not None
    except ImportError:
        return False


def generation_args(dataset_folder: Path) -> str:
    """Settings of a benchmark for the generation task, `GENERATION_ARGS`."""
    folder = str(dataset_folder).replace("\\", "\\\\").replace("'", "\\'")
    named = shlex.quote(f"++dataset_folder='{folder}'")
    return f"++prompt_format=openai {named}"
