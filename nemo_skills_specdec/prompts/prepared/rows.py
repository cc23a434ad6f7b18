"""Prompt rows on disk, in NeMo-Skills' shape: every key in every row, in one order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.rows import read_records
from nemo_skills_specdec.records import Message, PromptLabels, PromptRow, turn_ends


def row_shape(row: PromptRow) -> dict[str, object]:
    """The row with NeMo-Skills' keys in NeMo-Skills' order; absent values are None."""
    return cast("dict[str, object]", msgspec.to_builtins(row))


def json_line(value: object, name: str) -> bytes:
    """One line of JSON.

    Raises:
        DataError: a text holds half a surrogate pair, which UTF-8 cannot hold.
    """
    try:
        return msgspec.json.encode(value) + b"\n"
    except UnicodeEncodeError as error:
        raise DataError(f"{name} holds half a character that cannot be written as UTF-8") from error


def user_turns(row: PromptRow) -> list[str]:
    """The user's messages."""
    return [message.content for message in row.messages if message.role == "user"]


def user_messages(turns: Iterable[str]) -> list[Message]:
    """One user message for each turn."""
    return [Message("user", turn) for turn in turns]


class _StoredRow(PromptLabels, kw_only=True):
    """A row in any of the shapes that preparation scripts write."""

    multiturn: bool | None = None
    messages: list[Message] | None = None
    turns: list[str] | None = None


def stored_rows(path: Path) -> Iterator[PromptRow]:
    """Rows of a prepared file, one at a time: JSONL with `messages` or `turns`, or Parquet with `turns`.

    Raises:
        DataError: the file cannot be read, or a row (named by its place) is broken.
    """
    for place, record in read_records(path):
        where = f"{path} {place}"
        try:
            row = msgspec.convert(record, _StoredRow)
        except msgspec.ValidationError as error:
            raise DataError(f"{where} is not a prepared row ({error}); prepare the data again") from error
        messages = row.messages if row.messages is not None else user_messages(row.turns or ())
        if not messages:
            raise DataError(f"{where} has neither `messages` nor `turns`; prepare the data again")
        yield PromptRow(
            **row.labels(),
            multiturn=row.multiturn if row.multiturn is not None else len(turn_ends(messages)) > 1,
            messages=messages,
        )
