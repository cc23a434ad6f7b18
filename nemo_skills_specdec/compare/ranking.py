"""Several drafters for one target, ranked by AL on the same prompts: the checkpoints of a training run, or rivals.

Every two are compared prompt by prompt, as `compare` does it, and all p-values are corrected together by Holm's method:
those of the total among themselves, those of all categories among themselves. A drafter's rank is one more than the
number of drafters that are surely better, so drafters that cannot be told apart share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.change import FigureChange, change_by_prompt, decide
from nemo_skills_specdec.compare.figures import USER_SPEED, Figure, acceptance_figures
from nemo_skills_specdec.compare.measured_length import counts_by_prompt
from nemo_skills_specdec.compare.pairing import Pairs, pair, tally
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.run import OutputRow, Run
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.statistics.rates import intervals

LENGTH = acceptance_figures(0)[0]


class DrafterRuns(msgspec.Struct, frozen=True, kw_only=True):
    """One drafter with the runs that it was measured in.

    Attributes:
        order: its place in the order given, such as that of the checkpoints of a training run.
    """

    name: str
    order: int
    group: RunGroup


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """One drafter's place.

    Attributes:
        rank: 1 + the drafters that are surely better; those that cannot be told apart share one.
        acceptance_length: over the prompts that all drafters' runs answered, pooled; its interval is over prompts.
        to_best: AL over that of the drafter with the highest, with its interval; null for that one.
        user_tokens_per_second: not ranked; None where it is not known.
    """

    drafter: str
    order: int
    rank: int
    acceptance_length: float
    interval: Interval | None
    to_best: float | None
    to_best_interval: Interval | None
    user_tokens_per_second: float | None


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """All drafters under one load at one draft length.

    Attributes:
        prompts: prompts that all runs answered completely.
        overall: the highest AL first.
        categories: likewise, by category.
    """

    label: str
    prompts: int
    left_out: int
    significance: float
    overall: list[Rank]
    categories: dict[str, list[Rank]]

    @property
    def best(self) -> list[str]:
        """The drafters that none is surely better than."""
        return [one.drafter for one in self.overall if one.rank == 1]


class Drafters(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `drafters.json`.

    Attributes:
        rankings: one for each load and draft length.
        problems: why others could not be ranked.
    """

    rankings: list[Ranking] = []
    problems: list[str] = []


def rankings_of(groups: Sequence[RunGroup]) -> Drafters | None:
    """Ranks the drafters that the runs' manifests name, at each load and draft length; None if none names one."""
    cells: dict[bytes, list[DrafterRuns]] = {}
    for group in groups:
        arguments = group.runs[0].manifest.arguments
        if name := arguments.get("drafter"):
            runs = DrafterRuns(name=name, order=arguments.get("drafter_order") or 0, group=group)
            cells.setdefault(_all_but_drafter(group.runs[0]), []).append(runs)
    if not cells:
        return None
    rankings, problems = [], []
    for members in cells.values():
        try:
            rankings.append(rank_drafters(members[0].group.label, members))
        except DataError as error:
            problems.append(str(error))
    return Drafters(rankings=rankings, problems=problems)


def _all_but_drafter(run: Run) -> bytes:
    """Equal for runs that differ in their drafter alone, or are repeats."""
    server, arguments = run.manifest.server, run.manifest.arguments
    request = {k: v for k, v in (arguments.get("request") or {}).items() if k != "seed"}
    load = {k: v for k, v in (arguments.get("load") or {}).items() if k not in ("seed", "timeout_seconds")}
    method = [arguments.get("method"), arguments.get("draft_length")]
    told = [server.engine, server.version, method, request, load, run.manifest.prompts_sha256]
    return msgspec.json.encode(told, order="deterministic")


