"""NeMo-Skills' metrics class, `METRICS_TYPE = "nemo_skills_specdec.evaluator.metrics::SpecdecMetrics"`.

The class is built when it is first asked for, because its base belongs to NeMo-Skills.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nemo_skills_specdec.evaluator.attempts import Attempts, JobAttempt, attempts_beside, attempts_of_output
from nemo_skills_specdec.evaluator.rows import Row, records_of
from nemo_skills_specdec.evaluator.summary import Columns, columns, evaluate_seeds, line_of
from nemo_skills_specdec.records import RequestRecord

LOG = logging.getLogger("nemo_skills.specdec")


def __getattr__(name: str) -> Any:
    if name == "SpecdecMetrics":
        return _metrics_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _metrics_class() -> type:
    from nemo_skills.evaluation.metrics.base import BaseMetrics

    class SpecdecMetrics(BaseMetrics):  # type: ignore[misc]
        """Acceptance over all rows, seeds and chunks of a benchmark, computed from sums.

        Several seeds give one line, `pass@1[avg-of-k]`: the best of k means nothing for acceptance.
        """

        def __init__(self) -> None:
            super().__init__(compute_no_answer=False)

        def reset(self) -> None:
            """Forgets all rows."""
            super().reset()
            self._seeds: list[list[RequestRecord]] = []
            self._kept: list[Attempts] = []
            self._beside: dict[str, list[JobAttempt]] = {}
            self._whole = False
            self._name = ""

        def setup(self, input_files: Sequence[str]) -> None:
            """Reads what is kept beside the outputs; NeMo-Skills calls this for the whole benchmark only."""
            self._whole = True
            paths = [Path(path) for path in input_files]
            self._name = paths[0].absolute().parent.name if paths else ""
            self._kept = [kept for path in paths for kept in attempts_of_output(path)]
            self._beside = attempts_beside(paths)

        def update(self, predictions: list[Row]) -> None:
            """Takes one row of every seed."""
            super().update(predictions)
            if not self._seeds:
                self._seeds = [[] for _ in predictions]
            for seed, row in zip(self._seeds, predictions, strict=True):
                seed.extend(records_of(row))

        def get_metrics(self) -> dict[str, dict[str, Any]]:
            """One line, `pass@1` or `pass@1[avg-of-k]`."""
            line: dict[str, Any] = {}
            if not self.total:
                return {}
            self.update_common_metrics(line)
            evaluation = evaluate_seeds(self._name, self._seeds, self._kept, self._beside)
            line |= line_of(evaluation, self._seeds, whole=self._whole)
            if self._whole:
                for finding in evaluation.overall.acceptance.findings:
                    if finding.severity != "info":
                        LOG.warning("%s: %s (%s)", finding.severity, finding.message, finding.code)
            return {"pass@1" if len(self._seeds) == 1 else f"pass@1[avg-of-{len(self._seeds)}]": line}

        def metrics_to_print(self) -> Columns:
            """The columns of the table."""
            return columns()

    return SpecdecMetrics
