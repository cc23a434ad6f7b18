"""llama.cpp's statistics of one request, `timings` of an answer and of each chunk of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_steps
from nemo_skills_specdec.engines.base import ServerInfo, number_or_none, part_of
from nemo_skills_specdec.engines.limits import check_answer, check_draft_length
from nemo_skills_specdec.errors import IdentityError


class LlamaTimings(msgspec.Struct):
    """`timings` of a response; llama.cpp leaves both counts out where nothing was drafted."""

    draft_n: int | None = None
    draft_n_accepted: int | None = None


class LlamaProgress(LlamaTimings):
    """`timings` of one chunk."""

    predicted_n: int | None = None


class LlamaChunk(msgspec.Struct):
    """One chunk of a stream."""

    timings: LlamaProgress | None = None


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Asks for `timings` in every chunk of a stream, which tell the steps; without a stream they come by themselves."""
    return {"timings_per_token": True} if stream else {}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts from `timings`: drafted and accepted tokens. The steps are told by `stream_counts` only.

    A response without `draft_n`, from a server that speculates, drafted nothing. With several samples (n > 1) the
    timings are those of the first alone, so there are no counts.

    Raises:
        IdentityError: the counts contradict each other.
    """
    raw = response.get("timings")
    choices = response.get("choices")
    if not isinstance(raw, Mapping) or (isinstance(choices, list) and len(choices) > 1):
        return None
    try:
        timings = msgspec.convert(raw, LlamaTimings)
    except msgspec.ValidationError as error:
        raise IdentityError(f"timings are not what llama.cpp sends ({error})") from error
    if timings.draft_n is None:
        return NO_STEPS if info is not None and info.speculation == "on" else None
    counts = AcceptanceCounts(
        num_drafts=None if timings.draft_n else 0,
        num_draft_tokens=timings.draft_n,
        num_accepted_tokens=timings.draft_n_accepted or 0,
    )
    tokens = number_or_none(part_of(response, "usage").get("completion_tokens"))
    # Positions appear as they are drafted, so the longest draft is not known for certain.
    check_answer(counts, completion_tokens=tokens, draft_length=None)
    return counts


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Counts from the running `timings` of a stream's chunks, which tell every verification step.

    Each chunk carries one token, and the drafted and accepted tokens so far. A step emits at least one token: between
    two chunks that are one token apart lies at most one step, and the growth is that step's. Where a chunk is more than
    one token ahead (a character of several tokens was held back) and drafts have grown, there may have been several
    steps: then the number of steps is not known, and neither are the positions.

    Returns:
        The counts; None if the chunks carry no running timings.
    """
    accepted: list[int] = []
    drafted: list[int] = []
    last = LlamaProgress(predicted_n=0)
    ambiguous = False
    seen = 0
    for frame in frames:
        # Only what is needed of a chunk is decoded; those without timings are role and text.
        if b'"timings"' not in frame:
            continue
        try:
            now = msgspec.json.decode(frame, type=LlamaChunk).timings
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if now is None or now.predicted_n is None:
            return None
        seen += 1
        grown = (now.draft_n or 0) - (last.draft_n or 0)
        if grown:
            ambiguous = ambiguous or now.predicted_n - (last.predicted_n or 0) > 1
            drafted.append(grown)
            accepted.append((now.draft_n_accepted or 0) - (last.draft_n_accepted or 0))
        last = now
    if seen < 2:
        return None
    if ambiguous:
        return AcceptanceCounts(
            num_drafts=None, num_draft_tokens=last.draft_n or 0, num_accepted_tokens=last.draft_n_accepted or 0
        )
    check_draft_length(max(drafted, default=0))
    return counts_from_steps(accepted, drafted)
