"""Do two prepared folders hold the same prompts?"""

from __future__ import annotations

from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.prepared.folder import prepared_file, prepared_names
from nemo_skills_specdec.prompts.prepared.rows import stored_rows, user_turns
from nemo_skills_specdec.records import PromptRow

_EXAMPLES = 5
_SHOWN = 40


class RowDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Where two rows of the same id part.

    Attributes:
        field: `messages`, or the name of another field.
        turn: number of the first user turn that differs, from 0; None if another field differs, or the number of turns.
        position: of the first character that differs.
        ours: what stands there in the first folder, a short piece.
        theirs: what stands there in the other.
    """

    question_id: str
    field: str
    turn: int | None = None
    position: int | None = None
    ours: str
    theirs: str


class FileComparison(msgspec.Struct, kw_only=True):
    """Two prepared files of the same name.

    Attributes:
        same: whether both hold the same rows in the same order.
        missing: ids that only the other folder has.
        added: ids that only the first folder has.
        examples: the first differences in detail.
    """

    name: str
    same: bool
    num_rows: int
    num_rows_other: int
    same_order: bool
    missing: list[str] = []
    added: list[str] = []
    differing: list[str] = []
    examples: list[RowDifference] = []


def compare_folders(ours: Path, theirs: Path) -> list[FileComparison]:
    """Compares each file that both folders have, row by row, by id.

    Raises:
        UsageError: the folders have no file in common.
    """
    names = [name for name in prepared_names(ours) if name in prepared_names(theirs)]
    if not names:
        raise UsageError(
            f"{ours} and {theirs} have no prepared file of the same name; "
            f"the first has {', '.join(prepared_names(ours)) or 'none'}, "
            f"the other {', '.join(prepared_names(theirs)) or 'none'}"
        )
    return [compare_files(name, prepared_file(ours, name), prepared_file(theirs, name)) for name in names]


def compare_files(name: str, ours: Path, theirs: Path) -> FileComparison:
    """Compares two prepared files row by row, by id."""
    mine, other = _digests(ours), _digests(theirs)
    differing = [key for key, digest in mine.items() if other.get(key, digest) != digest]
    missing = [key for key in other if key not in mine]
    added = [key for key in mine if key not in other]
    same_order = [key for key in mine if key in other] == [key for key in other if key in mine]
    shown = set(differing[:_EXAMPLES])
    rows = {row.question_id: row for row in stored_rows(theirs) if row.question_id in shown}
    examples = [_difference(row, rows[row.question_id]) for row in stored_rows(ours) if row.question_id in shown]
    return FileComparison(
        name=name,
        same=not (differing or missing or added) and same_order,
        num_rows=len(mine),
        num_rows_other=len(other),
        same_order=same_order,
        missing=missing,
        added=added,
        differing=differing,
        examples=examples,
    )


def _digests(path: Path) -> dict[str, bytes]:
    import hashlib

    return {row.question_id: hashlib.sha256(msgspec.json.encode(row)).digest() for row in stored_rows(path)}


def _difference(ours: PromptRow, theirs: PromptRow) -> RowDifference:
    for field in ("category", "sub_category", "source", "src_id", "difficulty", "multiturn"):
        mine, other = getattr(ours, field), getattr(theirs, field)
        if mine != other:
            return RowDifference(question_id=ours.question_id, field=field, ours=str(mine), theirs=str(other))
    turns, others = user_turns(ours), user_turns(theirs)
    for number, (mine, other) in enumerate(zip(turns, others, strict=False)):
        if mine != other:
            shorter = min(len(mine), len(other))
            position = next((i for i in range(shorter) if mine[i] != other[i]), shorter)
            return RowDifference(
                question_id=ours.question_id,
                field="messages",
                turn=number,
                position=position,
                ours=mine[position : position + _SHOWN],
                theirs=other[position : position + _SHOWN],
            )
    return RowDifference(
        question_id=ours.question_id,
        field="messages",
        ours=f"{len(turns)} turns",
        theirs=f"{len(others)} turns",
    )
