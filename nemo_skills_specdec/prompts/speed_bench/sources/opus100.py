"""Sentence pairs from Helsinki-NLP/opus-100, to be translated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, unknown_form
from nemo_skills_specdec.prompts.speed_bench.templates import filled

_REPOSITORY = "Helsinki-NLP/opus-100"
_REVISION = "805090dc28bf78897da9641cdf08b61287580df9"


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the pairs by language pair and number."""
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        pair, number = _place(row)
        numbers[pair].add(number)
    pairs = {
        pair: access.table(_REPOSITORY, _REVISION, pair).rows(inside, ["translation"])
        for pair, inside in numbers.items()
    }

    def turns(row: RawRow) -> list[str]:
        pair, number = _place(row)
        return [filled(row.template, question=pairs[pair][number]["translation"])]

    return turns


def _place(row: RawRow) -> tuple[str, int]:
    """Language pair and row number, from e.g. `opus_de-en_12`."""
    parts = row.src_id.split("_")
    if len(parts) != 3 or not parts[2].isdigit():
        raise unknown_form(row)
    return parts[1], int(parts[2])


SOURCE = Source(marker=_REPOSITORY, load=load)
