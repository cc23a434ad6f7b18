"""The answers of a run as columns of numbers: read line by line, so that a hundred thousand of them fit.

No text is kept. What a plot shows of answers is aggregated from these columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.statistics.counts_table import ACCEPTED, DRAFTED, STEPS, CountsTable, counts_table
from nemo_skills_specdec.statistics.interval import Interval
from nemo_skills_specdec.statistics.rates import intervals_of_table, resampled_counts
from nemo_skills_specdec.statistics.resampling import RESAMPLES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Chunks = NDArray[np.uint32]


class AnswerLine(msgspec.Struct, frozen=True):
    """What is read of a request in `output.jsonl`.

    Attributes:
        steps: tokens drafted and accepted, a pair a step.
    """

    error: str | None = None
    sent: bool = True
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    start_time: float = 0.0
    end_time: float = 0.0
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    samples: int = 1
    lumped: bool = False
    chunk_microseconds: bytes | None = None
    counts: AcceptanceCounts | None = None
    steps: list[tuple[int, int]] | None = None


class PromptLine(msgspec.Struct, frozen=True):
    """What is read of a line of `output.jsonl`."""

    category: str
    requests: list[AnswerLine]


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """All requests of a run that were sent, an entry each; NaN where something is not known.

    Attributes:
        prompt: number of the prompt that it is a turn of.
        start: seconds since the first request was sent.
        end: likewise.
        counts: of those that have statistics, named by `counted`.
        counted: their entries.
        num_chunks: chunks of the answer whose times are known; 0 where they are not, or say nothing.
        chunk_microseconds: of all answers one after the other: the first chunk from sending, each other from the one
            before.
        places: (prompt, place of the step's first token, drafted, accepted), a row a step that drafted something.
    """

    prompt: Indices
    failed: NDArray[np.bool_]
    start: Numbers
    end: Numbers
    ttft: Numbers
    tpot: Numbers
    user_speed: Numbers
    prompt_tokens: Numbers
    completion_tokens: Numbers
    counts: CountsTable
    counted: Indices
    places: Indices
    num_chunks: Indices
    chunk_microseconds: Chunks


class LengthSlice(msgspec.Struct, frozen=True, kw_only=True):
    """Acceptance in one part of a run, its interval over prompts."""

    prompts: int
    num_drafts: int
    acceptance_length: float
    interval: Interval | None


def read_answers(prompts: Iterable[PromptLine]) -> Answers:
    """The columns of these prompts' requests."""
    import numpy as np

    cells: list[tuple[float, ...]] = []
    counts: list[AcceptanceCounts] = []
    counted: list[int] = []
    steps: list[int] = []
    num_steps: list[int] = []
    chunks: list[Chunks] = []
    for number, prompt in enumerate(prompts):
        for line in prompt.requests:
            if not line.sent:
                continue
            if line.counts is not None:
                counts.append(line.counts)
                counted.append(len(cells))
            steps.extend(chain.from_iterable(line.steps or ()))
            num_steps.append(len(line.steps or ()))
            chunks.append(_chunks(line))
            cells.append(_cells(number, line))
    table = np.array(cells, dtype=np.float64).reshape(len(cells), 9)
    begin = float(table[:, 2].min()) if len(cells) else 0.0
    return Answers(
        prompt=table[:, 0].astype(np.int64),
        failed=table[:, 1] > 0,
        start=table[:, 2] - begin,
        end=table[:, 3] - begin,
        ttft=table[:, 4],
        tpot=table[:, 5],
        user_speed=table[:, 6],
        prompt_tokens=table[:, 7],
        completion_tokens=table[:, 8],
        counts=counts_table(counts),
        counted=np.array(counted, dtype=np.int64),
        places=_places(
            table[:, 0].astype(np.int64),
            np.array(num_steps, dtype=np.int64),
            np.array(steps, dtype=np.int64).reshape(-1, 2),
        ),
        num_chunks=np.array([len(times) for times in chunks], dtype=np.int64),
        chunk_microseconds=np.concatenate([np.zeros(0, dtype=np.uint32), *chunks]),
    )


def length_slices(answers: Answers, slices: Indices, number: int) -> list[LengthSlice | None]:
    """The pooled AL of parts of a run; None where a part holds no step.

    Args:
        slices: for every entry of `answers.counted`, the number of its part, or -1 for none.
        number: of parts.
    """
    if not answers.counts.knows_steps:
        return [None] * number
    prompts = answers.prompt[answers.counted]
    return [
        _slice(answers.counts.part((slices == part).nonzero()[0]), prompts[slices == part]) for part in range(number)
    ]


def place_slices(answers: Answers, starts: Indices) -> list[LengthSlice | None]:
    """The pooled AL of steps by the place of their first token in the answer, in parts that begin at `starts`."""
    import numpy as np

    parts = np.searchsorted(starts, answers.places[:, 1], side="right") - 1
    found = []
    for part in range(len(starts)):
        rows = answers.places[parts == part]
        columns = np.zeros((len(rows), 3), dtype=np.int64)
        columns[:, STEPS], columns[:, DRAFTED], columns[:, ACCEPTED] = 1, rows[:, 2], rows[:, 3]
        found.append(_slice(CountsTable(columns, True, True), rows[:, 0]))
    return found


def _slice(table: CountsTable, prompts: Indices) -> LengthSlice | None:
    import numpy as np

    steps, accepted = int(table.counts[:, STEPS].sum()), int(table.counts[:, ACCEPTED].sum())
    if not steps:
        return None
    _, member = np.unique(prompts, return_inverse=True)
    summed = np.zeros((int(member.max()) + 1, table.counts.shape[1]), dtype=np.int64)
    np.add.at(summed, member, table.counts)
    clusters = msgspec.structs.replace(table, counts=summed)
    drawn = resampled_counts(clusters, seed=0, resamples=RESAMPLES)
    return LengthSlice(
        prompts=len(summed),
        num_drafts=steps,
        acceptance_length=(steps + accepted) / steps,
        interval=intervals_of_table(clusters, drawn).acceptance_length,
    )


def _places(prompts: Indices, numbers: Indices, steps: Indices) -> Indices:
    """The steps that drafted something, each with its place; an answer's very first token needs no step.

    Args:
        prompts: of each answer.
        numbers: of steps of each answer.
        steps: tokens drafted and accepted, of all answers one after the other.
    """
    import numpy as np

    drafted, accepted = steps[:, 0], steps[:, 1]
    until = np.concatenate([[0], np.cumsum(accepted + 1)])
    before = np.repeat(until[np.cumsum(numbers) - numbers], numbers)
    rows = np.column_stack([np.repeat(prompts, numbers), 1 + until[:-1] - before, drafted, accepted])
    return rows[drafted > 0]


def _chunks(line: AnswerLine) -> Chunks:
    """The times of an answer's chunks; none where chunks of several samples are mixed, or came in lumps."""
    import numpy as np

    if line.error is not None or line.samples > 1 or line.lumped:
        return np.zeros(0, dtype=np.uint32)
    return np.frombuffer(line.chunk_microseconds or b"", "<u4")


def _cells(prompt: int, line: AnswerLine) -> tuple[float, ...]:
    nan = float("nan")

    def known(value: float | None) -> float:
        return nan if value is None else value

    return (
        prompt,
        line.error is not None,
        line.start_time,
        line.end_time,
        known(line.ttft_seconds),
        known(line.tpot_seconds),
        known(_user_speed(line)),
        known(line.prompt_tokens),
        known(line.completion_tokens),
    )


def _user_speed(line: AnswerLine) -> float | None:
    """As `measurement.result.user_speed`."""
    if line.tpot_seconds:
        return 1 / line.tpot_seconds
    elapsed = line.end_time - line.start_time
    if line.ttft_seconds is not None or line.completion_tokens is None or elapsed <= 0:
        return None
    return line.completion_tokens / line.samples / elapsed
