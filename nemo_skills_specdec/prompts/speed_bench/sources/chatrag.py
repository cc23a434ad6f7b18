"""Conversations about a text, from nvidia/ChatRAG-Bench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, last_number
from nemo_skills_specdec.prompts.speed_bench.templates import filled
from nemo_skills_specdec.prompts.speed_bench.texts import Texts

_REPOSITORY = "nvidia/ChatRAG-Bench"
_REVISION = "af6c7d420ddddf21f54f8ab3394bbf462aad2577"
_CONFIGS = ("hybridial", "sqa")
_COLUMNS = ["messages", "ctxs"]


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the conversations by their number, counted through both configs."""
    wanted = {last_number(row) for row in rows}
    records: dict[int, dict[str, Any]] = {}
    first = 0
    for config in _CONFIGS:
        table = access.table(_REPOSITORY, _REVISION, config)
        count = table.num_rows()
        inside = {number - first for number in wanted if first <= number < first + count}
        records.update((first + number, record) for number, record in table.rows(inside, _COLUMNS).items())
        first += count
    if wanted - set(records):
        raise DataError(f"{_REPOSITORY} has {first} rows, number {max(wanted)} is asked for; was the source changed?")
    return lambda row: conversation(records[last_number(row)], rules.texts)


def conversation(record: dict[str, Any], texts: Texts) -> list[str]:
    """The user's turns, the first with the text that the conversation is about."""
    questions = [str(message["content"]) for message in record["messages"] if message["role"] == "user"]
    context = "\n\n".join(str(passage["text"]) for passage in record["ctxs"])
    return [filled(texts.rag, context=context, question=questions[0]), *questions[1:]]


SOURCE = Source(marker=_REPOSITORY, load=load)
