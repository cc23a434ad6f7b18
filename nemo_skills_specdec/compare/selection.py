"""Which runs are compared with which: paths to groups of repeats, each with the baseline that fits it best."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.compare.comparability import Key, Mismatch, mismatches
from nemo_skills_specdec.compare.repeats import RunGroup, group_runs, runs_in
from nemo_skills_specdec.errors import UsageError


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """Two groups that may be compared.

    Attributes:
        accepted: differences that the user allowed.
    """

    baseline: RunGroup
    run: RunGroup
    accepted: list[Mismatch]


def select(baselines: Sequence[Path], runs: Sequence[Path], allow: Collection[Key] = ()) -> list[Selected]:
    """Reads the directories, puts repeats together, and finds each configuration's baseline.

    Of baseline paths that hold runs with and without speculation, those without are the baseline; of run paths,
    those that speculate are the runs.

    Raises:
        UsageError: nothing is left to compare, or a run differs from every baseline in what was asked.
        DataError: a directory cannot be read.
    """
    before = _one_kind(group_runs([run for path in baselines for run in runs_in(path)]), speculating=False)
    used = {run.directory.resolve() for group in before for run in group.runs}
    after = [
        group
        for group in _one_kind(group_runs([run for path in runs for run in runs_in(path)]), speculating=True)
        if not used & {run.directory.resolve() for run in group.runs}
    ]
    if not after:
        raise UsageError("the runs are those of the baseline; give a run to compare with it")
    return [matched(before, group, allow) for group in after]


def _one_kind(groups: list[RunGroup], *, speculating: bool) -> list[RunGroup]:
    wanted = [group for group in groups if group.speculates is speculating]
    return wanted or groups


def matched(baselines: Sequence[RunGroup], run: RunGroup, allow: Collection[Key] = ()) -> Selected:
    """The baseline with the fewest differences.

    Raises:
        UsageError: even that one differs in something that is not allowed.
    """
    found = [(_differences(group, run), group) for group in baselines]
    differing, group = min(found, key=lambda pair: (sum(d.key not in allow for d in pair[0]), len(pair[0])))
    refused = [difference for difference in differing if difference.key not in allow]
    if refused:
        keys = " ".join(f"--allow {key}" for key in dict.fromkeys(difference.key for difference in refused))
        raise UsageError(
            f"{run.runs[0].directory} cannot be compared with {group.runs[0].directory}: they differ in "
            f"{'; '.join(map(str, refused))}; measure both alike, or accept it with {keys}"
        )
    return Selected(baseline=group, run=run, accepted=differing)


def _differences(baseline: RunGroup, run: RunGroup) -> list[Mismatch]:
    """Between the first runs; repeats are alike but in their validity."""
    found = mismatches(baseline.runs[0], run.runs[0])
    for one in run.runs[1:]:
        found += [difference for difference in mismatches(baseline.runs[0], one) if difference not in found]
    for one in baseline.runs[1:]:
        found += [difference for difference in mismatches(one, run.runs[0]) if difference not in found]
    return found
