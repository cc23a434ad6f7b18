"""Questions to a role, from ZenMoore/RoleBench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, numbers_in, part
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import numbered_records
from nemo_skills_specdec.prompts.speed_bench.templates import filled

_ROLES = (
    "https://huggingface.co/datasets/ZenMoore/RoleBench/raw/a57ed54f9613921e4a5f1b63601a558cd5acf971/"
    "profiles-eng/desc.json"
)


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the questions by their numbers, and the descriptions of the roles."""
    wanted = [(_address(row), number) for row in rows for number in _numbers(row)]
    records = numbered_records(access, wanted, "RoleBench", ["role", "question"])
    roles = next(access.records(_ROLES, "RoleBench roles"), {})

    def turns(row: RawRow) -> list[str]:
        return dialogue(row, [records[_address(row), number] for number in _numbers(row)], roles)

    return turns


def dialogue(row: RawRow, records: Sequence[Mapping[str, Any]], roles: Mapping[str, Any]) -> list[str]:
    """The first turn introduces the role of the first record; later ones no longer address it by name."""
    role = str(records[0]["role"])
    if role not in roles:
        raise DataError(f"row {row.question_id}: RoleBench describes no role {role!r}; was the source changed?")
    opening = filled(row.template, role_name=role, role_description_and_catchphrases=roles[role])
    later = [str(r["question"]).removeprefix(f"{role}, ").removeprefix(f" {role},") for r in records[1:]]
    return [f"{opening}\n{records[0]['question']}", *later]


def _address(row: RawRow) -> str:
    # Upstream exchanges every "tree" in the address, not only that of the hub's path.
    return f"{row.source.replace('tree', 'raw')}/{part(row, 1)}/role_specific/test.jsonl"


def _numbers(row: RawRow) -> list[int]:
    return numbers_in(row)[: len(row.turns)]


SOURCE = Source(marker="ZenMoore/RoleBench", load=load)
