"""The rows as the hub has them: open ones complete, masked ones with a placeholder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access, Origin
from nemo_skills_specdec.prompts.hub.repository import Repository
from nemo_skills_specdec.prompts.speed_bench.schema import DATASET, RawRow

_COLUMNS = ["question_id", "category", "sub_category", "turns", "source", "src_id", "difficulty", "multiturn"]
_BATCH = 64


def config_files(repository: Repository, config: str) -> list[str]:
    """Paths of the files of a config.

    Raises:
        DataError: there are none.
    """
    paths = sorted(
        file.path
        for file in repository.files
        if file.path.startswith(f"{config}/test-") and file.path.endswith(".parquet")
    )
    if not paths:
        raise DataError(f"{DATASET} at {repository.sha[:12]} has no files for {config}; choose another --revision")
    return paths


def raw_rows(access: Access, repository: Repository, config: str) -> tuple[list[RawRow], list[Origin]]:
    """All rows of a config in their order, and the files they are from."""
    rows: list[RawRow] = []
    origins: list[Origin] = []
    described = {file.path: file for file in repository.files}
    for path in config_files(repository, config):
        stored = access.cache.file(
            access.fetcher, repository.url(path), sha256=described[path].sha256, name=f"SPEED-Bench {config}"
        )
        origins.append(Origin(DATASET, repository.sha, path, stored.sha256))
        rows.extend(_rows_of(Path(stored.path), path))
    return rows, origins


def _rows_of(path: Path, name: str) -> list[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[RawRow] = []
    try:
        with pq.ParquetFile(path) as file:
            missing = [column for column in _COLUMNS if column not in file.schema_arrow.names]
            if missing:
                raise DataError(f"{DATASET} {name} has no column {missing[0]!r}; choose another --revision")
            for batch in file.iter_batches(_BATCH, columns=_COLUMNS):
                rows.extend(_row(value) for value in batch.to_pylist())
    except pa.ArrowException as error:
        raise DataError(f"{DATASET} {name} is not a Parquet file that can be read ({error})") from error
    return rows


def _row(value: dict[str, Any]) -> RawRow:
    return RawRow(
        question_id=str(value["question_id"]),
        category=str(value["category"]),
        sub_category=value["sub_category"],
        turns=[str(turn) for turn in value["turns"]],
        source=str(value["source"]),
        src_id=str(value["src_id"]),
        difficulty=value["difficulty"],
        multiturn=bool(value["multiturn"]),
    )
