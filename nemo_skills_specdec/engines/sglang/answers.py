"""SGLang's statistics of one request, as they stand in responses and in request-metric files.

The same numbers have had several names. v verification steps, a accepted draft tokens, K verified nodes a step, the
root included: `proposed = v (K - 1)` comes from the configuration; `hist[k]` counts steps that accepted just k drafts.
`spec_accept_length` (completion tokens / v) counts the prefill token and misses cut-off tokens: it is never used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_histogram, total
from nemo_skills_specdec.engines.base import ServerInfo, number_or_none, part_of
from nemo_skills_specdec.engines.limits import check_answer, check_draft_length
from nemo_skills_specdec.engines.sglang.facts import DETAILS_SINCE
from nemo_skills_specdec.engines.versions import at_least
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import StepCount

_STEPS = "spec_verify_ct"
_ACCEPTED = ("spec_num_correct_drafts", "spec_accepted_drafts", "spec_accept_token_num")
_PROPOSED = ("spec_num_proposed_drafts", "spec_proposed_drafts", "spec_draft_token_num")
_HISTOGRAM = ("spec_correct_drafts_histogram", "spec_accept_histogram")


def request_extras(*, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
    """Asks for the statistics in the response.

    `return_spec_tokens_details` (0.5.19 and later) works for both forms; `return_meta_info` (0.5.13 and later) only
    without streaming, where a stream would be refused. Older servers ignore both.
    """
    extras: dict[str, Any] = {"return_spec_tokens_details": True}
    if not stream and not at_least(info.version if info else None, DETAILS_SINCE):
        extras["return_meta_info"] = True
    return extras


def request_counts(response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts of one response, summed over its samples; None if it holds none.

    Taken from `sglext.spec_tokens_details`, else from `choices[].meta_info`, else from `meta_info` (native /generate).

    Raises:
        IdentityError: the server's numbers contradict each other.
    """
    counts = [
        sample_counts(statistics, info) for statistics in _samples(response) if statistics.get(_STEPS) is not None
    ]
    known = [item for item in counts if item is not None]
    if len(known) < len(counts):
        return None
    if known:
        counts_of_all = total(known)
        tokens = number_or_none(part_of(response, "usage").get("completion_tokens"))
        _check(counts_of_all, tokens, info, samples=len(known))
        return counts_of_all
    return NO_STEPS if _had_no_step(response, info) else None


def sample_counts(statistics: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
    """Counts from one sample's fields, whatever the version; None if they do not tell the accepted tokens (< 0.5.6).

    Some releases fill the counts but not the histogram: the positions are unknown then.

    Raises:
        IdentityError: the histogram does not sum up to the steps or to the accepted tokens.
    """
    steps, accepted = _count(statistics, (_STEPS,)), _count(statistics, _ACCEPTED)
    if steps is None or accepted is None:
        return None
    proposed = None if _width_varies(statistics, info) else _count(statistics, _PROPOSED)
    histogram = _histogram(statistics)
    check_draft_length(len(histogram))
    if not any(histogram) and steps:
        counts = AcceptanceCounts(num_drafts=steps, num_draft_tokens=proposed, num_accepted_tokens=accepted)
        _check(counts, number_or_none(statistics.get("completion_tokens")), info)
        return counts
    counts = counts_from_histogram(
        histogram, num_draft_tokens=proposed, draft_length=_draft_length(steps, proposed, len(histogram) - 1, info)
    )
    if (counts.num_drafts, counts.num_accepted_tokens) != (steps, accepted):
        raise IdentityError(
            f"SGLang's histogram does not agree with its sums (histogram={histogram}, spec_verify_ct={steps}, "
            f"accepted={accepted})"
        )
    _check(counts, number_or_none(statistics.get("completion_tokens")), info)
    return counts


def request_steps(response: Mapping[str, Any]) -> list[StepCount] | None:
    """Nothing: the statistics are sums."""
    return None


def stream_counts(frames: Sequence[bytes]) -> AcceptanceCounts | None:
    """Nothing more: SGLang's statistics stand whole in one chunk, which `request_counts` reads."""
    return None


def _check(counts: AcceptanceCounts, tokens: int | None, info: ServerInfo | None, *, samples: int = 1) -> None:
    """Compares statistics with the answer's own tokens; a draft length that adapts bounds nothing."""
    adapts = info is None or bool(info.settings.get("speculative_adaptive"))
    check_answer(
        counts,
        completion_tokens=tokens,
        draft_length=None if adapts or info is None else info.draft_length,
        samples=samples,
        drafts_in_every_step=True,
    )


def _samples(response: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    extension = response.get("sglext")
    details = extension.get("spec_tokens_details") if isinstance(extension, Mapping) else None
    for candidate in (details, [_meta(choice) for choice in _list(response.get("choices"))], response.get("meta_info")):
        samples = [sample for sample in _list(candidate) if isinstance(sample, Mapping)]
        if any(sample.get(_STEPS) is not None for sample in samples):
            return samples
    return []


def _had_no_step(response: Mapping[str, Any], info: ServerInfo | None) -> bool:
    """Whether a speculating server left the statistics out because the prefill gave all the tokens there are."""
    if info is None or info.speculation != "on":
        return False
    meta, usage = response.get("meta_info"), response.get("usage")
    places = [meta, usage, *(_meta(choice) for choice in _list(response.get("choices")))]
    tokens = [
        place["completion_tokens"]
        for place in places
        if isinstance(place, Mapping) and isinstance(place.get("completion_tokens"), int)
    ]
    return bool(tokens) and max(tokens) <= 1


def _meta(choice: Any) -> Any:
    return choice.get("meta_info") if isinstance(choice, Mapping) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _count(statistics: Mapping[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        value = statistics.get(name)
        if value is None:
            continue
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise IdentityError(f"SGLang's {name} is not a count ({value!r})")
        return int(value)
    return None


def _histogram(statistics: Mapping[str, Any]) -> list[int]:
    value: Any = next((statistics[name] for name in _HISTOGRAM if statistics.get(name) is not None), [])
    if not isinstance(value, list) or not all(isinstance(steps, int) for steps in value):
        raise IdentityError(f"SGLang's histogram is not a list of counts ({value!r})")
    return value


def _width_varies(statistics: Mapping[str, Any], info: ServerInfo | None) -> bool:
    """Adaptive widths and DSpark caps verify fewer nodes than configured, but `proposed` counts the configured ones."""
    return bool(statistics.get("spec_cap_lens_histogram")) or bool(info and info.settings.get("speculative_adaptive"))


def _draft_length(steps: int, proposed: int | None, deepest: int, info: ServerInfo | None) -> int | None:
    if info is not None and (info.topk or 1) > 1:
        return max(deepest, int(info.settings.get("speculative_num_steps") or 0), 0)
    if proposed is not None and steps and proposed % steps == 0:
        check_draft_length(proposed // steps)
        return proposed // steps
    return info.draft_length if info is not None and (info.draft_length or 0) >= deepest else None