def rank_drafters(label: str, drafters: Sequence[DrafterRuns], *, significance: float = 0.05) -> Ranking:
    """Ranks drafters by AL.

    Raises:
        DataError: there are fewer than two, no prompt was answered by all, or answers do not tell accepted tokens.
    """
    if len(drafters) < 2:
        raise DataError("a ranking takes two drafters or more")
    pairs = pair([run.rows for one in drafters for run in one.group.runs])
    if not pairs.prompts:
        raise DataError(f"{label}: no prompt was answered completely with every drafter")
    if not tally(pairs, LENGTH).usable:
        raise DataError(f"{label}: answers do not report accepted tokens, so drafters cannot be compared by prompt")
    names = list(dict.fromkeys(row.category for row in pairs.rows[0]))
    categories = [(name, pairs.of_category(name)) for name in names] if len(names) > 1 else []
    return Ranking(
        label=label,
        prompts=pairs.prompts,
        left_out=pairs.left_out,
        significance=significance,
        overall=_ranks([pairs], drafters, significance)[0],
        categories=dict(zip(names, _ranks([part for _, part in categories], drafters, significance), strict=False)),
    )


def _ranks(parts: Sequence[Pairs], drafters: Sequence[DrafterRuns], significance: float) -> list[list[Rank]]:
    """The ranks in each part, the p-values of all parts corrected together."""
    couples = list(itertools.combinations(range(len(drafters)), 2))
    changes = [_change(part, drafters, a, b, significance) for part in parts for a, b in couples]
    decided = decide(changes, significance)
    return [
        _part_ranks(part, drafters, dict(zip(couples, decided[n * len(couples) :], strict=False)))
        for n, part in enumerate(parts)
    ]


def _part_ranks(
    part: Pairs, drafters: Sequence[DrafterRuns], changes: dict[tuple[int, int], FigureChange]
) -> list[Rank]:
    rows = _rows(part, drafters)
    counts = [counts_by_prompt(one) for one in rows]
    better = [0] * len(drafters)
    for (first, second), change in changes.items():
        better[first] += change.verdict == "higher"
        better[second] += change.verdict == "lower"
    lengths = [_value(rows[n], LENGTH) or 1.0 for n in range(len(drafters))]
    best = max(range(len(drafters)), key=lambda n: lengths[n])
    found = []
    for n, drafter in enumerate(drafters):
        ratio, interval = _over(changes.get((min(n, best), max(n, best))), inverse=n < best)
        found.append(
            Rank(
                drafter=drafter.name,
                order=drafter.order,
                rank=1 + better[n],
                acceptance_length=lengths[n],
                interval=intervals(counts[n]).acceptance_length if counts[n] else None,
                to_best=ratio,
                to_best_interval=interval,
                user_tokens_per_second=_value(rows[n], USER_SPEED),
            )
        )
    return sorted(found, key=lambda one: -one.acceptance_length)


def _over(change: FigureChange | None, *, inverse: bool) -> tuple[float | None, Interval | None]:
    """The ratio of a change (second over first of a couple), or its inverse."""
    if change is None or change.ratio is None:
        return None, None
    ratio, interval = change.ratio, change.ratio_interval
    if not inverse:
        return ratio, interval
    return 1 / ratio, Interval(1 / interval.high, 1 / interval.low) if interval is not None else None


def _rows(part: Pairs, drafters: Sequence[DrafterRuns]) -> list[list[list[OutputRow]]]:
    """For every drafter the rows of its runs."""
    rows, start = [], 0
    for drafter in drafters:
        rows.append(part.rows[start : start + len(drafter.group.runs)])
        start += len(drafter.group.runs)
    return rows


def _change(part: Pairs, drafters: Sequence[DrafterRuns], a: int, b: int, significance: float) -> FigureChange:
    rows = _rows(part, drafters)
    two = Pairs(rows=[*rows[a], *rows[b]], left_out=0)
    return change_by_prompt(LENGTH, two, len(rows[a]), significance=significance, run_noise=0.0)


def _value(runs: Sequence[list[OutputRow]], figure: Figure) -> float | None:
    """A figure of one drafter, pooled over its runs."""
    told = tally(Pairs(rows=list(runs), left_out=0), figure)
    above, below = (sum(float(one[:, column].sum()) for one in told.runs) for column in (0, 1))
    return above / below if told.usable and below > 0 else None
