"""Conversations: input rows to turns, and the answers of the turns to one row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.evaluator.rows import Row
from nemo_skills_specdec.prompts.prepared.manifest import PLACEHOLDER_MARK, read_manifest
from nemo_skills_specdec.prompts.prepared.verify import verify_file
from nemo_skills_specdec.prompts.rows import read_rows, row_of
from nemo_skills_specdec.records import Finding, Message, turn_ends


def check_input(path: Path) -> list[Finding]:
    """Remarks on a file of prompts, to be repeated beside numbers measured with them.

    Raises:
        UsageError: there is no such file.
        DataError: it is broken, holds placeholders in place of texts, or is not what its manifest says.
    """
    if not path.exists():
        where = "" if path.is_absolute() else f" below {Path.cwd()}"
        raise UsageError(
            f"{path} does not exist{where}; prepare the data, and run from the parent of --data_dir or, with a "
            "benchmark map, from the root of the repository"
        )
    read = read_rows(path)
    masked = [row.question_id for row in read.rows for m in row.messages if PLACEHOLDER_MARK in m.content]
    if masked:
        raise DataError(
            f"{path} holds placeholders in place of texts, e.g. in row {masked[0]}; prepare the data with "
            "ns-specdec prepare"
        )
    if read_manifest(path) is None:
        return read.findings
    verification, _ = verify_file(path)
    if not verification.ok:
        raise DataError(f"{path} must not be used: {verification.reasons}")
    return verification.findings


def conversation_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of an input row, as new objects.

    Raises:
        DataError: the row holds no prompt.
    """
    return [msgspec.to_builtins(message) for message in row_of(row, "an input row").row.messages]


def split_turns(messages: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What each turn adds to the conversation: up to and including a message that `turn_ends` names."""
    ends = [position + 1 for position in turn_ends([Message(message["role"], "") for message in messages])]
    return [messages[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def identity_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Question id and category of an input row, as `read_rows` gives them."""
    parsed = row_of(row, "an input row").row
    return parsed.question_id, parsed.category


def together(results: list[Row]) -> Row:
    """One row from the results of several turns: a text a turn, tokens summed."""
    row: Row = {
        "generation": [result["generation"] for result in results],
        "num_generated_tokens": sum(result["num_generated_tokens"] for result in results),
        "finish_reason": results[-1].get("finish_reason"),
    }
    if any("reasoning_content" in result for result in results):
        row["reasoning_content"] = [result.get("reasoning_content") for result in results]
    return row
