"""Checking prepared files by the rules of their prompt set."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.prepared.folder import prepared_file, prepared_names
from nemo_skills_specdec.prompts.prepared.verify import Verification, verify_file
from nemo_skills_specdec.prompts.speed_bench.schema import CONFIGS, token_budget
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder, load_encoder
from nemo_skills_specdec.prompts.speed_bench.verify import verify_config


def verify(path: Path, *, encoder: Encoder | None = None, offline: bool = False) -> Verification:
    """Checks one prepared file.

    Args:
        encoder: counts tokens of throughput configs; None loads tiktoken's, and does without where it is missing.
        offline: fetch no tokenizer.
    """
    name = path.stem if path.suffix == ".jsonl" else path.parent.name
    if name not in CONFIGS:
        return verify_file(path)[0]
    if encoder is None and token_budget(name) is not None:
        try:
            encoder = load_encoder(offline=offline)
        except UsageError:
            encoder = None
    return verify_config(path, encoder)


def verify_folder(path: Path, *, encoder: Encoder | None = None, offline: bool = False) -> list[Verification]:
    """Checks every prepared file in a folder, or one file.

    Raises:
        UsageError: there is none.
    """
    names = prepared_names(path)
    if not names:
        raise UsageError(f"{path} holds no prepared file; prepare one with: ns-specdec prepare")
    return [verify(prepared_file(path, name), encoder=encoder, offline=offline) for name in names]
