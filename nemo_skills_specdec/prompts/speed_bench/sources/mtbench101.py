"""Conversations from MT-Bench-101, of which the user's side is taken."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, last_number
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import numbered_records


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the conversations by their number in the file that `source` names."""
    records = numbered_records(access, [(row.source, last_number(row)) for row in rows], "MT-Bench-101", ["history"])

    def turns(row: RawRow) -> list[str]:
        return [str(entry["user"]) for entry in records[row.source, last_number(row)]["history"]]

    return turns


SOURCE = Source(marker="mtbench101/mt-bench-101", load=load)
