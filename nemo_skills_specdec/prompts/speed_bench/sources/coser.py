"""Scenes from novels, from Neph0s/CoSER: the model plays one of the characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, part, unknown_form
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import numbered_records
from nemo_skills_specdec.prompts.speed_bench.templates import filled
from nemo_skills_specdec.prompts.speed_bench.texts import Texts

_SEED = 12347
_FIELDS = ["major_characters", "character_profiles", "key_characters", "scenario", "book"]


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the scenes by their number, and for the order `union` the names in the whole file."""
    records = numbered_records(access, [(_address(row), _number(row)) for row in rows], "CoSER", _FIELDS)
    orders: dict[str, list[str]] = {}
    if rules.coser_order == "union":
        orders = {url: names_in_order(access.records(url, "CoSER")) for url in {_address(row) for row in rows}}

    def turns(row: RawRow) -> list[str]:
        url = _address(row)
        return [scene(records[url, _number(row)], rules.texts, orders.get(url))]

    return turns


def names_in_order(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all characters with a profile, in the order in which they first appear."""
    return list(dict.fromkeys(name for record in records for name in record["character_profiles"]))


def scene(record: Mapping[str, Any], texts: Texts, order: Sequence[str] | None) -> str:
    """The prompt: who to play, what happens, who else is there.

    Args:
        record: a CoSER record.
        texts: the wording.
        order: of the other characters; None takes the record's.
    """
    import numpy as np

    majors = record["major_characters"]
    character = majors[int(np.random.default_rng(_SEED).integers(0, len(majors)))]
    profiles = record["character_profiles"]
    if order is None and character not in profiles:
        raise DataError(f"CoSER has no profile of {character!r} in {record['book']!r}; was the source changed?")
    others = [name for name in (profiles if order is None else order) if profiles.get(name) is not None]
    motivation = next(
        (entry["motivation"] for entry in record["key_characters"] if entry["name"] == character), texts.coser_none
    )
    return filled(
        texts.coser,
        character=character,
        character_profile=profiles.get(character),
        book_name=record["book"],
        scenario=record["scenario"],
        other_character_profiles_str="\n\n".join(f"{name}: {profiles[name]}" for name in others if name != character),
        motivation=motivation,
    )


def _address(row: RawRow) -> str:
    # Upstream exchanges every "tree" in the address, not only that of the hub's path.
    return row.source.replace("tree", "raw") + "/test/test_set.json"


def _number(row: RawRow) -> int:
    number = part(row, 1)
    if not number.isdigit():
        raise unknown_form(row)
    return int(number)


SOURCE = Source(marker="Neph0s/CoSER", load=load)
