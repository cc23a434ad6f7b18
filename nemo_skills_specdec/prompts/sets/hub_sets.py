"""Any data set on the hub as prompts: all of a few data files, or one column of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.access import Access, Origin, Table
from nemo_skills_specdec.prompts.hub.data_files import DATA_SUFFIXES
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, text_id
from nemo_skills_specdec.prompts.rows import ReadRows, columns_of, rows_of
from nemo_skills_specdec.records import Finding, PromptRow

SPECULATOR_BENCHMARKS = "RedHatAI/speculator_benchmarks"
_PINNED = {SPECULATOR_BENCHMARKS: "2ae86affa2cb97a972b7fc681dd51c04fbff083e"}


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
    columns = _columns(repo_id, table.columns(), options.column)
    read = hub_rows(table.column_rows(columns), repo_id, config or split, options.column)
    return PromptSet(rows=read.rows, origins=_used(access), findings=read.findings)


def _load_files(repo_id: str, access: Access, options: SetOptions, *, everything: bool) -> PromptSet:
    repository = access.repository(repo_id, options.revision or _PINNED.get(repo_id, "main"))
    rows: list[PromptRow] = []
    findings: list[Finding] = []
    chosen = _chosen(repository, options.subsets, everything)
    for file in chosen:
        table = Table(access, repository, [file])
        name = subset_name(file.path)
        columns = _columns(repo_id, table.columns(), options.column)
        read = hub_rows(table.column_rows(columns), repo_id, name, options.column)
        rows.extend(read.rows)
        findings.extend(read.findings)
    return PromptSet(rows=rows, origins=_used(access), findings=findings)


def _columns(repo_id: str, columns: list[str], column: str | None) -> list[str]:
    """The columns to read; all of them where none looks like a prompt, so that the message can name them."""
    if column is not None and column not in columns:
        raise UsageError(f"{repo_id} has no column {column!r}; choose with --column from: {', '.join(columns)}")
    return columns_of(columns, column) or columns


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


def hub_rows(records: Iterable[dict[str, Any]], source: str, category: str, column: str | None) -> ReadRows:
    """The prompt rows of a part of a data set; the part is the category, the records' own the sub-category."""

    def labelled() -> Iterator[tuple[str, dict[str, Any]]]:
        for number, record in enumerate(records):
            own = record.get("category")
            labels = {
                "question_id": text_id(f"{source} {category} {number}"),
                "category": category,
                "sub_category": own if own != category else None,
                "source": source,
                "src_id": f"{category}_{number}",
            }
            yield f"record {number + 1}", {**record, **labels}

    return rows_of(labelled(), f"{source}, {category}:", column=column)


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
    _columns(repo_id, list(records[0]) if records else [], options.column)
    read = hub_rows(records, repo_id, config or split, options.column)
    return PromptSet(rows=read.rows, origins=[Origin(repo_id, options.revision)], findings=read.findings)


def _used(access: Access) -> list[Origin]:
    return sorted(access.used, key=lambda origin: (origin.source, origin.file or ""))
