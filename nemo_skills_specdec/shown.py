"""Texts of unknown origin where people see them: on a terminal, in a table of Markdown, in a spreadsheet.

Categories, models, versions and messages come from files and servers. None of them may steer a terminal, reorder what
stands beside it, break a table or become a formula.
"""

from __future__ import annotations

import re
from typing import TypeVar

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters of both kinds, but for tab and line feed
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # writing direction, and line ends of Unicode's own
    "\ud800-\udfff]"  # halves of characters
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~]")
_WORD_INSIDE = re.compile(r"(?<=[^\W_])_(?=[^\W_])")

Value = TypeVar("Value")


def encodable(text: str) -> str:
    """The text with halves of surrogate pairs joined, or replaced where the other half is missing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def plain(text: str) -> str:
    """The text with a replacement character for everything that steers a terminal or reorders what is beside it."""
    return _STEERING.sub("\ufffd", text)


def plain_json(text: str) -> str:
    """JSON that says the same, with such characters written as escapes."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}" if match[0] not in "\r" else match[0], text)


def csv_cell(value: Value) -> Value | str:
    """A text that no spreadsheet takes for a formula; anything but a text stays as it is."""
    if isinstance(value, str):
        return "'" + plain(value) if value.startswith(_FORMULA) else plain(value)
    return value


def markdown(text: str) -> str:
    """The text on one line of Markdown, where none of it is markup or HTML."""
    line = " ".join(plain(text).split())
    parts = _WORD_INSIDE.split(line)
    return "_".join(_MARKDOWN.sub(lambda match: "\\" + match[0], part) for part in parts).replace("&", "&amp;")
