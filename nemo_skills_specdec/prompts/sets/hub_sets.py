"""Any data set on the hub as prompts: all of a few data files, or one column of a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.access import Access, Origin, Table
from nemo_skills_specdec.prompts.hub.repository import DATA_SUFFIXES, Repository, RepositoryFile
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, prompt_row, text_id
from nemo_skills_specdec.records import PromptRow

SPECULATOR_BENCHMARKS = "RedHatAI/speculator_benchmarks"
_PINNED = {SPECULATOR_BENCHMARKS: "2ae86affa2cb97a972b7fc681dd51c04fbff083e"}
_FIELDS = ("prompt", "turns", "messages", "text", "question", "instruction")


def load_speculator_benchmarks(access: Access, options: SetOptions) -> PromptSet:
    """RedHatAI/speculator_benchmarks: every subset, or the named ones; the subset is the category."""
    return _load_files(SPECULATOR_BENCHMARKS, access, options, everything=not options.subsets)


def load_hub_set(repo_id: str, access: Access, options: SetOptions) -> PromptSet:
    """A data set by name.

    With a column: that column of the given subset (config) and split. Without: the first data file, or the named ones.
    """
    if options.column is None:
        return _load_files(repo_id, access, options, everything=False)
    config = options.subsets[0] if options.subsets else None
    split = options.split or "test"
    try:
        table = access.table(repo_id, options.revision or "main", config, split)
    except DataError:
        # Data in other formats, or made by a script: the hub's own library may still read it.
        return _by_library(repo_id, config, split, options)
    if options.column not in table.columns():
        known = ", ".join(table.columns())
        raise UsageError(f"{repo_id} has no column {options.column!r}; choose with --column from: {known}")
    rows = rows_of(table.column_rows([options.column]), repo_id, config or split, (options.column,))
    return PromptSet(rows=rows, origins=_used(access))


def _load_files(repo_id: str, access: Access, options: SetOptions, *, everything: bool) -> PromptSet:
    repository = access.repository(repo_id, options.revision or _PINNED.get(repo_id, "main"))
    rows: list[PromptRow] = []
    chosen = _chosen(repository, options.subsets, everything)
    for file in chosen:
        table = Table(access, repository, [file])
        name = subset_name(file.path)
        fields = (options.column,) if options.column else _FIELDS
        columns = [column for column in table.columns() if column in (*fields, "category")]
        rows.extend(rows_of(table.column_rows(columns), repo_id, name, fields))
    return PromptSet(rows=rows, origins=_used(access))


def _chosen(repository: Repository, subsets: Iterable[str], everything: bool) -> list[RepositoryFile]:
    files = sorted((f for f in repository.files if f.path.lower().endswith(DATA_SUFFIXES)), key=lambda file: file.path)
    if not files:
        raise DataError(f"{repository.repo_id} holds no data file in Parquet or JSON; choose another data set")
    if everything:
        return files
    if not subsets:
        return files[:1]
    by_name = {subset_name(file.path): file for file in reversed(files)}
    unknown = [name for name in subsets if name not in by_name]
    if unknown:
        known = ", ".join(sorted(by_name))
        raise UsageError(f"{repository.repo_id} has no subset {unknown[0]!r}; choose with --subset from: {known}")
    return [by_name[name] for name in subsets]


def subset_name(path: str) -> str:
    """The name of the part that a data file holds: its folder if the file is called after a split, else its own."""
    pure = PurePosixPath(path)
    stem = pure.name.split(".")[0]
    base = stem.split("-")[0]
    if base in ("train", "test", "validation", "val", "dev", "data") and pure.parent.name not in ("", "data"):
        return pure.parent.name
    return base if base in ("train", "test", "validation") else stem


def rows_of(
    records: Iterable[dict[str, Any]], source: str, category: str, fields: tuple[str | None, ...]
) -> list[PromptRow]:
    """One row for each record; the first of the fields that it has is the prompt, a list of turns, or messages.

    Raises:
        DataError: a record has none of them.
    """
    rows = []
    for number, record in enumerate(records):
        value = next((record[field] for field in fields if field is not None and record.get(field)), None)
        turns = _turns(value)
        if not turns:
            names = " or ".join(str(field) for field in fields)
            raise DataError(f"{source}, {category}: record {number} has no {names}; choose the column with --column")
        own = record.get("category")
        identity = text_id(f"{source} {category} {number}")
        rows.append(
            prompt_row(
                identity,
                category,
                turns,
                source=source,
                src_id=f"{category}_{number}",
                sub_category=str(own) if own and own != category else None,
            )
        )
    return rows


def _turns(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value.strip() else []
    if not isinstance(value, list):
        return []
    if all(isinstance(turn, str) for turn in value):
        return [turn for turn in value if turn.strip()]
    user = [m for m in value if isinstance(m, dict) and m.get("role", m.get("from")) in ("user", "human")]
    return [str(m.get("content", m.get("value"))) for m in user]


def _by_library(repo_id: str, config: str | None, split: str, options: SetOptions) -> PromptSet:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            f"{repo_id} has no data file of that subset and split in Parquet or JSON; for other formats install: "
            'pip install "nemo-skills-specdec[datasets]"'
        ) from error
    try:
        loaded = datasets.load_dataset(repo_id, config, split=split, revision=options.revision, streaming=True)
        records = [dict(record) for record in loaded]
    except (ValueError, OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{repo_id} cannot be loaded: {reason}; check name, --subset and --split") from error
    if records and options.column not in records[0]:
        known = ", ".join(records[0])
        raise UsageError(f"{repo_id} has no column {options.column!r}; choose with --column from: {known}")
    rows = rows_of(records, repo_id, config or split, (options.column,))
    return PromptSet(rows=rows, origins=[Origin(repo_id, options.revision)])


def _used(access: Access) -> list[Origin]:
    return sorted(access.used, key=lambda origin: (origin.source, origin.file or ""))
