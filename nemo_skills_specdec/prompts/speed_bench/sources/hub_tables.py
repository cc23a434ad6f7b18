"""Records from tables on the hub: articles, problems, sentence pairs, conversations about a text, exam questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, number_at, record_of, unknown_form
from nemo_skills_specdec.prompts.speed_bench.templates import filled
from nemo_skills_specdec.prompts.speed_bench.texts import Texts, rendered

_OPUS, _OPUS_REVISION = "Helsinki-NLP/opus-100", "805090dc28bf78897da9641cdf08b61287580df9"
_MMLU_PRO, _MMLU_PRO_REVISION = "TIGER-Lab/MMLU-Pro", "30527804ea8854662078e457808040d872ecdf29"
_CHATRAG, _CHATRAG_REVISION = "nvidia/ChatRAG-Bench", "af6c7d420ddddf21f54f8ab3394bbf462aad2577"
_CHATRAG_CONFIGS = ("hybridial", "sqa")


def _by_key(repo_id: str, revision: str, config: str | None, *, key: str, column: str, field: str) -> Source:
    """A data set whose records are named by a key, and put into the row's own template."""

    def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
        table = access.table(repo_id, revision, config)
        records = table.find(key, {row.src_id for row in rows}, [column])

        def turns(row: RawRow) -> list[str]:
            record = record_of(row, records, row.src_id, table.name)
            return [filled(row.template, **{field: record[column]})]

        return turns

    return Source(marker=repo_id, load=load)


def _load_opus(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Sentence pairs by language pair and number, from e.g. `opus_de-en_12`."""
    pairs: dict[str, dict[int, dict[str, Any]]] = {}
    for pair in {_pair(row) for row in rows}:
        numbers = {number_at(row, -1) for row in rows if _pair(row) == pair}
        pairs[pair] = access.table(_OPUS, _OPUS_REVISION, pair).rows(numbers, ["translation"])
    return lambda row: [filled(row.template, question=pairs[_pair(row)][number_at(row, -1)]["translation"])]


def _pair(row: RawRow) -> str:
    parts = row.src_id.split("_")
    if len(parts) != 3:
        raise unknown_form(row)
    return parts[1]


def _load_mmlu_pro(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Consecutive questions, as many as the masked row has turns."""
    wanted = {number for row in rows for number in _questions_of(row)}
    records = access.table(_MMLU_PRO, _MMLU_PRO_REVISION).rows(wanted, ["question", "options"])
    return lambda row: questions([records[number] for number in _questions_of(row)], row.sub_category, rules.texts)


def questions(records: Sequence[dict[str, Any]], subject: str | None, texts: Texts) -> list[str]:
    """One turn for each multiple-choice question; the first begins with what to do."""
    items = []
    for record in records:
        lines = [
            rendered(texts.mmlu_option, {"letter": chr(ord("A") + number), "option": option})
            for number, option in enumerate(record["options"])
        ]
        items.append(rendered(texts.mmlu_item, {"question": record["question"], "options_str": "\n".join(lines)}))
    return [filled(texts.mmlu, subject=subject) + items[0], *items[1:]]


def _questions_of(row: RawRow) -> range:
    """Row numbers, from the first number in e.g. `mmlu_pro_(12, 14)`."""
    match = re.search(r"\((\d+)\s*,", row.src_id)
    if match is None:
        raise unknown_form(row)
    return range(int(match[1]), int(match[1]) + len(row.turns))


def _load_chatrag(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Conversations by their number, counted through both configs."""
    wanted = {number_at(row, -1) for row in rows}
    records: dict[int, dict[str, Any]] = {}
    first = 0
    for config in _CHATRAG_CONFIGS:
        table = access.table(_CHATRAG, _CHATRAG_REVISION, config)
        count = table.num_rows()
        inside = table.rows({n - first for n in wanted if first <= n < first + count}, ["messages", "ctxs"])
        records.update((first + number, record) for number, record in inside.items())
        first += count
    if wanted - set(records):
        raise DataError(f"{_CHATRAG} has {first} rows, but number {max(wanted)} was requested; was the source changed?")
    return lambda row: conversation(records[number_at(row, -1)], rules.texts)


def conversation(record: dict[str, Any], texts: Texts) -> list[str]:
    """The user's turns, the first with the text that the conversation is about."""
    asked = [str(message["content"]) for message in record["messages"] if message["role"] == "user"]
    context = "\n\n".join(str(passage["text"]) for passage in record["ctxs"])
    return [filled(texts.rag, context=context, question=asked[0]), *asked[1:]]


# Upstream pins no revision of the articles; the commit in use stands in the manifest.
CNN_DAILYMAIL = _by_key("abisee/cnn_dailymail", "main", "3.0.0", key="id", column="article", field="article")
CODE_CONTESTS = _by_key(
    "deepmind/code_contests",
    "802411c3010cb00d1b05bad57ca77365a3c699d6",
    None,
    key="name",
    column="description",
    field="question",
)
OPUS_100 = Source(marker=_OPUS, load=_load_opus)
MMLU_PRO = Source(marker=_MMLU_PRO, load=_load_mmlu_pro)
CHATRAG = Source(marker=_CHATRAG, load=_load_chatrag)
