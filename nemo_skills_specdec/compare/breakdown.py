"""Acceptance by what matters: kind of text, turn, length of the prompt, place in the answer.

Entropy tiers of SPEED-Bench's throughput configurations are categories. Languages are the sub-categories of the
category `multilingual`, or the pair in the name of a sentence of OPUS, which SPEED-Bench has (`opus_de-en_12`). The
place in the answer takes the list of all steps, which vLLM's detailed statistics give: a step counts where its first
token stands, counted from the start of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_steps, total
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.records import RequestRecord, StepCount
from nemo_skills_specdec.statistics.interval import Interval
from nemo_skills_specdec.statistics.rates import intervals

By = Literal["category", "sub_category", "language", "turn", "prompt_length", "output_position"]
KEYS: tuple[By, ...] = get_args(By)

PROMPT_TOKENS = (256, 1024, 4096, 16384)
OUTPUT_TOKENS = (32, 128, 512, 2048)
"""Where the buckets of lengths begin, beside 0."""

MULTILINGUAL = "multilingual"
_OPUS_PAIR = re.compile(r"opus\w*?_([a-z]{2,3}-[a-z]{2,3})_\d+")

Part = tuple[str, AcceptanceCounts]


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a run.

    Attributes:
        prompts: prompts that have a part in it.
        acceptance_length: pooled; its interval is clustered by prompt.
        user_tokens_per_second: tokens after the first over the time they took; None by place in the answer.
    """

    name: str
    prompts: int
    num_drafts: int | None
    acceptance_length: float | None
    interval: Interval | None
    acceptance_rate: float | None
    user_tokens_per_second: float | None


def breakdown(rows: Sequence[OutputRow], by: By) -> list[Slice]:
    """The parts of a run, lengths in rising order, others in the order of their appearance.

    Answers without counts are left out; a run whose answers carry none, or no steps by place, has no parts.
    """
    counts: dict[str, dict[tuple[str, str], list[AcceptanceCounts]]] = {}
    records: dict[str, list[RequestRecord]] = {}
    for row in rows:
        for record in row.requests:
            for name, part in _parts(row, record, by):
                counts.setdefault(name, {}).setdefault((row.category, row.question_id), []).append(part)
                records.setdefault(name, []).append(record)
    names = sorted(counts, key=_start) if by in ("turn", "prompt_length", "output_position") else list(counts)
    return [_slice(name, counts[name], [] if by == "output_position" else records[name]) for name in names]


def _slice(
    name: str, members: Mapping[tuple[str, str], Sequence[AcceptanceCounts]], records: Iterable[RequestRecord]
) -> Slice:
    clusters = [total(parts) for parts in members.values()]
    whole = total(clusters)
    timed = [(r.completion_tokens - 1, r.tpot_seconds) for r in records if r.tpot_seconds and r.completion_tokens]
    seconds = sum(tokens * tpot for tokens, tpot in timed)
    return Slice(
        name=name,
        prompts=len(clusters),
        num_drafts=whole.num_drafts,
        acceptance_length=whole.acceptance_length,
        interval=intervals(clusters).acceptance_length,
        acceptance_rate=whole.acceptance_rate,
        user_tokens_per_second=sum(tokens for tokens, _ in timed) / seconds if seconds else None,
    )


def _parts(row: OutputRow, record: RequestRecord, by: By) -> Iterator[Part]:
    """What a request adds, and to which parts."""
    if by == "output_position":
        yield from _by_position(record.steps or ())
        return
    name = _NAMES[by](row, record)
    if record.counts is not None and name is not None:
        yield name, record.counts


def _by_position(steps: Sequence[StepCount]) -> Iterator[Part]:
    """The steps of one answer by the place of their first token; the answer's very first token needs no step."""
    buckets: dict[str, list[StepCount]] = {}
    place = 1
    for step in steps:
        buckets.setdefault(_bucket(place, OUTPUT_TOKENS), []).append(step)
        place += step.accepted + 1
    for name, members in buckets.items():
        yield name, counts_from_steps([step.accepted for step in members], [step.drafted for step in members])


def _language(row: OutputRow) -> str | None:
    pair = _OPUS_PAIR.fullmatch(row.src_id or "")
    if pair is not None:
        return pair[1]
    return row.sub_category if row.category == MULTILINGUAL else None


def _prompt_length(_: OutputRow, record: RequestRecord) -> str | None:
    return None if record.prompt_tokens is None else _bucket(record.prompt_tokens, PROMPT_TOKENS)


_NAMES: dict[By, Callable[[OutputRow, RequestRecord], str | None]] = {
    "category": lambda row, _: row.category,
    "sub_category": lambda row, _: f"{row.category}: {row.sub_category}" if row.sub_category else None,
    "language": lambda row, _: _language(row),
    "turn": lambda _, record: str(record.turn + 1),
    "prompt_length": _prompt_length,
}


def _bucket(tokens: int, starts: Sequence[int]) -> str:
    bounds = (0, *starts)
    start = max(bound for bound in bounds if bound <= tokens)
    after = next((bound for bound in bounds if bound > tokens), None)
    return f"{start} or more" if after is None else f"{start} to {after - 1}"


def _start(name: str) -> int:
    return int(name.split()[0])
