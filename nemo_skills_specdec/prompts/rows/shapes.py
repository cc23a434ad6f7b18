"""What a record means as a prompt: the shape is decided for each record by itself, and no value's repr is ever sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError, RowError, UsageError
from nemo_skills_specdec.records import Message, PromptRow, Role, prompt_sha256, turn_ends

CONVERSATION_KEYS = ("messages", "conversations", "conversation")
TEXT_KEYS = (
    "turns",
    "prompt",
    "question",
    "instruction",
    "query",
    "problem",
    "texts",
    "text",
    "input",
    "content",
)
TOKEN_KEYS = ("prompt_token_ids", "token_ids", "input_ids")
UNCATEGORIZED = "uncategorized"

_BESIDE_INSTRUCTION = ("input", "context")
_SYSTEM_KEYS = ("system", "system_prompt", "instructions")
_ID_KEYS = ("question_id", "id", "custom_id", "task_id", "prompt_id")
_SUB_CATEGORY_KEYS = ("sub_category", "language", "lang")
_NO_SETTINGS = {*CONVERSATION_KEYS, *TEXT_KEYS, *TOKEN_KEYS, *_SYSTEM_KEYS, "model", "stream", "stream_options"}
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text")


class ParsedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record as a prompt.

    Attributes:
        own_id: whether the record has an id; otherwise the row's follows from its text.
        answer_dropped: whether the conversation ended with the assistant, whose last message is left out.
        settings: names of request settings that the record has, such as `max_tokens`; they are not used.
    """

    row: PromptRow
    own_id: bool
    answer_dropped: bool = False
    settings: tuple[str, ...] = ()


def columns_of(columns: Sequence[str], column: str | None) -> list[str]:
    """Those of a table's columns that `row_of` looks at for the prompt, for tables whose columns are read alone."""
    known = (column,) if column is not None else (*CONVERSATION_KEYS, *TEXT_KEYS, *TOKEN_KEYS)
    more = (*_BESIDE_INSTRUCTION, *_SYSTEM_KEYS, "category")
    return [name for name in columns if name in known or name in more]


def row_of(record: Mapping[str, Any], where: str, *, column: str | None = None) -> ParsedRow:
    """The prompt that a record holds.

    The first of `CONVERSATION_KEYS` and `TEXT_KEYS` that holds something is the prompt: a text, a list of texts
    (turns), content parts, or messages with `role` or `from` and `content` or `value`; for `prompt`,
    also a list of token ids. Alpaca's `input` follows its `instruction`, after an empty line. `system` beside them is
    the first message. The bodies of OpenAI's batch files and NeMo-Gym's `responses_create_params` are read the same
    way.

    Args:
        where: its place, for messages.
        column: the key of the prompt, in place of the known ones.

    Raises:
        RowError: the record has a known shape but no prompt in it.
        UsageError: there is no such column.
        DataError: the record fits no shape; names its keys.
    """
    request = _request(record)
    key, value = _prompt_value(request, where, column)
    recorded = _with_input(request, key, _messages(key, value, where), where)
    recorded = _with_system(request, recorded, where)
    messages = recorded
    while messages and messages[-1].role == "assistant":
        messages = messages[:-1]
    _check(messages, where)
    identity = next((text for text in (_label(record.get(name)) for name in _ID_KEYS) if text), None)
    return ParsedRow(
        row=PromptRow(
            question_id=identity or prompt_sha256(messages)[:32],
            category=_label(record.get("category")) or UNCATEGORIZED,
            sub_category=next(filter(None, (_label(record.get(name)) for name in _SUB_CATEGORY_KEYS)), None),
            source=_label(record.get("source")),
            src_id=_label(record.get("src_id")),
            difficulty=_label(record.get("difficulty")),
            multiturn=len(turn_ends(messages)) > 1,
            messages=messages,
        ),
        own_id=identity is not None,
        answer_dropped=len(messages) < len(recorded),
        settings=tuple(sorted(set(request) - _NO_SETTINGS)) if request is not record else (),
    )


