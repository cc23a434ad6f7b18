"""Records from JSON files at plain addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access


def numbered_records(
    access: Access, wanted: Iterable[tuple[str, int]], name: str, fields: Sequence[str]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Records by address and number, counted from 0, with the given fields only; each file is read once.

    Raises:
        DataError: a file has not that many records.
    """
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for url, number in wanted:
        numbers[url].add(number)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for url, inside in numbers.items():
        count = 0
        for number, record in enumerate(access.records(url, name)):
            count = number + 1
            if number in inside:
                found[url, number] = _only(record, fields, url)
            if number >= max(inside):
                break
        if count <= max(inside):
            raise DataError(f"{url} has {count} records, number {max(inside)} is asked for; was the source changed?")
    return found


def keyed_records(
    access: Access, wanted: Iterable[tuple[str, str]], key: str, name: str, fields: Sequence[str]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The first record for each address and key; those not found are absent."""
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for url, value in wanted:
        keys[url].add(value)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for url, inside in keys.items():
        missing = set(inside)
        for record in access.records(url, name):
            value = str(record.get(key))
            if value in missing:
                found[url, value] = _only(record, fields, url)
                missing.discard(value)
                if not missing:
                    break
    return found


def _only(record: dict[str, Any], fields: Sequence[str], url: str) -> dict[str, Any]:
    missing = [field for field in fields if field not in record]
    if missing:
        raise DataError(f"{url}: a record has no {missing[0]!r}; was the source changed?")
    return {field: record[field] for field in fields}
