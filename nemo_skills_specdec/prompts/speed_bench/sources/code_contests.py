"""Programming problems from deepmind/code_contests."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, not_found
from nemo_skills_specdec.prompts.speed_bench.templates import filled

_REPOSITORY = "deepmind/code_contests"
_REVISION = "802411c3010cb00d1b05bad57ca77365a3c699d6"


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Finds the problems by their name."""
    table = access.table(_REPOSITORY, _REVISION)
    problems = table.find("name", {row.src_id for row in rows}, ["description"])

    def turns(row: RawRow) -> list[str]:
        if row.src_id not in problems:
            raise not_found(row, table.name)
        return [filled(row.template, question=problems[row.src_id]["description"])]

    return turns


SOURCE = Source(marker=_REPOSITORY, load=load)