def _request(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request inside a line of an OpenAI batch file or a row of NeMo-Gym; otherwise the record itself."""
    for key, beside in (("body", ("custom_id", "url", "method")), ("responses_create_params", ())):
        inner = record.get(key)
        if isinstance(inner, Mapping) and (not beside or any(name in record for name in beside)):
            return inner
    return record


def _prompt_value(record: Mapping[str, Any], where: str, column: str | None) -> tuple[str, Any]:
    """The key that holds the prompt, and what it holds."""
    if column is not None and column not in record:
        raise UsageError(f"{where} has no column {column!r}; choose with --column from: {_names(record)}")
    known = (column,) if column is not None else (*CONVERSATION_KEYS, *TEXT_KEYS, *TOKEN_KEYS)
    there = [key for key in known if key in record]
    if not there:
        raise DataError(
            f"{where} has none of the keys {', '.join(known)}; it has {_names(record)}: rename one, or name it with "
            "--column"
        )
    for key in there:
        value = record[key]
        if not (value is None or value == [] or (isinstance(value, str) and not value.strip())):
            return key, value
    conversation = all(key in CONVERSATION_KEYS for key in there)
    raise RowError(where, f"there is no text in {' or '.join(f'`{key}`' for key in there)}", no_turn=conversation)


def _messages(key: str, value: Any, where: str) -> list[Message]:
    if isinstance(value, str):
        if key in CONVERSATION_KEYS[:2]:
            raise DataError(f"{where}: `{key}` is a text, not a list of messages")
        return [Message("user", _text(value, where, f"`{key}`"))]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise DataError(f"{where}: `{key}` is {_kind(value)}, not a text, a list of texts or a list of messages")
    if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        if (key == "prompt" or key in TOKEN_KEYS) and all(0 <= item < 2**31 for item in value):
            return [Message("user", "", token_ids=tuple(value))]
        raise DataError(f"{where}: `{key}` is a list of numbers; only `prompt` may be one, of token ids")
    if key == "texts" or all(_is_part(item) for item in value):
        return [Message("user", _text(value, where, f"`{key}`"))]
    if wrong := [item for item in value if not isinstance(item, (str, Mapping)) and item is not None]:
        raise DataError(f"{where}: `{key}` holds {_kind(wrong[0])}, not only texts or messages")
    return [_message(item, where, number, _default_role(key, value, number)) for number, item in enumerate(value)]


def _default_role(key: str, items: Sequence[Any], number: int) -> Role | None:
    """Who speaks where nobody is named: the user in a list of turns, both in turn in a conversation of no names."""
    if key not in CONVERSATION_KEYS:
        return "user"
    if any(not isinstance(item, Mapping) or "role" in item or "from" in item for item in items):
        return None
    return "assistant" if number % 2 else "user"


def _message(item: Any, where: str, number: int, default: Role | None) -> Message:
    name = f"message {number + 1}"
    if item is None:
        raise RowError(where, f"{name} is null")
    if isinstance(item, str):
        if default is None:
            raise RowError(where, f"{name} is a text without a role")
        return Message(default, _text(item, where, name))
    said = item.get("role", item.get("from"))
    role = default if said is None else _ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise RowError(where, f"{name} has no role" if said is None else f"{name} has an unknown role")
    calls = item.get("tool_calls") if role == "assistant" else None
    content = next((item[key] for key in ("content", "value", "text", "texts") if item.get(key) is not None), None)
    if content is None and calls:
        content = ""
    call_id, speaker = item.get("tool_call_id"), item.get("name")
    return Message(
        role,
        _text(content, where, name),
        name=speaker if isinstance(speaker, str) else None,
        tool_calls=tuple(calls) if isinstance(calls, list) else (),
        tool_call_id=call_id if isinstance(call_id, str) else None,
    )


def _text(value: Any, where: str, name: str) -> str:
    """A text, or the texts of content parts joined with newlines, as vLLM joins them."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: {name} holds half a character, which no server takes; mend the text") from error
        return value
    if value is None:
        raise RowError(where, f"{name} has no text")
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise RowError(where, f"{name} holds {_kind(value)}")
    if not all(isinstance(part, str) or _is_part(part) for part in value):
        raise RowError(where, f"{name} holds something that is not text")
    return "\n".join(_text(part if isinstance(part, str) else part["text"], where, name) for part in value)


def _is_part(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("type") in _TEXT_PARTS and isinstance(item.get("text"), str)


def _with_input(record: Mapping[str, Any], key: str, messages: list[Message], where: str) -> list[Message]:
    """Alpaca's instruction with its input, and Dolly's with its context."""
    if key != "instruction":
        return messages
    more = [_text(record[name], where, f"`{name}`") for name in _BESIDE_INSTRUCTION if record.get(name)]
    return [Message("user", "\n\n".join([*(m.content for m in messages), *(text for text in more if text.strip())]))]


def _with_system(record: Mapping[str, Any], messages: list[Message], where: str) -> list[Message]:
    value = next((record[key] for key in _SYSTEM_KEYS if record.get(key)), None)
    if value is None or (messages and messages[0].role in ("system", "developer")):
        return messages
    text = _text(value, where, "the system message")
    return [Message("system", text), *messages] if text.strip() else messages


def _check(messages: Sequence[Message], where: str) -> None:
    if not messages or messages[-1].role not in ("user", "tool"):
        raise RowError(where, "there is no user message to answer at its end", no_turn=True)
    for number, message in enumerate(messages, start=1):
        if message.role == "user" and not message.content.strip() and not message.token_ids:
            raise RowError(where, f"user message {number} has no text")
        if message.token_ids and len(messages) > 1:
            raise DataError(f"{where}: token ids are a whole prompt; nothing can stand beside them")


def _label(value: Any) -> str | None:
    """A text or a whole number as a short text; anything else is not one."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) or (isinstance(value, str) and value.strip()) else None


def _names(record: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in record) or "no key"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return "null" if value is None else "a list" if isinstance(value, (list, tuple)) else "binary data"
