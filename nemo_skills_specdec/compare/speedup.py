"""How much faster than a baseline, with an interval, on the prompts that both answered.

Two speeds, because they answer different questions and may point in different directions:

    user    tokens per second while an answer is being written: sum (tokens - 1) / sum (last chunk - first chunk)
    total   tokens per second of request time, waiting and prompt processing included: sum tokens / sum (end - start);
            at equal concurrency in a closed loop this is the throughput, so its ratio is that of the throughputs

Both are ratios of sums over prompts. An answer whose chunks all arrived at once, or that holds no text though it has
tokens, has no time between first and last chunk; it counts in no user speed, in neither run, and where there are many
of them there is no user speed at all. The interval takes five prompts or more. It resamples prompts and takes a
prompt's figures from both runs together, so that what is slow about a prompt in both does not count as noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.contrast import by_prompt
from nemo_skills_specdec.compare.figures import SYSTEM_SPEED, USER_SPEED
from nemo_skills_specdec.compare.pairing import Pairs, Tally, pair, tally
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.statistics import LEVEL, Interval, bootstrap_interval


class Speedup(msgspec.Struct, frozen=True, kw_only=True):
    """A run's speed over its baseline's. Above 1 is faster. What cannot be known is null, and says why.

    Attributes:
        prompts: prompts that both answered completely; only they count.
        left_out: prompts that one of the two did not.
        untimed: answers of these prompts that count in no user speed, because one of the two arrived all at once or
            held no text.
        same_text: share of these prompts whose answers are equal, character by character.
        reason: why there is no figure at all.
        user_reason: why there is no user speed.
        total_reason: why there is no total speed.
    """

    user: float | None = None
    user_interval: Interval | None = None
    total: float | None = None
    total_interval: Interval | None = None
    prompts: int = 0
    left_out: int = 0
    untimed: int = 0
    same_text: float | None = None
    reason: str | None = None
    user_reason: str | None = None
    total_reason: str | None = None


class RepeatedSpeedup(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration's speed over its baseline's, by the repeats of both: a ratio of geometric means.

    The intervals hold the choice of prompts and the noise from run to run, as those of `compare` do.

    Attributes:
        prompts: prompts that all runs answered completely; only they count.
    """

    runs: int
    baseline_runs: int
    prompts: int
    user: float | None = None
    user_interval: Interval | None = None
    total: float | None = None
    total_interval: Interval | None = None


def repeated_speedup(
    baselines: Sequence[Sequence[OutputRow]], runs: Sequence[Sequence[OutputRow]], *, closed_loop: bool
) -> RepeatedSpeedup:
    """The speed of repeated runs over that of a baseline, which may be repeated too; see `speedup`."""
    pairs = pair([*baselines, *runs])
    found = RepeatedSpeedup(runs=len(runs), baseline_runs=len(baselines), prompts=pairs.prompts)
    if not pairs.prompts:
        return found
    timed = tally(pairs, USER_SPEED)
    user = _contrast(timed, len(baselines)) if untimed_problem(pairs, timed) is None else (None, None)
    total = _contrast(tally(pairs, SYSTEM_SPEED), len(baselines)) if closed_loop else (None, None)
    return msgspec.structs.replace(found, user=user[0], user_interval=user[1], total=total[0], total_interval=total[1])


def _contrast(tally: Tally, baselines: int) -> tuple[float | None, Interval | None]:
    contrast = by_prompt(tally.runs[:baselines], tally.runs[baselines:], ratio=True)
    if contrast is None:
        return None, None
    interval = contrast.interval(1 - LEVEL)
    ends = Interval(math.exp(min(interval.low, 700)), math.exp(min(interval.high, 700))) if interval else None
    return math.exp(contrast.value), ends


def speedup(baseline: Sequence[OutputRow], run: Sequence[OutputRow], *, closed_loop: bool, seed: int = 0) -> Speedup:
    """The speed of a run over that of its baseline, on the prompts that both answered completely.

    Args:
        closed_loop: whether a new request starts as one ends. Under a request rate the total speed is set by the
            rate and says nothing of the server.
    """
    pairs = pair([baseline, run])
    if not pairs.prompts:
        return Speedup(left_out=pairs.left_out, reason="no prompt was answered completely by both runs")
    total, total_interval = _ratio(tally(pairs, SYSTEM_SPEED), seed) if closed_loop else (None, None)
    timed = tally(pairs, USER_SPEED)
    problem = untimed_problem(pairs, timed)
    user, user_interval = _ratio(timed, seed) if problem is None else (None, None)
    return Speedup(
        user=user,
        user_interval=user_interval,
        total=total,
        total_interval=total_interval,
        prompts=pairs.prompts,
        left_out=pairs.left_out,
        untimed=timed.unknown,
        same_text=same_text(pairs),
        user_reason=problem,
        total_reason=None if closed_loop else RATE_SETS_THROUGHPUT,
    )


RATE_SETS_THROUGHPUT = "under a request rate the rate sets the throughput"


def by_category(rows: Sequence[OutputRow]) -> dict[str, list[OutputRow]]:
    """The prompts of each category, in the order of their first appearance."""
    groups: dict[str, list[OutputRow]] = {}
    for row in rows:
        groups.setdefault(row.category, []).append(row)
    return groups


def untimed_problem(pairs: Pairs, timed: Tally) -> str | None:
    """Why the runs have no speed per user; None if they have."""
    if not all(map(_streamed, pairs.rows)):
        return "answers were not streamed, so the time to the first token is unknown"
    if not timed.known:
        return "no answer has a time between its first and last chunk in both runs"
    if not timed.usable:
        return (
            f"the chunks of {timed.unknown} of {timed.known + timed.unknown} answers arrived all at once in one of the "
            "runs, or held no text: server or client had too little processor, or something between them buffers"
        )
    return None


def same_text(pairs: Pairs) -> float:
    """Share of prompts whose answers are the same in all runs, character by character."""
    return (
        sum(all(_text(row) == _text(rows[0]) for row in rows) for rows in zip(*pairs.rows, strict=True)) / pairs.prompts
    )


def _streamed(rows: Sequence[OutputRow]) -> bool:
    """Whether any answer tells when its text began; one whose tokens are all special tokens never does."""
    return any(request.ttft_seconds is not None for row in rows for request in row.requests)


def _text(row: OutputRow) -> list[str]:
    return [request.generation for request in sorted(row.requests, key=lambda request: request.turn)]


def _ratio(tally: Tally, seed: int) -> tuple[float | None, Interval | None]:
    """The run's speed over the baseline's; None where no time passed or no token came."""
    import numpy as np

    table = np.hstack(tally.runs)
    tokens_before, seconds_before, tokens_after, seconds_after = (float(x) for x in table.sum(axis=0))
    if min(tokens_before, seconds_before, tokens_after, seconds_after) <= 0:
        return None, None
    value = (tokens_after / seconds_after) / (tokens_before / seconds_before)
    interval = bootstrap_interval(table, lambda sums: (sums[:, 2] / sums[:, 3]) / (sums[:, 0] / sums[:, 1]), seed=seed)
    return value, interval
