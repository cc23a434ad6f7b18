"""Numbers of things in sentences."""

from __future__ import annotations

_SINGULAR = {"are": "is", "carry": "carries", "have": "has", "were": "was"}


def rows_and_turns(rows: int, turns: int) -> str:
    """`1 row, 1 turn`, `44 rows, 60 turns`."""
    return f"{number_of(rows, 'row')}, {number_of(turns, 'turn')}"


def number_of(count: int, noun: str, what: str = "") -> str:
    """`1 row`, `3 rows`; `1 row differs from x`, `3 rows differ from x`.

    Args:
        what: begins with a verb in the plural or in the past, such as `differ from x`.
    """
    verb, _, rest = what.partition(" ")
    if count == 1 and not verb.endswith("ed") and verb not in ("", "had"):
        verb = _SINGULAR.get(verb, verb + "s")
    return " ".join(filter(None, (f"{count} {noun}{'' if count == 1 else 's'}", verb, rest)))
