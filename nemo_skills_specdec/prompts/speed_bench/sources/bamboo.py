"""Long dialogues from RUCAIBox/BAMBOO, to be completed."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, numbers_in
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import numbered_records
from nemo_skills_specdec.prompts.speed_bench.texts import Texts, rendered
from nemo_skills_specdec.prompts.speed_bench.tokens import fitted


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the dialogues by their numbers in the file that `source` names."""
    records = numbered_records(
        access, [(row.source, n) for row in rows for n in numbers_in(row)], "BAMBOO", ["content"]
    )

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


SOURCE = Source(marker="RUCAIBox/BAMBOO", load=load)
