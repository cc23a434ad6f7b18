"""The four counters of speculative decoding that vLLM and llama.cpp share but for the prefix of their names.

A sample is `<prefix>spec_decode_num_drafts_total`; `prefix` is `vllm:` or `llamacpp:`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import Samples, Traffic
from nemo_skills_specdec.engines.prometheus import Difference
from nemo_skills_specdec.engines.remarks import identity_broken
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding

DRAFTS, DRAFT_TOKENS, ACCEPTED, PER_POSITION = "drafts", "draft_tokens", "accepted", "per_position"


def counter_names(prefix: str) -> dict[str, str]:
    """Series names of the four counters."""
    return {
        DRAFTS: f"{prefix}spec_decode_num_drafts_total",
        DRAFT_TOKENS: f"{prefix}spec_decode_num_draft_tokens_total",
        ACCEPTED: f"{prefix}spec_decode_num_accepted_tokens_total",
        PER_POSITION: f"{prefix}spec_decode_num_accepted_tokens_per_pos_total",
    }


def has_spec_series(samples: Samples, prefix: str) -> bool:
    """Whether any of the four is there, under its exact name or without `_total`."""
    names = counter_names(prefix).values()
    return any(name in samples.series or name.removesuffix("_total") in samples.series for name in names)


def num_positions(readings: Sequence[Samples], prefix: str) -> int | None:
    """Draft positions that have a counter, which is the configured draft length; None if there is none."""
    name = counter_names(prefix)[PER_POSITION]
    labels = [
        dict(label_set).get("position", "")
        for samples in readings
        for spelling in (name, name.removesuffix("_total"))
        for label_set in samples.series.get(spelling, {})
    ]
    positions = {int(position) for position in labels if position.isdecimal()}
    return max(positions) + 1 if positions else None


def window_counts(deltas: Mapping[str, Difference]) -> tuple[AcceptanceCounts | None, list[Finding]]:
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
                message=f"the server exposes some counters of speculative decoding but not num_{missing[0]}: "
                "nothing can be computed; use a release that has all of them",
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
        return None, [
            identity_broken(
                error,
                {
                    "num_drafts": drafts,
                    "num_draft_tokens": draft_tokens,
                    "num_accepted_tokens": accepted,
                    "accepted_per_position": None if per_position is None else str([*per_position]),
                },
            )
        ]


def nothing_drafted(counts: AcceptanceCounts, traffic: Traffic) -> list[Finding]:
    """A finding if the server generated text without drafting anything."""
    if counts.num_drafts or not traffic.generation_tokens:
        return []
    return [
        Finding(
            code="nothing_drafted",
            severity="warning",
            message=f"{traffic.generation_tokens} tokens were generated and nothing was drafted: acceptance is "
            "undefined. An n-gram drafter found no match, or speculation is off",
            numbers={"generation_tokens": traffic.generation_tokens},
        )
    ]


def _positions(per_position: Difference | None) -> tuple[int, ...] | None:
    if per_position is None:
        return None
    by_position = {int(key): value for key, value in per_position.by_label("position").items() if key.isdecimal()}
    if not by_position or sum(by_position.values()) != per_position.total:
        return None
    return tuple(by_position.get(i, 0) for i in range(max(by_position) + 1))
