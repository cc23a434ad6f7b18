"""vLLM's statistics of one request, `metrics.speculative_decoding` of an answer (from 0.29 on)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram
from nemo_skills_specdec.engines.base import ServerInfo, number_or_none, part_of
from nemo_skills_specdec.engines.limits import check_answer, check_draft_length
from nemo_skills_specdec.errors import IdentityError


class VllmStatistics(msgspec.Struct):
    """`metrics.speculative_decoding` of a response; other keys are ignored."""

    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_spec_tokens: int | None = None
    acceptance_histogram: list[int] | None = None
    per_step_accepted: list[int] | None = None
    per_step_drafted: list[int] | None = None


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Asks for the usage chunk of a stream, which carries the statistics; whether there are any is a server flag."""
    return {"stream_options": {"include_usage": True}} if stream else {}


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts from `metrics.speculative_decoding`; None if the server sent none (flag off, or n > 1).

    Raises:
        IdentityError: the statistics contradict each other.
    """
    statistics = _statistics(response)
    if statistics is None:
        return None
    check_draft_length(statistics.num_spec_tokens)
    check_draft_length(len(statistics.acceptance_histogram or ()))
    counts = _counts(statistics)
    steps = (statistics.per_step_accepted, statistics.per_step_drafted)
    if steps[0] is not None and steps[1] is not None:
        _check_steps(steps[0], steps[1], statistics)
    tokens = number_or_none(part_of(response, "usage").get("completion_tokens"))
    check_answer(counts, completion_tokens=tokens, draft_length=statistics.num_spec_tokens)
    return counts


def reached_per_position(response: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Steps that drafted position i and had accepted all positions before it: the drafter's own denominators.

    With a draft length that varies, `accepted_per_position[i] / reached[i]` is the true conditional rate, which no
    counter gives. Needs the server flag `--per-request-spec-decode-metrics detailed`; None without its lists.

    Raises:
        IdentityError: the lists contradict each other.
    """
    statistics = _statistics(response)
    if statistics is None or statistics.per_step_accepted is None or statistics.per_step_drafted is None:
        return None
    check_draft_length(statistics.num_spec_tokens)
    _check_steps(statistics.per_step_accepted, statistics.per_step_drafted, statistics)
    steps = list(zip(statistics.per_step_accepted, statistics.per_step_drafted, strict=True))
    longest = statistics.num_spec_tokens or max((drafted for _, drafted in steps), default=0)
    return tuple(sum(accepted >= i and drafted > i for accepted, drafted in steps) for i in range(longest))


def _statistics(response: Mapping[str, Any]) -> VllmStatistics | None:
    metrics = response.get("metrics")
    raw = metrics.get("speculative_decoding") if isinstance(metrics, Mapping) else None
    if raw is None:
        return None
    try:
        return msgspec.convert(raw, VllmStatistics)
    except msgspec.ValidationError as error:
        raise IdentityError(f"metrics.speculative_decoding is not what vLLM sends ({error})") from error


def _counts(statistics: VllmStatistics) -> AcceptanceCounts:
    histogram = statistics.acceptance_histogram
    if histogram is None:
        return AcceptanceCounts(
            num_drafts=statistics.num_spec_steps,
            num_draft_tokens=statistics.num_draft_tokens,
            num_accepted_tokens=statistics.num_accepted_draft_tokens,
        )
    counts = counts_from_histogram(
        histogram, num_draft_tokens=statistics.num_draft_tokens, draft_length=statistics.num_spec_tokens
    )
    if (counts.num_drafts, counts.num_accepted_tokens) != (
        statistics.num_spec_steps,
        statistics.num_accepted_draft_tokens,
    ):
        raise IdentityError(
            f"the histogram does not agree with the sums (acceptance_histogram={histogram}, "
            f"num_spec_steps={statistics.num_spec_steps}, "
            f"num_accepted_draft_tokens={statistics.num_accepted_draft_tokens})"
        )
    return counts


def _check_steps(accepted: list[int], drafted: list[int], statistics: VllmStatistics) -> None:
    if (
        len(accepted) != len(drafted)
        or len(accepted) != statistics.num_spec_steps
        or sum(accepted) != statistics.num_accepted_draft_tokens
        or sum(drafted) != statistics.num_draft_tokens
        or any(a > d or a < 0 for a, d in zip(accepted, drafted, strict=False))
    ):
        raise IdentityError(
            f"the steps do not agree with the sums (per_step_accepted={accepted}, per_step_drafted={drafted}, "
            f"num_spec_steps={statistics.num_spec_steps}, num_draft_tokens={statistics.num_draft_tokens}, "
            f"num_accepted_draft_tokens={statistics.num_accepted_draft_tokens})"
        )


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Nothing more: vLLM's statistics stand whole in one chunk, which `request_counts` reads."""
    return None
