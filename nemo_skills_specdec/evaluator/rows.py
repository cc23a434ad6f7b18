"""Rows of NeMo-Skills' output files, and the request records inside them.

Every row that our generation task writes holds `requests`, one record a turn with the counts the server gave for it.
All other figures of a row follow from these, under the names that NeMo-Skills gives them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.measurement.request_statistics import with_stepless_answers
from nemo_skills_specdec.records import RequestRecord, Source

Row = dict[str, Any]

RECORDS = "requests"
"""The key of a row that holds its request records."""


def read_rows(path: Path) -> list[Row]:
    """The rows of an output file; a last line that was still being written when its writer was killed is left out.

    Raises:
        DataError: a line other than the last is broken.
    """
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path} line {number} is broken ({error}); delete the file and run again") from error
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the file whole or not at all, as NeMo-Skills writes it."""
    write_atomically(path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def drop_torn_line(path: Path) -> bool:
    """Removes the last line of a file of rows if its writer was killed while writing it; says whether it did."""
    if not path.exists():
        return False
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    last = data[len(whole) :]
    if not last.strip():
        return False
    try:
        json.loads(last)
    except ValueError:
        write_atomically(path, whole)
        return True
    write_atomically(path, data + b"\n")
    return False


def records_of(row: Mapping[str, Any]) -> list[RequestRecord]:
    """The request records of one row.

    Raises:
        DataError: the row was written by something else.
    """
    try:
        records = msgspec.convert(row[RECORDS], list[RequestRecord])
    except (KeyError, msgspec.ValidationError) as error:
        raise DataError(
            "the output was not written by the generation task of nemo_skills_specdec, so it holds nothing about "
            "drafts; delete it and run again, with GENERATION_MODULE nemo_skills_specdec.evaluator.generation"
        ) from error
    return with_stepless_answers(records)


def responses_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, AcceptanceCounts | None]:
    """The counts of all answers in some rows, by response id."""
    return {
        record.response_id: record.counts
        for row in rows
        for record in records_of(row)
        if record.response_id is not None
    }


def stamps_of(records: Sequence[RequestRecord]) -> Row:
    """The fields of a row that follow from its records, in NeMo-Skills' names and units (rates in percent).

    The figures of drafts are there only where every answer of the row came with counts: they are the row's own, and
    never those of the whole run.
    """
    stamps: Row = {
        RECORDS: msgspec.to_builtins(list(records)),
        "response_ids": [record.response_id for record in records],
    }
    counts = [record.counts for record in records if record.error is None and record.counts is not None]
    if not counts or len(counts) < sum(record.error is None for record in records):
        return stamps
    known = total(counts)
    figures: Row = {
        "num_drafts": known.num_drafts,
        "draft_tokens": known.num_draft_tokens,
        "accepted_tokens": known.num_accepted_tokens,
        "acceptance_length": known.acceptance_length,
        "acceptance_rate": None if known.acceptance_rate is None else 100 * known.acceptance_rate,
        "per_position_acceptance_rates": known.per_position_acceptance_rates,
        "conditional_acceptance_rates": known.conditional_acceptance_rates,
    }
    return stamps | {name: value for name, value in figures.items() if value is not None}


def join_counts(rows: Iterable[Row], counts: Mapping[str, AcceptanceCounts], source: Source) -> int:
    """Gives answers without counts those found elsewhere under their response id; says how many it gave."""
    joined = 0
    for row in rows:
        records = records_of(row)
        changed = False
        for record in records:
            found = counts.get(record.response_id or "")
            if record.counts is None and record.error is None and found is not None:
                record.counts = found
                record.counts_source = source
                changed = True
                joined += 1
        if changed:
            row.update(stamps_of(records))
    return joined
