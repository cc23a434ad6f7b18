"""Two runs compared from Python."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nemo_skills_specdec.compare.comparability import Key
from nemo_skills_specdec.compare.comparison import Comparison, How, compare_groups
from nemo_skills_specdec.compare.selection import select
from nemo_skills_specdec.measurement.run import Run


def compare_runs(
    baseline: Run | Path | str,
    run: Run | Path | str,
    *,
    allow: Collection[Key] = (),
    significance: float = 0.05,
    run_noise: float = 0.1,
) -> Comparison:
    """Compares a run with a baseline, prompt by prompt.

    Args:
        baseline: a run, its directory, or a study or folder that holds repeats of it.
        run: likewise.
        allow: differences to accept knowingly, such as `prompts` or `concurrency`.
        significance: probability of a false "higher" or "lower" that is put up with, over all figures together.
        run_noise: relative standard deviation of timings from run to run that is assumed without repeats.

    Raises:
        UsageError: the runs were not measured alike; names each difference.
        DataError: a directory cannot be read.
    """
    chosen = select([_directory(baseline)], [_directory(run)], allow)[0]
    return compare_groups(
        chosen.baseline, chosen.run, How(significance=significance, run_noise=run_noise), chosen.accepted
    )


def _directory(run: Run | Path | str) -> Path:
    return run.directory if isinstance(run, Run) else Path(run)
