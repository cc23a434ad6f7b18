"""Many records as prompt rows: what has no prompt is left out and counted, ids are distinct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError, RowError
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.prompts.rows.files import read_records
from nemo_skills_specdec.prompts.rows.shapes import row_of
from nemo_skills_specdec.records import Finding, PromptRow, Severity

_EXAMPLES = 3


class ReadRows(msgspec.Struct, kw_only=True):
    """Prompt rows, and what was changed or left out in reading them."""

    rows: list[PromptRow]
    findings: list[Finding]


class _Told(msgspec.Struct):
    """What is to be said of a reading."""

    without_turn: list[str] = []
    without_prompt: list[str] = []
    answers: int = 0
    numbered: int = 0
    settings: set[str] = set()
    first: RowError | None = None


def read_rows(path: Path, *, column: str | None = None) -> ReadRows:
    """Reads a file of prompts, in any format of `read_records` and any shape of `row_of`.

    Args:
        column: the key that holds the prompt; None looks for it.

    Raises:
        DataError: the file cannot be read, holds no prompt, or a row (named by its place) is broken.
        UsageError: a row has no such column.
    """
    return rows_of(read_records(path), str(path), column=column)


def rows_of(records: Iterable[tuple[str, Mapping[str, Any]]], name: str, *, column: str | None = None) -> ReadRows:
    """The prompt rows of records that come with their place, such as `line 3`.

    Rows without an id get one that follows from their text, numbered where texts are equal.

    Args:
        name: of it, for messages.
        column: the key that holds the prompt; None looks for it.

    Raises:
        DataError: there is no prompt, a row is broken, or two rows have the same id.
        UsageError: a row has no such column.
    """
    rows: list[PromptRow] = []
    places: dict[str, str] = {}
    derived: Counter[str] = Counter()
    told = _Told()
    for place, record in records:
        try:
            parsed = row_of(record, f"{name} {place}", column=column)
        except RowError as error:
            told.first = told.first or error
            (told.without_turn if error.no_turn else told.without_prompt).append(f"{place} ({error.reason})")
            continue
        row = parsed.row
        if not parsed.own_id:
            derived[row.question_id] += 1
            if derived[row.question_id] > 1:
                row.question_id += f"#{derived[row.question_id]}"
                told.numbered += 1
        if row.question_id in places:
            raise DataError(
                f"{name} {place}: duplicate id {row.question_id!r} (first used on {places[row.question_id]}); "
                "give every prompt its own id, or none"
            )
        places[row.question_id] = place
        told.answers += parsed.answer_dropped
        told.settings.update(parsed.settings)
        rows.append(row)
    if not rows:
        raise told.first or DataError(f"{name} holds no prompt; give a file with one prompt a line or record")
    return ReadRows(rows=rows, findings=_findings(told))


def _findings(told: _Told) -> list[Finding]:
    gone, bare, answers, same = told.without_turn, told.without_prompt, told.answers, told.numbered
    causes: tuple[tuple[str, Severity, int, str], ...] = (
        (
            "conversations_left_out",
            "info",
            len(gone),
            f"Left out: {number_of(len(gone), 'row', 'have no user message to answer')}, {_some(gone)}.",
        ),
        (
            "prompts_left_out",
            "warning",
            len(bare),
            f"Left out: {number_of(len(bare), 'row', 'have no prompt that can be sent')}, {_some(bare)}.",
        ),
        (
            "answers_left_out",
            "info",
            answers,
            f"{number_of(answers, 'row', 'end with an assistant message')}, which is left out.",
        ),
        (
            "ids_numbered",
            "info",
            same,
            f"{number_of(same, 'row', 'have no id and the text of an earlier one')}; their ids were numbered.",
        ),
    )
    findings = [
        Finding(code=code, severity=severity, message=message, numbers={"rows": number})
        for code, severity, number, message in causes
        if number
    ]
    if told.settings:
        names = ", ".join(sorted(told.settings))
        message = f"The rows' own request settings are not used, the run's are: {names}."
        findings.append(Finding(code="row_settings_ignored", severity="info", message=message))
    return findings


def _some(places: list[str]) -> str:
    return ", ".join(places[:_EXAMPLES]) + (", ..." if len(places) > _EXAMPLES else "")
