"""Per-request statistics: out of an answer, into its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, reached_per_position, total
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Finding, RequestRecord


def request_extras(info: ServerInfo, *, stream: bool) -> dict[str, Any]:
    """Body fields that ask this server for statistics in its answers."""
    return ENGINES[info.engine].request_extras(stream=stream, info=info) if info.engine is not None else {}


def count_answer(
    record: RequestRecord, response: Mapping[str, Any], info: ServerInfo, frames: Sequence[bytes] = ()
) -> str | None:
    """Gives a record the counts that its answer carries.

    Args:
        response: the decoded body, or for a stream the union of its chunks' top-level keys.
        frames: the chunks of a stream, undecoded; needed only where an engine tells steps by its chunks.

    Returns:
        Why the statistics contradict themselves, so that the record got none; None if they do not.
    """
    if record.error is not None or info.engine is None:
        return None
    reader = ENGINES[info.engine]
    if record.usage_rejected:
        # What is not believed of the number of tokens says nothing against the statistics.
        response = {name: value for name, value in response.items() if name != "usage"}
    try:
        counts = reader.request_counts(response, info)
        if counts is not None and counts.num_drafts is None and frames:
            counts = reader.stream_counts(frames) or counts
    except IdentityError as error:
        return str(error)
    record.counts = counts
    record.steps = reader.request_steps(response)
    if record.steps is not None:
        drafted, accepted = [step.drafted for step in record.steps], [step.accepted for step in record.steps]
        record.reached_per_position = reached_per_position(accepted, drafted)
    record.counts_source = "response" if counts is not None else None
    return None


def contradictions(reasons: Sequence[str]) -> list[Finding]:
    """The finding for answers whose statistics contradict themselves; none without one."""
    if not reasons:
        return []
    return [
        Finding(
            code="identity_broken",
            severity="invalid",
            message=f"{number_of(len(reasons), 'answer', 'carry')} statistics that contradict themselves, e.g. "
            f"{reasons[0]}, so no rate is computed from them.",
            numbers={"answers": len(reasons)},
        )
    ]


def with_stepless_answers(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    """The records, with zero steps for answers of one token.

    Such an answer had no verification step, which some engines report by leaving the statistics out. Where no answer
    carries any, nothing is known of these either.
    """
    source = next((record.counts_source or "response" for record in records if record.counts is not None), None)
    if source is None:
        return list(records)
    return [
        msgspec.structs.replace(record, counts=NO_STEPS, counts_source=source)
        if record.counts is None and record.error is None and record.completion_tokens in (0, 1)
        else record
        for record in records
    ]


def has_statistics(records: Sequence[RequestRecord]) -> bool:
    """Whether every answer says how many of its drafts were accepted."""
    answered = [record for record in records if record.error is None]
    return bool(answered) and all(record.counts is not None for record in answered)


def reached_in(records: Sequence[RequestRecord]) -> tuple[int, ...] | None:
    """Summed over all answers, the steps that reached each draft position; None if an answer lists no steps."""
    known = [r.reached_per_position for r in records if r.counts is not None and r.counts.num_drafts]
    if not known or any(reached is None for reached in known):
        return None
    return tuple(map(sum, zip_longest(*(reached or () for reached in known), fillvalue=0)))


def per_request_counts(records: Sequence[RequestRecord]) -> AcceptanceCounts | None:
    """The sum over all answers that carry statistics; None if none does."""
    known = [record.counts for record in records if record.counts is not None]
    return total(known) if known else None
