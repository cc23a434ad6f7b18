"""Physical bounds of speculative decoding, checked in one place for every source, window, category and answer.

K is the longest draft, D steps with drafts, T draft tokens, A accepted ones, S decode steps, G generated tokens and
N answers, each of which gets its first token from its prefill:

    1 <= AL <= K + 1          a step accepts at most its draft, and adds one token of its own
    T <= D K_max              K_max: tokens proposed in one step, for a tree all its nodes but the root
    D <= S                    a draft is verified in a decode step
    0 <= N + S + A - G <= N K tokens cut off at the end of an answer come from its last step

Numbers beyond these are not those of one set of answers, whatever their source.
"""

from __future__ import annotations

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding, Numbers

MAX_DRAFT_LENGTH = 4096
"""No drafter proposes as much; a longer one is a broken number, and lists of that length cost time and memory."""

MAX_STEPS = 10**9
"""No answer has as many steps or draft tokens."""

ALMOST = 1e-9


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a window, a category or a set of answers; None for what is not.

    Attributes:
        acceptance_length: AL, or its upper bound where only bounds are known.
        draft_length: K, the longest draft in tokens; for a tree its depth.
        proposed_per_step: K_max, where it differs from K.
        first_tokens: N, answers that got a first token.
        settled: whether nothing was in flight at either end; the bounds on S and G do not hold otherwise.
    """

    num_drafts: int | None = None
    num_draft_tokens: int | None = None
    num_accepted_tokens: int | None = None
    acceptance_length: float | None = None
    draft_length: int | None = None
    proposed_per_step: int | None = None
    first_tokens: int | None = None
    decode_steps: int | None = None
    generated_tokens: int | None = None
    settled: bool = True


def impossible(figures: Figures, where: str = "the counters") -> list[Finding]:
    """One `invalid` finding for each bound that the figures break; none for figures that may be true.

    Args:
        where: what the figures are of, in words: `the counters`, `the answers of category coding`.
    """
    broken = [*_lengths(figures), *_steps(figures)]
    return [
        Finding(
            code="impossible_figures",
            severity="invalid",
            message=f"The figures from {where} are impossible: {told}; they are not all of the same answers, so do "
            "not use them, and measure on a server that nobody else uses.",
            numbers=numbers,
        )
        for told, numbers in broken
    ]


def check_answer(
    counts: AcceptanceCounts,
    *,
    completion_tokens: int | None,
    draft_length: int | None,
    samples: int = 1,
    drafts_in_every_step: bool = False,
) -> None:
    """Compares the statistics of one answer with the number of its own tokens.

    Args:
        completion_tokens: of all samples together; None where the server does not say.
        draft_length: the longest draft; None if unknown, then the answer's positions tell it if it has any.
        drafts_in_every_step: whether steps without drafts are counted as well, so that no token comes from elsewhere.

    Raises:
        IdentityError: the statistics cannot be those of this answer.
    """
    longest = draft_length if draft_length is not None else len(counts.accepted_per_position or ())
    figures = Figures(
        num_drafts=counts.num_drafts,
        num_accepted_tokens=counts.num_accepted_tokens,
        acceptance_length=counts.acceptance_length,
        draft_length=longest or None,
    )
    broken = _lengths(figures)
    if max(counts.num_drafts or 0, counts.num_draft_tokens or 0, counts.num_accepted_tokens) > MAX_STEPS:
        broken.append((f"more than {MAX_STEPS} steps or tokens in one answer", {}))
    if completion_tokens is not None and completion_tokens >= 0:
        emitted = (counts.num_drafts or 0) + counts.num_accepted_tokens
        # The first token of a sample is its prefill's; an answer of none had no step either.
        most = completion_tokens + samples * (longest or MAX_DRAFT_LENGTH)
        # A request that was retracted gets one more token from its prefill each time.
        least = completion_tokens - samples * (2 + longest) if drafts_in_every_step and counts.num_drafts else 0
        if not least <= emitted <= most:
            broken.append((f"{emitted} tokens in its steps, {completion_tokens} in the answer", {}))
    if broken:
        raise IdentityError(
            f"the statistics cannot be those of the answer: {broken[0][0]} "
            f"(num_drafts={_short(counts.num_drafts or 0)}, num_accepted_tokens={_short(counts.num_accepted_tokens)})"
        )


def check_draft_length(length: int | None) -> None:
    """Refuses a draft length that no drafter has, before lists of that length are made.

    Raises:
        IdentityError: the length is negative, or beyond `MAX_DRAFT_LENGTH`.
    """
    if length is not None and not 0 <= length <= MAX_DRAFT_LENGTH:
        raise IdentityError(f"no draft has the length that the server reports ({_short(length)})")


def _lengths(figures: Figures) -> list[tuple[str, Numbers]]:
    broken: list[tuple[str, Numbers]] = []
    length, longest, drafts = figures.acceptance_length, figures.draft_length, figures.num_drafts
    if length is not None and length < 1 - ALMOST:
        broken.append((f"an acceptance length of {length:.4f} is below 1", {"acceptance_length": length}))
    if length is not None and longest is not None and length > longest + 1 + ALMOST:
        told = f"an acceptance length of {length:.4f} with drafts of at most {longest} tokens"
        broken.append((told, {"acceptance_length": length, "draft_length": longest}))
    widest = figures.proposed_per_step or longest
    if drafts is not None and widest is not None and (figures.num_draft_tokens or 0) > drafts * widest:
        told = f"{figures.num_draft_tokens} draft tokens in {drafts} steps of at most {widest}"
        broken.append((told, {"num_draft_tokens": figures.num_draft_tokens, "num_drafts": drafts}))
    return broken


def _steps(figures: Figures) -> list[tuple[str, Numbers]]:
    drafts, steps, answers = figures.num_drafts, figures.decode_steps, figures.first_tokens
    if not figures.settled or steps is None or answers is None:
        return []
    broken: list[tuple[str, Numbers]] = []
    # A request that is aborted in its step leaves a draft whose tokens are never booked.
    if drafts is not None and drafts > steps + answers:
        broken.append((f"{drafts} drafts in {steps} decode steps", {"num_drafts": drafts, "decode_steps": steps}))
    accepted, generated, longest = figures.num_accepted_tokens, figures.generated_tokens, figures.draft_length
    if accepted is None or generated is None:
        return broken
    cut_off = answers + steps + accepted - generated
    if cut_off < 0 or (longest is not None and cut_off > answers * longest):
        told = (
            f"{generated} generated tokens are not the {answers} first tokens, {steps} decode steps and {accepted} "
            f"accepted tokens less what may be cut off at the ends"
        )
        broken.append((told, {"tokens_cut_off": cut_off, "generation_tokens": generated, "answers": answers}))
    return broken


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**12 else f"{'-' if number < 0 else ''}a number of {number.bit_length()} bits"
