"""Evaluators for NeMo-Skills: figures of drafts for rows that have none yet, from what is known of their answers.

Our generation task stamps its rows itself and needs no evaluator. These are for rows that lack counts, such as those
of a server whose request-metric files became readable only later:

    ++eval_type=nemo_skills_specdec.evaluator.evaluator::evaluate_specdec ++eval_config.request_metrics_dir=DIR
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.sglang.answers import sample_counts
from nemo_skills_specdec.engines.sglang.files import PATTERN, parse_lines
from nemo_skills_specdec.errors import IdentityError, UsageError
from nemo_skills_specdec.evaluator.rows import Row, join_counts, read_rows, records_of, stamps_of, write_rows


def evaluate_specdec(config: Mapping[str, Any]) -> None:
    """Stamps the rows of `input_file`, in place.

    Args:
        config: NeMo-Skills' `eval_config`; `request_metrics_dir` names the folder of SGLang's request-metric files.
            Other keys are ignored.

    Raises:
        UsageError: there is no input file, or no such folder.
        DataError: the rows were not written by our generation task.
    """
    if not config.get("input_file"):
        raise UsageError("eval_config has no input_file; NeMo-Skills gives it, or pass ++eval_config.input_file=FILE")
    path = Path(str(config["input_file"]))
    rows = read_rows(path)
    found = _counts_on_disk(config)
    for row in rows:
        row.update(stamps_of(records_of(row)))
    join_counts(rows, found, "request_file")
    write_rows(path, rows)


def counts_in_files(folder: Path, info: ServerInfo | None = None) -> dict[str, AcceptanceCounts]:
    """The counts of every answer that SGLang's request-metric files tell of, by response id.

    Records that contradict themselves are left out: no rate is computed from them.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give SGLang's --export-metrics-to-file-dir, as seen from here")
    found: dict[str, AcceptanceCounts] = {}
    for path in sorted(folder.glob(PATTERN)):
        records, _ = parse_lines(path.read_bytes())
        for record in records:
            try:
                counts = sample_counts(record, info)
            except IdentityError:
                continue
            if counts is not None:
                found[record["id"]] = counts
    return found


def _counts_on_disk(config: Mapping[str, Any]) -> dict[str, AcceptanceCounts]:
    folder = config.get("request_metrics_dir")
    return counts_in_files(Path(str(folder))) if folder else {}


def __getattr__(name: str) -> Any:
    if name == "SpecdecEvaluator":
        return _evaluator_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _evaluator_class() -> type:
    from nemo_skills.evaluation.evaluator.base import BaseEvaluator

    class SpecdecEvaluator(BaseEvaluator):  # type: ignore[misc]
        """The same as a class: row by row while generating, or the whole file at the end."""

        async def eval_single(self, data_point: Row) -> Row:
            """The fields that follow from the answers of one row."""
            row = dict(data_point)
            row.update(stamps_of(records_of(row)))
            if any(record.counts is None and record.error is None for record in records_of(row)):
                join_counts([row], _counts_on_disk(self.config), "request_file")
            return {name: value for name, value in row.items() if data_point.get(name) != value}

        async def eval_full(self, *_: Any) -> None:
            """Stamps the rows of the input file, in place."""
            evaluate_specdec(self.config)

    return SpecdecEvaluator
