"""Where two answers to the same prompt first differ.

By token where both answers carry log-probabilities, else by character. A difference is a near-tie if the token of the
other answer was, in the baseline's own distribution at that place, at most `NEAR_TIE` nats less probable than its own:
bfloat16 tells numbers from 16 to 32 apart only if they differ by 0.125, so a pass over another number of tokens, as
verification is, may turn either over the other. Anything else is a real change.

Only what both answered to the same input can be compared: turns after one that differs have another history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.records import GeneratedToken, RequestRecord

NEAR_TIE = 0.25
"""Nats between two tokens below which rounding may choose either."""

Unit = Literal["token", "character"]
Kind = Literal["near-tie", "real change", "unknown"]


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first difference of two answers.

    Attributes:
        position: tokens or characters before it that are the same.
        gap: nats by which the baseline preferred its own token; a lower bound where the other is not among its
            alternatives. None without log-probabilities.
    """

    question_id: str
    category: str
    turn: int
    position: int
    unit: Unit
    kind: Kind
    baseline: str
    run: str
    gap: float | None = None


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far two answers to one prompt agree, over its turns.

    Attributes:
        length: units, of all turns, up to the first difference, or of all of the baseline's answer.
        divergence: None if all turns are the same.
    """

    length: int
    divergence: Divergence | None


def agreement(baseline: OutputRow, run: OutputRow) -> Agreement:
    """Compares two answers to one prompt, turn by turn, up to the first difference."""
    later = {record.turn: record for record in run.requests}
    length = 0
    for record in sorted(baseline.requests, key=lambda request: request.turn):
        found = _divergence(record, later[record.turn])
        if found is not None:
            return Agreement(length=length + found.position, divergence=found)
        length += len(_units(record, record)[0])
    return Agreement(length=length, divergence=None)


def _divergence(a: RequestRecord, b: RequestRecord) -> Divergence | None:
    units, others = _units(a, b)
    same = next(
        (n for n, (x, y) in enumerate(zip(units, others, strict=False)) if x != y), min(len(units), len(others))
    )
    if same == len(units) == len(others):
        return None
    by_token = a.logprobs is not None and b.logprobs is not None
    gap = _gap(a.logprobs or [], others, same) if by_token else None
    return Divergence(
        question_id=a.question_id,
        category=a.category,
        turn=a.turn,
        position=same,
        unit="token" if by_token else "character",
        kind="unknown" if gap is None else "near-tie" if gap <= NEAR_TIE else "real change",
        baseline=_shown(units, same),
        run=_shown(others, same),
        gap=gap,
    )


def _units(a: RequestRecord, b: RequestRecord) -> tuple[Sequence[str], Sequence[str]]:
    if a.logprobs is not None and b.logprobs is not None:
        return [token.token for token in a.logprobs], [token.token for token in b.logprobs]
    return (a.reasoning or "") + a.generation, (b.reasoning or "") + b.generation


def _gap(tokens: Sequence[GeneratedToken], others: Sequence[str], place: int) -> float | None:
    """How much more probable the baseline's token was; None where one of the two had ended, so nothing is told."""
    if place >= len(tokens) or place >= len(others):
        return None
    token = tokens[place]
    alternatives = dict(token.top)
    if others[place] in alternatives:
        return token.logprob - alternatives[others[place]]
    return token.logprob - min(alternatives.values()) if alternatives else None


def _shown(units: Sequence[str], place: int) -> str:
    """A little of what follows, for people; empty where the answer ended."""
    return "".join(units[place : place + (4 if isinstance(units, list) else 20)])
