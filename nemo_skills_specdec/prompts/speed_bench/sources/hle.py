"""Questions from cais/hle: alone in the qualitative config, behind solved examples in the throughput configs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.prompts.hub.access import Access, Table
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, record_of
from nemo_skills_specdec.prompts.speed_bench.texts import Texts
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder

REPOSITORY = "cais/hle"
_REVISION = "021a3d71f516a7ac28ceb8d284969902edf1edeb"
_SEED = 42

Record = Mapping[str, Any]


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Finds the questions; for throughput configs also the solved examples."""
    table = access.table(REPOSITORY, _REVISION)
    if rules.budget is None:
        return _alone(rows, table)
    records = list(table.column_rows(["id", "question", "rationale", "category"]))
    examples, asked = halves(records, _text_only(access, table))
    return _with_examples(rows[0], examples, asked, rules)


def _alone(rows: Sequence[RawRow], table: Table) -> Completer:
    records = table.find("id", {row.src_id for row in rows}, ["question"])
    return lambda row: [str(record_of(row, records, row.src_id, table.name)["question"])]


def _with_examples(
    first: RawRow, examples: Mapping[str, Sequence[Record]], asked: Mapping[str, Record], rules: Rules
) -> Completer:
    import numpy as np

    encoder, budget = rules.measure(first)
    texts = rules.texts
    # One generator for a config, whatever was built before it: a config is the same alone and among others.
    generator = np.random.default_rng(_SEED)
    known: dict[str, list[int]] = {}

    def example(category: str) -> list[int]:
        pool = examples.get(category, ())
        if not pool:
            raise DataError(f"{REPOSITORY} has no solved example of {category!r}; was the source changed?")
        record = pool[int(generator.choice(len(pool), size=1, replace=False)[0])]
        if record["id"] not in known:
            known[record["id"]] = encoder.encode(demonstration(record, texts), disallowed_special=())
        return known[record["id"]]

    def turns(row: RawRow) -> list[str]:
        record = record_of(row, asked, row.src_id, f"the half of {REPOSITORY} that questions are taken from")
        category = str(record["category"])
        try:
            head = encoder.encode(texts.hle_head + category + texts.hle_tail)
            question = encoder.encode(str(record["question"]))
        except ValueError as error:
            raise DataError(f"row {row.question_id}: its question holds the text of a special token") from error
        return [with_examples(head, question, budget, lambda: example(category), encoder)]

    return turns


def halves(records: Sequence[Record], text_only: Sequence[bool]) -> tuple[dict[str, list[Record]], dict[str, Record]]:
    """Splits the questions in two by lot: solved examples by category, and those that may be asked by id.

    The first half of the permutation, rounded up, is asked; of the others, those without an image are examples. This
    is what `datasets` does for `train_test_split(test_size=0.5, shuffle=True, seed=42)`.
    """
    import numpy as np

    order = np.random.default_rng(_SEED).permutation(len(records)).tolist()
    middle = (len(order) + 1) // 2
    asked: dict[str, Record] = {}
    for number in order[:middle]:
        asked.setdefault(str(records[number]["id"]), records[number])
    examples: defaultdict[str, list[Record]] = defaultdict(list)
    for number in order[middle:]:
        if text_only[number]:
            examples[str(records[number]["category"])].append(records[number])
    return dict(examples), asked


def demonstration(record: Record, texts: Texts) -> str:
    """A solved example."""
    return f"{texts.hle_q}{record['question']}{texts.hle_a}{record['rationale']}{texts.hle_end}"


def with_examples(
    head: Sequence[int], question: Sequence[int], budget: int, draw: Callable[[], Sequence[int]], encoder: Encoder
) -> str:
    """The head, as many solved examples as fit, the last one cut, and the question: one token more than the budget.

    The token too many is upstream's, and part of the data. Examples may be drawn more than once.
    """
    tokens = list(head)
    while len(tokens) + len(question) < budget:
        tokens.extend(draw())
    return encoder.decode([*tokens[: budget - len(question) + 1], *question])


def _text_only(access: Access, table: Table) -> list[bool]:
    """Whether each question has no image. Images are most of the file: they are read once, and the answer is kept."""
    kept = access.cache.document(f"text-only {table.key}")
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=list[bool])
    result: list[bool] = []
    with access.fetcher.progress("HLE's questions with images, read once", table.num_rows(), "rows") as advance:
        for row in table.column_rows(["image"], keep=False):
            result.append(row["image"] == "")
            advance(1)
    write_atomically(kept, msgspec.json.encode(result))
    return result


SOURCE = Source(marker=REPOSITORY, load=load, gated=REPOSITORY)
