"""The prompt sets by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.access import Access, Origin
from nemo_skills_specdec.prompts.prompt_set import SPEED_BENCH, PromptSet, SetOptions, local_origin
from nemo_skills_specdec.prompts.rows import SUFFIXES, is_prompt_file, prompt_file_stem, read_rows
from nemo_skills_specdec.prompts.sets.hub_sets import load_hub_set, load_speculator_benchmarks
from nemo_skills_specdec.prompts.sets.mini import load_mini
from nemo_skills_specdec.prompts.sets.random_tokens import load_random
from nemo_skills_specdec.prompts.sets.spec_bench import load_mt_bench, load_spec_bench
from nemo_skills_specdec.prompts.sets.tasks import TASKS, load_task
from nemo_skills_specdec.records import Finding

_LOADERS: dict[str, Callable[[Access, SetOptions], PromptSet]] = {
    "mini": lambda access, options: PromptSet(
        rows=load_mini(options.config or "full"), origins=[Origin("built in")], config=options.config
    ),
    "spec-bench": load_spec_bench,
    "mt-bench": load_mt_bench,
    **{name: partial(load_task, task) for name, task in TASKS.items()},
    "speculator_benchmarks": load_speculator_benchmarks,
    "random": lambda access, options: load_random(options),
}

NAMES: tuple[str, ...] = tuple(_LOADERS)
"""Prompt sets that have a name; besides these there are `org/name` on the hub, and files."""

NO_CONFIGS = frozenset({"spec-bench", "mt-bench", "random"})
"""Prompt sets that are not data sets on the hub with their configs."""


ALIAS = "-specdec"
"""What NeMo-Skills' dataset folders put behind a name that NeMo-Skills has as a built-in."""


def base_name(name: str) -> str:
    """The name of a prompt set without the suffix of NeMo-Skills' dataset folders."""
    base = name.removesuffix(ALIAS)
    return base if base in NAMES or base == SPEED_BENCH else name


def load_prompt_set(name: str, access: Access, options: SetOptions) -> PromptSet:
    """Loads a prompt set.

    Args:
        name: one of `NAMES`, `org/name` of a data set on the hub, or the path of a file of prompts.

    Raises:
        UsageError: there is no such set; lists those there are.
    """
    if name in _LOADERS:
        loaded = _LOADERS[name](access, options)
    elif is_prompt_file(name):
        read = read_rows(Path(name), column=options.column)
        loaded = PromptSet(rows=read.rows, origins=[local_origin(Path(name))], findings=read.findings)
    elif name.count("/") == 1 and all(name.split("/")):
        loaded = load_hub_set(name, access, options)
    else:
        raise UsageError(
            f"there is no prompt set {name!r}; choose one of: {SPEED_BENCH}, {', '.join(NAMES)}, org/name of a data "
            f"set on the hub, or the path of a file ({', '.join(SUFFIXES)})"
        )
    return _with_distinct_ids(loaded)


def folder_name(name: str) -> str:
    """The name of the folder that holds a prepared set."""
    if is_prompt_file(name):
        return prompt_file_stem(name)
    return name.replace("/", "--")


def _with_distinct_ids(loaded: PromptSet) -> PromptSet:
    """Numbers ids that come twice, since results are joined by id."""
    seen: dict[str, int] = {}
    renamed = 0
    for row in loaded.rows:
        count = seen[row.question_id] = seen.get(row.question_id, 0) + 1
        if count > 1:
            row.question_id = f"{row.question_id}#{count}"
            renamed += 1
    if renamed:
        message = f"{renamed} row{' has' if renamed == 1 else 's have'} the id of another row; these ids were numbered."
        loaded.findings.append(
            Finding(code="ids_numbered", severity="info", message=message, numbers={"rows": renamed})
        )
    return loaded
