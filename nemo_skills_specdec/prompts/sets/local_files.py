"""Local files of prompts: JSONL and JSON in several shapes, and ShareGPT's conversations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.json_records import records_of_file
from nemo_skills_specdec.prompts.prompt_set import PromptSet, local_origin, prompt_row, text_id
from nemo_skills_specdec.records import Finding, PromptRow, read_prompt_rows

_USERS = ("human", "user")


def load_local_file(path: Path) -> PromptSet:
    """Prompts of a JSONL or JSON file.

    JSONL lines and the objects of a JSON array may hold `messages`, `turns`, `prompt` or `text`, or ShareGPT's
    `conversations`, of which the human's turns are taken.

    Raises:
        DataError: the file cannot be read, or a record is of none of these shapes.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give a JSONL or JSON file of prompts")
    first = next(records_of_file(path), None)
    if first is None:
        raise DataError(f"{path} holds no prompt; give a JSONL or JSON file of prompts")
    if "conversations" in first:
        rows, skipped = sharegpt_rows(records_of_file(path))
        return PromptSet(rows=rows, origins=[local_origin(path)], findings=_skipped(skipped))
    if path.suffix in (".jsonl", ".ndjson"):
        return PromptSet(rows=read_prompt_rows(path), origins=[local_origin(path)])
    return PromptSet(rows=_array_rows(path), origins=[local_origin(path)])


def sharegpt_rows(records: Iterable[dict[str, Any]]) -> tuple[list[PromptRow], int]:
    """The human turns of ShareGPT conversations, and how many conversations have none."""
    rows: list[PromptRow] = []
    seen: set[str] = set()
    skipped = 0
    for number, record in enumerate(records):
        turns = [
            str(turn.get("value", ""))
            for turn in record.get("conversations") or ()
            if isinstance(turn, dict) and turn.get("from") in _USERS and str(turn.get("value", "")).strip()
        ]
        if not turns:
            skipped += 1
            continue
        identity = str(record.get("id") or text_id(f"{number}"))
        if identity in seen:
            identity = f"{identity}#{number}"
        seen.add(identity)
        rows.append(prompt_row(identity, "conversation", turns, source="sharegpt", src_id=str(number)))
    if not rows:
        raise DataError("no conversation has a human turn; ShareGPT files have them under `conversations`")
    return rows, skipped


def _array_rows(path: Path) -> list[PromptRow]:
    """The objects of a JSON array, read by the rules for JSONL lines."""
    import tempfile

    import msgspec

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / path.with_suffix(".jsonl").name
        with lines.open("wb") as file:
            file.writelines(msgspec.json.encode(record) + b"\n" for record in records_of_file(path))
        try:
            return read_prompt_rows(lines)
        except DataError as error:
            raise DataError(str(error).replace(str(lines), str(path)).replace(" line ", " record ")) from error


def _skipped(count: int) -> list[Finding]:
    if not count:
        return []
    message = f"{count} conversations have no human turn and were left out"
    return [Finding(code="conversations_left_out", severity="info", message=message, numbers={"rows": count})]
