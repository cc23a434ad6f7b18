"""The four counters of speculative decoding that vLLM and llama.cpp share but for the prefix of their names.

A sample is `<prefix>spec_decode_num_drafts_total`; `prefix` is `vllm:` or `llamacpp:`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines import remarks
from nemo_skills_specdec.engines.base import CounterReading, Traffic
from nemo_skills_specdec.engines.counters import CounterDifference
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.limits import MAX_DRAFT_LENGTH
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding, Numbers

DRAFTS, DRAFT_TOKENS, ACCEPTED, PER_POSITION = "drafts", "draft_tokens", "accepted", "per_position"

ALL_RATES = "AL, AR, per position"
PER_REQUEST = "AL, AR, per position, per request"


def counter_names(prefix: str) -> dict[str, str]:
    """Series names of the four counters."""
    return {
        DRAFTS: f"{prefix}spec_decode_num_drafts_total",
        DRAFT_TOKENS: f"{prefix}spec_decode_num_draft_tokens_total",
        ACCEPTED: f"{prefix}spec_decode_num_accepted_tokens_total",
        PER_POSITION: f"{prefix}spec_decode_num_accepted_tokens_per_pos_total",
    }


def has_spec_series(samples: Samples, prefix: str) -> bool:
    """Whether any of the four is there."""
    return any(name in samples.series for name in counter_names(prefix).values())


def num_positions(readings: Sequence[Samples], prefix: str) -> int | None:
    """Draft positions that have a counter, which is the configured draft length; None if there is none."""
    name = counter_names(prefix)[PER_POSITION]
    labels = [dict(labels).get("position", "") for samples in readings for labels in samples.series.get(name, {})]
    positions = {position for label in labels if (position := position_of(label)) is not None}
    return max(positions) + 1 if positions else None


def read_counts(
    reading: CounterReading,
    deltas: Mapping[str, CounterDifference],
    *,
    draft_length: int | None = None,
    remark: Callable[[AcceptanceCounts], Sequence[Finding]] = lambda _: (),
) -> CounterReading:
    """The reading with the counts of its window, unless a finding forbids to compute any.

    Args:
        reading: traffic and findings so far.
        deltas: the differences of the four counters, under their short names.
        draft_length: the longest draft that this server makes; None if unknown.
        remark: the engine's own findings on the counts.
    """
    if remarks.is_invalid(reading):
        return reading
    counts, problems = window_counts(deltas)
    if counts is None:
        return remarks.with_findings(reading, *problems)
    return msgspec.structs.replace(
        reading,
        source="counters",
        counts=counts,
        num_drafts=counts.num_drafts,
        acceptance_length=counts.acceptance_length,
        acceptance_rate=counts.acceptance_rate,
        draft_length=draft_length,
        findings=(*reading.findings, *nothing_drafted(counts, reading.traffic), *remark(counts)),
    )


def window_counts(deltas: Mapping[str, CounterDifference]) -> tuple[AcceptanceCounts | None, list[Finding]]:
    """Counts of a window from the differences of the four counters, under their short names.

    Returns:
        The counts, or None with an `invalid` finding that holds the raw numbers if they contradict each other or if one
        of the first three counters is missing.
    """
    missing = [short for short in (DRAFTS, DRAFT_TOKENS, ACCEPTED) if short not in deltas]
    if missing:
        return None, [
            Finding(
                code="spec_counters_incomplete",
                severity="invalid",
                message=f"The server exposes some counters of speculative decoding but not num_{missing[0]}, so "
                "nothing can be computed; use a release that has all of them.",
                numbers={"missing": ", ".join(missing)},
            )
        ]
    drafts, draft_tokens, accepted = (deltas[short].total for short in (DRAFTS, DRAFT_TOKENS, ACCEPTED))
    per_position = _positions(deltas.get(PER_POSITION))
    try:
        return (
            AcceptanceCounts(
                num_drafts=drafts,
                num_draft_tokens=draft_tokens,
                num_accepted_tokens=accepted,
                accepted_per_position=per_position,
            ),
            [],
        )
    except IdentityError as error:
        numbers: Numbers = {
            "num_drafts": drafts,
            "num_draft_tokens": draft_tokens,
            "num_accepted_tokens": accepted,
            "accepted_per_position": None if per_position is None else str([*per_position]),
        }
        return None, [remarks.identity_broken(error, numbers)]


def nothing_drafted(counts: AcceptanceCounts, traffic: Traffic) -> list[Finding]:
    """A finding if the server generated text without drafting anything."""
    if counts.num_drafts or not traffic.generation_tokens:
        return []
    return [
        Finding(
            code="nothing_drafted",
            severity="warning",
            message=f"{traffic.generation_tokens} tokens were generated and nothing was drafted, so acceptance is "
            "undefined: an n-gram drafter found no match, or speculation is off.",
            numbers={"generation_tokens": traffic.generation_tokens},
        )
    ]


def position_of(label: str) -> int | None:
    """The draft position that a label names; None if it names none."""
    return int(label) if label.isascii() and label.isdecimal() and len(label) < 6 else None


def _positions(per_position: CounterDifference | None) -> tuple[int, ...] | None:
    if per_position is None:
        return None
    by_label = per_position.by_label("position").items()
    by_position = {position: value for label, value in by_label if (position := position_of(label)) is not None}
    if not by_position or max(by_position) >= MAX_DRAFT_LENGTH or sum(by_position.values()) != per_position.total:
        return None
    return tuple(by_position.get(i, 0) for i in range(max(by_position) + 1))
