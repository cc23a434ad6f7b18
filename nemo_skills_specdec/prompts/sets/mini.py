"""The built-in prompt set: small, ours, there without a download."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.rows import first_of_each
from nemo_skills_specdec.records import PromptRow

CONFIGS = ("full", "small")
_SMALL_ROWS = 4


def load_mini(config: str = "full") -> list[PromptRow]:
    """Loads the built-in prompt set `mini`.

    It has the 11 categories of SPEED-Bench's qualitative split, ten prompts each, in texts of its own, so its results
    are not comparable with SPEED-Bench's. The user text of each conversation stays below 1,800 bytes, so that small
    models with a context of 1,024 to 2,048 tokens can take it.

    Args:
        config: `full`, or `small`: the first four prompts of each category, which were the whole set up to
            version 0.1.

    Returns:
        110 or 44 rows in a fixed order, category by category, with user turns only; 34 or 12 rows have two or three
        turns. Every call builds new rows.

    Raises:
        UsageError: there is no such config.
    """
    if config not in CONFIGS:
        raise UsageError(f"mini has no config {config!r}; choose one of: {', '.join(CONFIGS)}")
    data = (files(__package__) / "data" / "mini.jsonl").read_bytes()
    rows = msgspec.json.Decoder(PromptRow).decode_lines(data)
    return list(first_of_each(rows, _SMALL_ROWS if config == "small" else None))
