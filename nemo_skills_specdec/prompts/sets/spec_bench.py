"""Spec-Bench, and MT-Bench, which is its first part.

Spec-Bench (https://github.com/hemingkx/Spec-Bench): 480 rows; translation, summarization, qa, math_reasoning and rag
with 80 single-turn rows each, and the 80 two-turn rows of MT-Bench in eight categories, ids 81 to 160.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access, Origin
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, local_origin, prompt_row
from nemo_skills_specdec.prompts.rows import read_records
from nemo_skills_specdec.records import PromptRow

_COMMIT = "fd2c1cd7d2201ef71db4c5f4e455008f017967bf"
_URL = f"https://raw.githubusercontent.com/hemingkx/Spec-Bench/{_COMMIT}/data/spec_bench/question.jsonl"
_SHA256 = "4b6d33e79484f9841c487ee87d1cf6aa8c6066f61d5d482ff09e5a007fafdf04"
_MT_BENCH_IDS = range(81, 161)


def load_spec_bench(access: Access, options: SetOptions) -> PromptSet:
    """All of Spec-Bench, from its repository or from a local `question.jsonl`."""
    return _load(access, options, "spec-bench")


def load_mt_bench(access: Access, options: SetOptions) -> PromptSet:
    """The rows of MT-Bench, from Spec-Bench's file or from a local `question.jsonl` of either."""
    loaded = _load(access, options, "mt-bench")
    loaded.rows = [row for row in loaded.rows if int(row.question_id) in _MT_BENCH_IDS]
    if not loaded.rows:
        raise DataError("the file holds no row with an id from 81 to 160, the ids of MT-Bench; give another file")
    return loaded


def _load(access: Access, options: SetOptions, name: str) -> PromptSet:
    if options.path is not None:
        path, origin = options.path, None
    else:
        stored = access.cache.file(access.fetcher, _URL, sha256=_SHA256, name="Spec-Bench")
        origin = Origin("hemingkx/Spec-Bench", _COMMIT, "data/spec_bench/question.jsonl", stored.sha256)
        path = Path(stored.path)
    rows = rows_of((record for _, record in read_records(path)), name)
    return PromptSet(rows=rows, origins=[origin or local_origin(path)])


def rows_of(records: Iterable[dict[str, Any]], source: str) -> list[PromptRow]:
    """Rows of a `question.jsonl`: `question_id`, `category`, `turns`.

    Raises:
        DataError: a record lacks one of them.
    """
    rows = []
    for number, record in enumerate(records):
        turns: Any = record.get("turns")
        whole = isinstance(turns, list) and turns and all(isinstance(turn, str) and turn.strip() for turn in turns)
        if not whole or not str(record.get("question_id", "")).isdigit():
            raise DataError(f"{source}: record {number} has no `question_id` or no `turns`; give its question.jsonl")
        rows.append(
            prompt_row(
                str(record["question_id"]),
                str(record.get("category") or "uncategorized"),
                turns,
                source=source,
                src_id=str(record["question_id"]),
            )
        )
    return rows
