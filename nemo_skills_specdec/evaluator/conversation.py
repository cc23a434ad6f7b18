"""Conversations: input rows to turns, and the answers of the turns to one row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.evaluator.rows import Row
from nemo_skills_specdec.prompts.prepared.manifest import read_manifest
from nemo_skills_specdec.prompts.prepared.verify import PLACEHOLDER_MARK, verify_file
from nemo_skills_specdec.records import Finding, Message, prompt_sha256, read_prompt_rows


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
    masked = [row.question_id for row in read_prompt_rows(path) for m in row.messages if PLACEHOLDER_MARK in m.content]
    if masked:
        raise DataError(
            f"{path} holds placeholders in place of texts, e.g. in row {masked[0]}; prepare the data with "
            "ns-specdec prepare"
        )
    if read_manifest(path) is None:
        return []
    verification, _ = verify_file(path)
    if not verification.ok:
        reasons = "; ".join(finding.message for finding in verification.findings if finding.severity == "invalid")
        raise DataError(f"{path} must not be used: {reasons}")
    return verification.findings


def conversation_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of an input row, as new objects: our prompt sets have `messages`, others `turns` or `prompt`.

    Raises:
        DataError: the row has none of them.
    """
    if row.get("messages"):
        return [{"role": message["role"], "content": message["content"]} for message in row["messages"]]
    for key in ("turns", "prompt", "text"):
        if row.get(key):
            texts = row[key] if isinstance(row[key], list) else [row[key]]
            return [{"role": "user", "content": text} for text in texts]
    raise DataError("an input row has none of `messages`, `turns`, `prompt`, `text`; one of them is needed")


def split_turns(messages: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """What each turn adds to the conversation: up to and including a user message that no assistant message follows."""
    turns: list[list[dict[str, str]]] = []
    pending: list[dict[str, str]] = []
    for position, message in enumerate(messages):
        pending.append(message)
        follower = messages[position + 1]["role"] if position + 1 < len(messages) else None
        if message["role"] == "user" and follower != "assistant":
            turns.append(pending)
            pending = []
    return turns


def identity_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Question id and category of an input row, as `read_prompt_rows` gives them."""
    identity = row.get("question_id", row.get("id"))
    if identity in (None, ""):
        identity = prompt_sha256([Message(m["role"], m["content"]) for m in conversation_of(row)])[:32]  # type: ignore[arg-type]
    return str(identity), str(row.get("category") or "uncategorized")


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
