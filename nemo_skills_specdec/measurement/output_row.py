"""A line of `output.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.records import PromptRow, RequestRecord


def output_row(row: PromptRow, turns: Sequence[RequestRecord]) -> dict[str, Any]:
    """The output row of a prompt, in NeMo-Skills' field names.

    For a multi-turn prompt `generation` is a list with an entry a turn, `num_generated_tokens` their sum.
    """
    turns = sorted(turns, key=lambda record: record.turn)
    tokens = [turn.completion_tokens for turn in turns if turn.completion_tokens is not None]
    generations = [turn.generation for turn in turns]
    errors = [f"turn {turn.turn}: {turn.error}" for turn in turns if turn.error is not None]
    return {
        **msgspec.to_builtins(row),
        "generation": generations if len(turns) > 1 else generations[0],
        "num_generated_tokens": sum(tokens) if tokens else None,
        "finish_reason": turns[-1].finish_reason,
        "generation_start_time": min(turn.start_time for turn in turns),
        "generation_end_time": max(turn.end_time for turn in turns),
        "generation_time": sum(turn.end_time - turn.start_time for turn in turns),
        "response_ids": [turn.response_id for turn in turns],
        "error": "; ".join(errors) or None,
        "requests": [msgspec.to_builtins(turn) for turn in turns],
    }
