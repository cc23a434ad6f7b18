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

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.run_directory import OUTPUT
from nemo_skills_specdec.records import RequestRecord
from nemo_skills_specdec.statistics import Interval, bootstrap_interval

MOST_UNTIMED = 0.1
"""Share of answers without a time above which the others no longer stand for all."""


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


class Answered(msgspec.Struct, kw_only=True):
    """What is read of a row of `output.jsonl`."""

    question_id: str
    category: str
    requests: list[RequestRecord]


def read_answers(directory: Path) -> list[Answered]:
    """The prompts of a run directory with their requests.

    Raises:
        DataError: the file cannot be read or understood.
    """
    path = directory / OUTPUT
    try:
        return msgspec.json.Decoder(Answered).decode_lines(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; run it again") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is not a run of this tool ({error})") from error


def speedup(baseline: Sequence[Answered], run: Sequence[Answered], *, closed_loop: bool, seed: int = 0) -> Speedup:
    """The speed of a run over that of its baseline, on the prompts that both answered completely.

    Args:
        closed_loop: whether a new request starts as one ends. Under a request rate the total speed is set by the
            rate and says nothing of the server.
    """
    before, after = _complete(baseline), _complete(run)
    paired = [key for key in before if key in after]
    everything = {(row.category, row.question_id) for row in [*baseline, *run]}
    left_out = len(everything) - len(paired)
    if not paired:
        return Speedup(left_out=left_out, reason="no prompt was answered completely by both runs")
    pairs = [(before[key], after[key]) for key in paired]
    total, total_interval = _ratio([(*_total(a), *_total(b)) for a, b in pairs], seed) if closed_loop else (None, None)
    turns = [_timed_turns(a, b) for a, b in pairs]
    timed, untimed = sum(len(pair.timed) for pair in turns), sum(pair.untimed for pair in turns)
    problem = _user_problem(pairs, timed, untimed)
    user, user_interval = _ratio([_user(pair.timed) for pair in turns], seed) if problem is None else (None, None)
    return Speedup(
        user=user,
        user_interval=user_interval,
        total=total,
        total_interval=total_interval,
        prompts=len(paired),
        left_out=left_out,
        untimed=untimed,
        same_text=sum(_text(a) == _text(b) for a, b in pairs) / len(pairs),
        user_reason=problem,
        total_reason=None if closed_loop else "under a request rate the rate sets the throughput",
    )


def by_category(rows: Sequence[Answered]) -> dict[str, list[Answered]]:
    """The prompts of each category, in the order of their first appearance."""
    groups: dict[str, list[Answered]] = {}
    for row in rows:
        groups.setdefault(row.category, []).append(row)
    return groups


def _complete(rows: Sequence[Answered]) -> Mapping[tuple[str, str], Answered]:
    return {
        (row.category, row.question_id): row
        for row in rows
        if row.requests and all(r.error is None and r.completion_tokens for r in row.requests)
    }


class _Turns(msgspec.Struct, frozen=True):
    """The answers of a prompt in both runs, with the time between their chunks.

    Attributes:
        timed: of each answer that has more than one token in both, and a time in both.
        untimed: the number of those that have the tokens but not the times.
    """

    timed: list[tuple[RequestRecord, RequestRecord]]
    untimed: int


def _timed_turns(a: Answered, b: Answered) -> _Turns:
    later = {request.turn: request for request in b.requests}
    several = [
        (first, later[first.turn])
        for first in a.requests
        if first.turn in later and (first.completion_tokens or 0) > 1 and (later[first.turn].completion_tokens or 0) > 1
    ]
    timed = [pair for pair in several if all(request.tpot_seconds is not None for request in pair)]
    return _Turns(timed, len(several) - len(timed))


def _streamed(rows: Sequence[Answered]) -> bool:
    """Whether any answer tells when its text began; one whose tokens are all special tokens never does."""
    return any(request.ttft_seconds is not None for row in rows for request in row.requests)


def _user_problem(pairs: Sequence[tuple[Answered, Answered]], timed: int, untimed: int) -> str | None:
    if not all(map(_streamed, zip(*pairs, strict=True))):
        return "answers were not streamed, so the time to the first token is unknown"
    if not timed:
        return "no answer has a time between its first and last chunk in both runs"
    if untimed > MOST_UNTIMED * (timed + untimed):
        return (
            f"the chunks of {untimed} of {timed + untimed} answers arrived all at once in one of the runs, or held no "
            "text: server or client had too little processor, or something between them buffers"
        )
    return None


def _user(turns: Sequence[tuple[RequestRecord, RequestRecord]]) -> tuple[float, float, float, float]:
    """Tokens after the first, and the seconds they took, in the baseline and in the run."""
    sums = [0.0, 0.0, 0.0, 0.0]
    for pair in turns:
        for number, request in enumerate(pair):
            tokens = (request.completion_tokens or 0) - 1
            sums[2 * number] += tokens
            sums[2 * number + 1] += tokens * (request.tpot_seconds or 0.0)
    return sums[0], sums[1], sums[2], sums[3]


def _total(row: Answered) -> tuple[float, float]:
    """Tokens, and the seconds from sending to the end, over the turns of a prompt."""
    tokens = sum(request.completion_tokens or 0 for request in row.requests)
    return float(tokens), sum(request.end_time - request.start_time for request in row.requests)


def _text(row: Answered) -> list[str]:
    return [request.generation for request in sorted(row.requests, key=lambda request: request.turn)]


def _ratio(rows: Sequence[tuple[float, float, float, float]], seed: int) -> tuple[float | None, Interval | None]:
    """Of rows (tokens, seconds of the baseline, tokens, seconds of the run), the speed of the one over the other."""
    import numpy as np

    table = np.array(rows, dtype=np.float64)
    tokens_before, seconds_before, tokens_after, seconds_after = (float(x) for x in table.sum(axis=0))
    if min(tokens_before, seconds_before, tokens_after, seconds_after) <= 0:
        return None, None
    value = (tokens_after / seconds_after) / (tokens_before / seconds_before)
    interval = bootstrap_interval(table, lambda sums: (sums[:, 2] / sums[:, 3]) / (sums[:, 0] / sums[:, 1]), seed=seed)
    return value, interval
