"""Prompt rows on disk, in NeMo-Skills' shape: every key in every row, in one order."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.records import Message, PromptRow


def row_shape(row: PromptRow) -> dict[str, object]:
    """The row with NeMo-Skills' keys in NeMo-Skills' order; absent values are None."""
    return {
        "question_id": row.question_id,
        "category": row.category,
        "sub_category": row.sub_category,
        "source": row.source,
        "src_id": row.src_id,
        "difficulty": row.difficulty,
        "multiturn": row.multiturn,
        "messages": [{"role": message.role, "content": message.content} for message in row.messages],
    }


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
