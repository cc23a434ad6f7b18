"""Multiple-choice questions from TIGER-Lab/MMLU-Pro, several in one conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, unknown_form
from nemo_skills_specdec.prompts.speed_bench.templates import filled
from nemo_skills_specdec.prompts.speed_bench.texts import Texts, rendered

_REPOSITORY = "TIGER-Lab/MMLU-Pro"
_REVISION = "30527804ea8854662078e457808040d872ecdf29"


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes consecutive questions, as many as the masked row has turns."""
    wanted = {number for row in rows for number in _numbers(row)}
    records = access.table(_REPOSITORY, _REVISION).rows(wanted, ["question", "options"])

    def turns(row: RawRow) -> list[str]:
        return questions([records[number] for number in _numbers(row)], row.sub_category, rules.texts)

    return turns


def questions(records: Sequence[dict[str, Any]], subject: str | None, texts: Texts) -> list[str]:
    """One turn for each question; the first begins with what to do."""
    items = []
    for record in records:
        lines = [
            rendered(texts.mmlu_option, {"letter": chr(ord("A") + number), "option": option})
            for number, option in enumerate(record["options"])
        ]
        items.append(rendered(texts.mmlu_item, {"question": record["question"], "options_str": "\n".join(lines)}))
    return [filled(texts.mmlu, subject=subject) + items[0], *items[1:]]


def _numbers(row: RawRow) -> range:
    """Row numbers, from the first number in e.g. `mmlu_pro_(12, 14)`."""
    match = re.search(r"\((\d+)\s*,", row.src_id)
    if match is None:
        raise unknown_form(row)
    return range(int(match[1]), int(match[1]) + len(row.turns))


SOURCE = Source(marker=_REPOSITORY, load=load)
