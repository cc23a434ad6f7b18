"""Roles to play: questions to a role from ZenMoore/RoleBench, scenes from novels from Neph0s/CoSER."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, number_at, numbers_in, part
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import records_at
from nemo_skills_specdec.prompts.speed_bench.templates import filled
from nemo_skills_specdec.prompts.speed_bench.texts import Texts

_ROLES = (
    "https://huggingface.co/datasets/ZenMoore/RoleBench/raw/a57ed54f9613921e4a5f1b63601a558cd5acf971/"
    "profiles-eng/desc.json"
)
_SEED = 12347
_SCENE_FIELDS = ["major_characters", "character_profiles", "key_characters", "scenario", "book"]


def _load_rolebench(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """The questions by their numbers, and the descriptions of the roles."""

    def places(row: RawRow) -> list[tuple[str, int]]:
        url = f"{_raw(row.source)}/{part(row, 1)}/role_specific/test.jsonl"
        return [(url, number) for number in numbers_in(row)[: len(row.turns)]]

    wanted = [place for row in rows for place in places(row)]
    records = records_at(access, wanted, "RoleBench", ["role", "question"])
    roles = next(access.records(_ROLES, "RoleBench roles"), {})
    return lambda row: dialogue(row, [records[place] for place in places(row)], roles)


def dialogue(row: RawRow, records: Sequence[Mapping[str, Any]], roles: Mapping[str, Any]) -> list[str]:
    """The first turn introduces the role of the first record; later ones no longer address it by name."""
    role = str(records[0]["role"])
    if role not in roles:
        raise DataError(f"row {row.question_id}: RoleBench describes no role {role!r}; was the source changed?")
    opening = filled(row.template, role_name=role, role_description_and_catchphrases=roles[role])
    later = [str(r["question"]).removeprefix(f"{role}, ").removeprefix(f" {role},") for r in records[1:]]
    return [f"{opening}\n{records[0]['question']}", *later]


def _load_coser(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """The scenes by their number, and for the order `union` the names in the whole file."""
    places = {row.question_id: (f"{_raw(row.source)}/test/test_set.json", number_at(row, 1)) for row in rows}
    records = records_at(access, places.values(), "CoSER", _SCENE_FIELDS)
    orders: dict[str, list[str]] = {}
    if rules.coser_order == "union":
        orders = {url: names_in_order(access.records(url, "CoSER")) for url in {url for url, _ in places.values()}}

    def turns(row: RawRow) -> list[str]:
        place = places[row.question_id]
        return [scene(records[place], rules.texts, orders.get(place[0]))]

    return turns


def names_in_order(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all characters with a profile, in the order in which they first appear."""
    return list(dict.fromkeys(name for record in records for name in record["character_profiles"]))


def scene(record: Mapping[str, Any], texts: Texts, order: Sequence[str] | None) -> str:
    """The prompt: who to play, what happens, who else is there.

    Args:
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


def _raw(source: str) -> str:
    # Upstream exchanges every "tree" in the address, not only that of the hub's path.
    return source.replace("tree", "raw")


ROLEBENCH = Source(marker="ZenMoore/RoleBench", load=_load_rolebench)
COSER = Source(marker="Neph0s/CoSER", load=_load_coser)
