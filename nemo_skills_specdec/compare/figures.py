"""The figures that runs are compared in: each is a ratio of two sums over requests.

    acceptance_length                      sum (D + A) / sum D                              AL, pooled
    acceptance_rate                        sum A / sum T                                    AR
    conditional_acceptance_rate_i          sum A_i / sum A_{i-1}, i from 1, A_0 = D         c_i
    user_tokens_per_second                 sum (tokens - 1) / sum (last chunk - first chunk)
    system_tokens_per_second               sum tokens / sum (end - start)
    ttft_seconds, tpot_seconds             means over requests
    goodput                                requests within all bounds / requests

`system_tokens_per_second` is the speed of one place among the concurrent requests, waiting and prompt processing
included; at equal concurrency in a closed loop the throughput is that times the concurrency, so ratios are the same.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from nemo_skills_specdec.measurement.speed import meets
from nemo_skills_specdec.measurement.speed_options import Slo
from nemo_skills_specdec.records import RequestRecord

Terms = tuple[float, float]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    Attributes:
        name: as in files.
        title: as in tables.
        ratio: compared as a ratio (the run's over the baseline's); else as a difference.
        timing: whether the state of the machine shifts it from run to run.
        applies: whether a request has such a figure at all; an answer of one token has no time between tokens.
        terms: a request's numerator and denominator; None where they are not known.
    """

    name: str
    title: str
    ratio: bool
    timing: bool
    applies: Callable[[RequestRecord], bool] = lambda _: True
    terms: Callable[[RequestRecord], Terms | None]


def acceptance_figures(draft_length: int) -> list[Figure]:
    """AL, AR and the conditional rates of `draft_length` positions."""
    return [
        Figure(name="acceptance_length", title="AL", ratio=True, timing=False, terms=_length),
        Figure(name="acceptance_rate", title="AR", ratio=False, timing=False, terms=_rate),
        *(
            Figure(
                name=f"conditional_acceptance_rate_{i}",
                title=f"c{i}",
                ratio=False,
                timing=False,
                terms=_conditional(i),
            )
            for i in range(1, draft_length + 1)
        ),
    ]


def goodput_figure(slo: Slo) -> Figure:
    """The share of requests that were answered within every bound."""
    return Figure(
        name="goodput",
        title="within SLO",
        ratio=False,
        timing=True,
        terms=lambda record: (float(meets(record, slo)), 1.0),
    )


def _length(record: RequestRecord) -> Terms | None:
    counts = record.counts
    if counts is None or counts.num_drafts is None:
        return None
    return counts.num_drafts + counts.num_accepted_tokens, counts.num_drafts


def _rate(record: RequestRecord) -> Terms | None:
    counts = record.counts
    if counts is None or counts.num_draft_tokens is None:
        return None
    return counts.num_accepted_tokens, counts.num_draft_tokens


def _conditional(position: int) -> Callable[[RequestRecord], Terms | None]:
    def terms(record: RequestRecord) -> Terms | None:
        counts = record.counts
        if counts is None or counts.num_drafts is None or counts.accepted_per_position is None:
            return None
        reached = (counts.num_drafts, *counts.accepted_per_position, *[0] * (position + 1))
        return reached[position], reached[position - 1]

    return terms


def _several_tokens(record: RequestRecord) -> bool:
    return (record.completion_tokens or 0) > 1


def _user_speed(record: RequestRecord) -> Terms | None:
    if record.tpot_seconds is None or record.completion_tokens is None:
        return None
    tokens = record.completion_tokens - 1
    return tokens, tokens * record.tpot_seconds


def _system_speed(record: RequestRecord) -> Terms | None:
    if record.completion_tokens is None:
        return None
    return record.completion_tokens, record.end_time - record.start_time


def _ttft(record: RequestRecord) -> Terms | None:
    return None if record.ttft_seconds is None else (record.ttft_seconds, 1.0)


def _tpot(record: RequestRecord) -> Terms | None:
    return None if record.tpot_seconds is None else (record.tpot_seconds, 1.0)


USER_SPEED = Figure(
    name="user_tokens_per_second",
    title="tok/s per user",
    ratio=True,
    timing=True,
    applies=_several_tokens,
    terms=_user_speed,
)
SYSTEM_SPEED = Figure(
    name="system_tokens_per_second", title="tok/s of the system", ratio=True, timing=True, terms=_system_speed
)
TTFT = Figure(name="ttft_seconds", title="TTFT", ratio=True, timing=True, terms=_ttft)
TPOT = Figure(name="tpot_seconds", title="TPOT", ratio=True, timing=True, applies=_several_tokens, terms=_tpot)
