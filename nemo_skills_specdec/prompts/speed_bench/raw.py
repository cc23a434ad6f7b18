"""The rows as the hub has them: open ones complete, masked ones with a placeholder."""

from __future__ import annotations

from fnmatch import fnmatch

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access, Origin
from nemo_skills_specdec.prompts.hub.parquet import hub_parquet
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile, whole_file
from nemo_skills_specdec.prompts.speed_bench.schema import DATASET, RawRow


def config_files(repository: Repository, config: str) -> list[RepositoryFile]:
    """The files of a config.

    Raises:
        DataError: there are none.
    """
    files = [file for file in repository.files if fnmatch(file.path, f"{config}/test-*.parquet")]
    if not files:
        raise DataError(f"{DATASET} at {repository.sha[:12]} has no files for {config}; choose another --revision")
    return sorted(files, key=lambda file: file.path)


def raw_rows(access: Access, repository: Repository, config: str) -> tuple[list[RawRow], list[Origin]]:
    """All rows of a config in their order, and the files they are from.

    Raises:
        DataError: a file does not hold such rows.
    """
    rows: list[RawRow] = []
    origins: list[Origin] = []
    for file in config_files(repository, config):
        stored = whole_file(access.fetcher, repository, file)
        origins.append(Origin(DATASET, repository.sha, file.path, stored.sha256))
        for _, table in hub_parquet(access.fetcher, access.cache, repository, file).tables(RawRow.__struct_fields__):
            try:
                rows.extend(msgspec.convert(table.to_pylist(), list[RawRow]))
            except msgspec.ValidationError as error:
                raise DataError(f"{DATASET} {file.path}: {error}; choose another --revision") from error
    return rows, origins
