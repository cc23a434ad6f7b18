"""Numbers of rows in messages."""

from __future__ import annotations

_SINGULAR = {"are": "is", "have": "has", "were": "was"}


def rows_that(count: int, what: str) -> str:
    """`1 row differs from x`, `3 rows differ from x`.

    Args:
        what: begins with a verb in the plural, such as `differ from x`.
    """
    if count != 1:
        return f"{count} rows {what}"
    verb, _, rest = what.partition(" ")
    return f"1 row {_SINGULAR.get(verb, verb + 's')} {rest}".rstrip()


def rows_and_turns(rows: int, turns: int) -> str:
    """`1 row, 1 turn`, `44 rows, 60 turns`."""
    return f"{rows} row{'' if rows == 1 else 's'}, {turns} turn{'' if turns == 1 else 's'}"
