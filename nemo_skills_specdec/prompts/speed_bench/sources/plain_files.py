"""Records from JSON files at plain addresses: MT-Bench-101's conversations and BAMBOO's dialogues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, number_at, numbers_in
from nemo_skills_specdec.prompts.speed_bench.texts import Texts, rendered
from nemo_skills_specdec.prompts.speed_bench.tokens import fitted

K = TypeVar("K", int, str)


def records_at(
    access: Access, wanted: Iterable[tuple[str, K]], name: str, fields: Sequence[str], key: str | None = None
) -> dict[tuple[str, K], dict[str, Any]]:
    """Records by address, and by number (from 0) or the text of a key; of each file no more is read than needed.

    The first record of a key is taken; keys not found are absent.

    Raises:
        DataError: a file has not that many records, or a record lacks a field.
    """
    missing: defaultdict[str, set[Any]] = defaultdict(set)
    for url, place in wanted:
        missing[url].add(place)
    found: dict[tuple[str, K], dict[str, Any]] = {}
    for url, values in missing.items():
        count = 0
        for count, record in enumerate(access.records(url, name), start=1):
            value: Any = count - 1 if key is None else str(record.get(key))
            if value not in values:
                continue
            values.discard(value)
            lacking = [field for field in fields if field not in record]
            if lacking:
                raise DataError(f"{url}: a record has no {lacking[0]!r}; was the source changed?")
            found[url, value] = {field: record[field] for field in fields}
            if not values:
                break
        if key is None and values:
            raise DataError(
                f"{url} has {count} records, but number {max(values)} was requested; was the source changed?"
            )
    return found


def _load_mtbench101(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Conversations, of which the user's side is taken."""
    records = records_at(access, [(row.source, number_at(row, -1)) for row in rows], "MT-Bench-101", ["history"])
    return lambda row: [str(entry["user"]) for entry in records[row.source, number_at(row, -1)]["history"]]


def _load_bamboo(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Long dialogues, to be completed."""
    records = records_at(access, [(row.source, n) for row in rows for n in numbers_in(row)], "BAMBOO", ["content"])

    def turns(row: RawRow) -> list[str]:
        encoder, budget = rules.measure(row)
        contents = [str(records[row.source, number]["content"]) for number in numbers_in(row)]
        return [fitted(encoder, dialogues(contents, rules.texts), budget, rules.texts.pad)]

    return turns


def dialogues(contents: Sequence[str], texts: Texts) -> str:
    """The prompt around some dialogues."""
    items = [
        rendered(texts.wr_item, {"i + 1": str(number), "content": content})
        for number, content in enumerate(contents, start=1)
    ]
    return texts.wr_head + "\n\n".join(items) + texts.wr_tail


MTBENCH101 = Source(marker="mtbench101/mt-bench-101", load=_load_mtbench101)
BAMBOO = Source(marker="RUCAIBox/BAMBOO", load=_load_bamboo)
