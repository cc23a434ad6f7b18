"""What was drafted and what was accepted, as exact integers, and the rates that follow from them.

Symbols: D verification steps that carried at least one draft token, T draft tokens proposed, A draft tokens accepted
(without the bonus token), A_i steps in which draft position i (0-based) was accepted.

    AL  = 1 + A / D                  acceptance length, the bonus token included
    AR  = A / T                      acceptance rate
    p_i = A_i / D                    per-position rate, unconditional; AL = 1 + sum p_i
    c_i = A_i / A_{i-1}, A_{-1} = D  conditional rate, undefined where A_{i-1} = 0
    r_i = A_i / R_i                  reached conditional rate, R_i being the steps that accepted all positions before i
                                     and drafted position i

Where every step drafts K tokens, R_i = A_{i-1} and r_i = c_i. Where drafts vary in length, c_i counts a step that never
drafted position i as a rejection; r_i does not, and takes a list of the steps.

Counts that contradict each other cannot be built, so a rate is never computed from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, zip_longest

import msgspec

from nemo_skills_specdec.errors import CountsDecreasedError, IdentityError


def _contradiction(
    drafts: int | None, draft_tokens: int | None, accepted: int, per_position: tuple[int, ...] | None
) -> str | None:
    if any(count is not None and count < 0 for count in (drafts, draft_tokens, accepted, *(per_position or ()))):
        return "a count is negative"
    if draft_tokens is not None and accepted > draft_tokens:
        return "more tokens accepted than drafted"
    if drafts == 0 and (accepted or draft_tokens):
        return "draft tokens without a verification step"
    if per_position is not None:
        if sum(per_position) != accepted:
            return "accepted tokens per position do not sum to the accepted tokens"
        if any(later > earlier for earlier, later in pairwise(per_position)):
            return "a later draft position was accepted more often than an earlier one"
        if drafts is not None and per_position and per_position[0] > drafts:
            return "the first draft position was accepted in more steps than there were"
    return None


class AcceptanceCounts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Exact counts of one request, one window, or a sum of them.

    Attributes:
        num_drafts: D, verification steps with at least one draft token; None where the source does not say.
        num_draft_tokens: T, proposed draft tokens; None where the source does not say.
        num_accepted_tokens: A, accepted draft tokens, without the bonus token.
        accepted_per_position: A_i for i = 0..K-1; None where the source does not say. Empty for no steps at all.

    Raises:
        IdentityError: a count is negative, A > T, A_0 > D, A_i > A_{i-1}, sum A_i != A, or tokens without a step.
    """

    num_drafts: int | None
    num_draft_tokens: int | None
    num_accepted_tokens: int
    accepted_per_position: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Enforces the identities; everything else in the package relies on them."""
        problem = _contradiction(
            self.num_drafts, self.num_draft_tokens, self.num_accepted_tokens, self.accepted_per_position
        )
        if problem is not None:
            positions = None if self.accepted_per_position is None else [*self.accepted_per_position]
            raise IdentityError(
                f"{problem} (num_drafts={self.num_drafts}, num_draft_tokens={self.num_draft_tokens}, "
                f"num_accepted_tokens={self.num_accepted_tokens}, accepted_per_position={positions})"
            )

    @property
    def acceptance_length(self) -> float | None:
        """AL = 1 + A / D; None without a step, or where the number of steps is unknown."""
        return (self.num_drafts + self.num_accepted_tokens) / self.num_drafts if self.num_drafts else None

    @property
    def acceptance_rate(self) -> float | None:
        """AR = A / T as a fraction; None if nothing was drafted, or where the number of draft tokens is unknown."""
        return self.num_accepted_tokens / self.num_draft_tokens if self.num_draft_tokens else None

    @property
    def per_position_acceptance_rates(self) -> tuple[float, ...] | None:
        """p_i = A_i / D for every draft position; None where either is unknown or D = 0."""
        if self.accepted_per_position is None or not self.num_drafts:
            return None
        return tuple(accepted / self.num_drafts for accepted in self.accepted_per_position)

    @property
    def conditional_acceptance_rates(self) -> tuple[float | None, ...] | None:
        """c_i = A_i / A_{i-1} with A_{-1} = D; an entry is None where A_{i-1} = 0: never 0 and never 1."""
        if self.accepted_per_position is None or not self.num_drafts:
            return None
        reached = (self.num_drafts, *self.accepted_per_position)
        return tuple(
            accepted / before if before else None
            for accepted, before in zip(self.accepted_per_position, reached, strict=False)
        )

    def __add__(self, other: AcceptanceCounts) -> AcceptanceCounts:
        """The counts of both together; what one of them does not know is unknown in the sum."""
        return AcceptanceCounts(
            num_drafts=_add(self.num_drafts, other.num_drafts),
            num_draft_tokens=_add(self.num_draft_tokens, other.num_draft_tokens),
            num_accepted_tokens=self.num_accepted_tokens + other.num_accepted_tokens,
            accepted_per_position=_combine(self.accepted_per_position, other.accepted_per_position, 1),
        )

    def __sub__(self, other: AcceptanceCounts) -> AcceptanceCounts:
        """The counts of the window between two readings of one set of counters, `other` being the earlier one.

        Raises:
            CountsDecreasedError: a count is smaller than in `other`.
            IdentityError: the differences contradict each other.
        """
        drafts = _subtract("num_drafts", self.num_drafts, other.num_drafts)
        draft_tokens = _subtract("num_draft_tokens", self.num_draft_tokens, other.num_draft_tokens)
        accepted = _subtract("num_accepted_tokens", self.num_accepted_tokens, other.num_accepted_tokens)
        positions = _combine(self.accepted_per_position, other.accepted_per_position, -1)
        if positions is not None and any(count < 0 for count in positions):
            raise CountsDecreasedError(
                f"accepted_per_position decreased from {[*(other.accepted_per_position or ())]} "
                f"to {[*(self.accepted_per_position or ())]}"
            )
        assert accepted is not None
        return AcceptanceCounts(
            num_drafts=drafts,
            num_draft_tokens=draft_tokens,
            num_accepted_tokens=accepted,
            accepted_per_position=positions,
        )


NO_STEPS = AcceptanceCounts(num_drafts=0, num_draft_tokens=0, num_accepted_tokens=0, accepted_per_position=())
"""The counts of no verification step at all: the neutral element of addition."""


def total(counts: Iterable[AcceptanceCounts]) -> AcceptanceCounts:
    """The sum of all; `NO_STEPS` for none. What one of them does not know is unknown in the sum."""
    items = list(counts)
    positions = [item.accepted_per_position for item in items]
    known = [steps for steps in positions if steps is not None]
    return AcceptanceCounts(
        num_drafts=_known_sum([item.num_drafts for item in items]),
        num_draft_tokens=_known_sum([item.num_draft_tokens for item in items]),
        num_accepted_tokens=sum([item.num_accepted_tokens for item in items]),
        accepted_per_position=tuple(map(sum, zip_longest(*known, fillvalue=0)))
        if len(known) == len(positions)
        else None,
    )


def counts_from_histogram(
    histogram: Sequence[int], *, num_draft_tokens: int | None, draft_length: int | None = None
) -> AcceptanceCounts:
    """Counts from a histogram of accepted draft tokens per step.

    Args:
        histogram: entry j is the number of steps that accepted exactly j draft tokens; trailing zeros may be missing.
        num_draft_tokens: T, which a histogram does not hold; None if unknown.
        draft_length: K, to give positions that were never accepted their zero; by default the histogram's last index.

    Raises:
        IdentityError: an entry is negative, or an entry above `draft_length` is not zero.
    """
    if any(steps < 0 for steps in histogram):
        raise IdentityError(f"a histogram entry is negative (histogram={[*histogram]})")
    positions = max(len(histogram) - 1, 0) if draft_length is None else draft_length
    if any(histogram[positions + 1 :]):
        raise IdentityError(f"a step accepted more than {positions} draft tokens (histogram={[*histogram]})")
    per_position = tuple(sum(histogram[i + 1 :]) for i in range(positions))
    return AcceptanceCounts(
        num_drafts=sum(histogram),
        num_draft_tokens=num_draft_tokens,
        num_accepted_tokens=sum(per_position),
        accepted_per_position=per_position,
    )


def counts_from_steps(accepted: Sequence[int], drafted: Sequence[int]) -> AcceptanceCounts:
    """Counts from two lists with one entry a verification step; steps that drafted nothing do not count.

    Args:
        drafted: draft tokens proposed in each step.

    Raises:
        IdentityError: the lists differ in length, or a step accepted more than it drafted.
    """
    steps = [(a, d) for a, d in _checked_steps(accepted, drafted) if d]
    longest = max((d for _, d in steps), default=0)
    return AcceptanceCounts(
        num_drafts=len(steps),
        num_draft_tokens=sum(d for _, d in steps),
        num_accepted_tokens=sum(a for a, _ in steps),
        accepted_per_position=tuple(sum(a > i for a, _ in steps) for i in range(longest)),
    )


def reached_per_position(
    accepted: Sequence[int], drafted: Sequence[int], *, draft_length: int | None = None
) -> tuple[int, ...]:
    """R_i: the steps that accepted all draft positions before i and drafted position i.

    R_0 = D, A_i <= R_i <= A_{i-1}, and the sum over requests is that over all their steps.

    Args:
        drafted: draft tokens proposed in each step.
        draft_length: K, to give positions that were never drafted their zero; by default the longest draft.

    Raises:
        IdentityError: the lists differ in length, a step accepted more than it drafted, or drafted more than K.
    """
    steps = _checked_steps(accepted, drafted)
    longest = max((d for _, d in steps), default=0)
    positions = longest if draft_length is None else draft_length
    if longest > positions:
        raise IdentityError(f"a step drafted more than {positions} tokens (drafted={[*drafted]})")
    return tuple(sum(a >= i and d > i for a, d in steps) for i in range(positions))


def reached_conditional_rates(accepted_per_position: Sequence[int], reached: Sequence[int]) -> tuple[float | None, ...]:
    """r_i = A_i / R_i; an entry is None where no step reached the position: never 0 and never 1.

    Args:
        accepted_per_position: A_i; trailing zeros may be missing.
        reached: R_i of the same steps.

    Raises:
        IdentityError: a position was accepted in more steps than reached it.
    """
    pairs = list(zip_longest(accepted_per_position, reached, fillvalue=0))
    if any(not 0 <= a <= r for a, r in pairs):
        raise IdentityError(
            "a draft position was accepted in more steps than reached it "
            f"(accepted_per_position={[*accepted_per_position]}, reached={[*reached]})"
        )
    return tuple(a / r if r else None for a, r in pairs)


def _checked_steps(accepted: Sequence[int], drafted: Sequence[int]) -> list[tuple[int, int]]:
    if len(accepted) != len(drafted) or any(a > d or a < 0 for a, d in zip(accepted, drafted, strict=False)):
        raise IdentityError(f"steps contradict each other (accepted={[*accepted]}, drafted={[*drafted]})")
    return list(zip(accepted, drafted, strict=True))


def _known_sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _add(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _subtract(name: str, after: int | None, before: int | None) -> int | None:
    if after is None or before is None:
        return None
    if after < before:
        raise CountsDecreasedError(f"{name} decreased from {before} to {after}")
    return after - before


def _combine(a: tuple[int, ...] | None, b: tuple[int, ...] | None, sign: int) -> tuple[int, ...] | None:
    if a is None or b is None:
        return None
    return tuple(x + sign * y for x, y in zip_longest(a, b, fillvalue=0))
