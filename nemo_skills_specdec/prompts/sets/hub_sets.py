"""Any data set on the hub as prompts: a split of it, or files of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.access import Access, Origin, Table
from nemo_skills_specdec.prompts.hub.data_files import config_names, data_files, split_files
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, text_id
from nemo_skills_specdec.prompts.rows import ReadRows, columns_of, rows_of
from nemo_skills_specdec.records import Finding, PromptRow

SPECULATOR_BENCHMARKS = "RedHatAI/speculator_benchmarks"
_REVISION = "2ae86affa2cb97a972b7fc681dd51c04fbff083e"


def load_speculator_benchmarks(access: Access, options: SetOptions) -> PromptSet:
    """RedHatAI/speculator_benchmarks: every subset, or the named ones; the subset is the category."""
    repository = access.repository(SPECULATOR_BENCHMARKS, options.revision or _REVISION)
    files = _named(repository, options.subsets) if options.subsets else data_files(repository)
    return _prompts(access, repository, files, None, options)


def load_hub_set(repo_id: str, access: Access, options: SetOptions) -> PromptSet:
    """A data set by name: all files of a split.

    The config is `options.config`, else the first subset if that is one, else the default of the data set's card; the
    split is `options.split`, else test, validation or train. Subsets that are no configs are names of files.
    """
    repository = access.repository(repo_id, options.revision or "main")
    if not data_files(repository):
        # Data in other formats, or made by a script: the hub's own library may still read it.
        access.fetcher.check_online(repo_id)
        return _by_library(repo_id, options)
    configs = config_names(access.fetcher, repository)
    subsets = options.subsets
    if subsets and not set(subsets) <= set(configs):
        return _prompts(access, repository, _named(repository, subsets), None, options)
    config = options.config or (subsets[0] if subsets else None)
    found = split_files(access.fetcher, repository, config, options.split)
    category = found.config if found.config not in (None, "default") else found.split if found.named else None
    loaded = _prompts(access, repository, found.files, category, options)
    loaded.config, loaded.split = found.config, found.split
    return loaded


def _prompts(
    access: Access, repository: Repository, files: Sequence[RepositoryFile], category: str | None, options: SetOptions
) -> PromptSet:
    """The prompts in files; those of one part follow each other, and the part is their category if none is given."""
    parts: dict[str, list[RepositoryFile]] = {}
    for file in files:
        parts.setdefault(category or subset_name(file.path), []).append(file)
    rows: list[PromptRow] = []
    findings: list[Finding] = []
    for name, shards in parts.items():
        table = Table(access, repository, shards)
        columns = _columns(repository.repo_id, table.columns(), options.column)
        read = hub_rows(table.column_rows(columns), repository.repo_id, name, options.column)
        rows.extend(read.rows)
        findings.extend(read.findings)
    return PromptSet(rows=rows, origins=access.origins, findings=findings)


def _columns(repo_id: str, columns: list[str], column: str | None) -> list[str]:
    """The columns to read; all of them where none looks like a prompt, so that the message can name them."""
    if column is not None and column not in columns:
        raise UsageError(f"{repo_id} has no column {column!r}; choose with --column from: {', '.join(columns)}")
    return columns_of(columns, column) or columns


def _named(repository: Repository, subsets: Iterable[str]) -> list[RepositoryFile]:
    """The files of the named parts, in the order of the names."""
    by_name: dict[str, list[RepositoryFile]] = {}
    for file in data_files(repository):
        by_name.setdefault(subset_name(file.path), []).append(file)
    unknown = [name for name in subsets if name not in by_name]
    if unknown:
        known = ", ".join(sorted(by_name))
        raise UsageError(f"{repository.repo_id} has no subset {unknown[0]!r}; choose with --subset from: {known}")
    return [file for name in subsets for file in by_name[name]]


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


def _by_library(repo_id: str, options: SetOptions) -> PromptSet:
    config = options.config or (options.subsets[0] if options.subsets else None)
    split = options.split or "test"
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            f"{repo_id} has no data file in Parquet, JSON or CSV; for other formats install: "
            "pip install 'nemo-skills-specdec[datasets]'"
        ) from error
    try:
        loaded = datasets.load_dataset(repo_id, config, split=split, revision=options.revision, streaming=True)
        records = [dict(record) for record in loaded]
    except (ValueError, OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{repo_id} cannot be loaded: {reason}; check name, --config and --split") from error
    _columns(repo_id, list(records[0]) if records else [], options.column)
    read = hub_rows(records, repo_id, config or split, options.column)
    origins = [Origin(repo_id, options.revision)]
    return PromptSet(rows=read.rows, origins=origins, findings=read.findings, config=config, split=split)
