"""The built-in prompt set: small, ours, there without a download."""

from importlib.resources import files

import msgspec

from nemo_skills_specdec.records import PromptRow


def load_mini() -> list[PromptRow]:
    """Loads the built-in prompt set `mini`.

    It has the 11 categories of SPEED-Bench's qualitative split, four prompts each, in texts of its own, so its results
    are not comparable with SPEED-Bench's. The user text of each conversation stays below 1,800 bytes, so that small
    models with a context of 1,024 to 2,048 tokens can take it.

    Returns:
        44 rows in a fixed order, category by category, with user turns only; 12 rows have two or three turns. Every
        call builds new rows.
    """
    data = (files(__package__) / "data" / "mini.jsonl").read_bytes()
    return msgspec.json.Decoder(PromptRow).decode_lines(data)
