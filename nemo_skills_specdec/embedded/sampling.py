"""Lossless speculative sampling: what is emitted is distributed as if the target model alone had been sampled.

One step of a chain: token x was drawn from the drafter's q and is accepted with probability min(1, p(x)/q(x)); at the
first refusal a token is drawn from the residual max(p - q, 0), normalised, and the step ends; if all are accepted, one
more token is drawn from p after the last of them (the bonus token). Then P(emit y) = min(p(y), q(y)) +
(1 - sum_x min(p(x), q(x))) * residual(y) = p(y) for every q. A drafter that proposes one token for certain (n-gram
look-up, greedy) has q = 1 there: accept with p(x), residual p without x.
Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023, theorem 3.5.

A tree proposes several tokens after the same text: x_0 from q_0 = q, x_1 from q_1, which is q without x_0, normalised,
and so on. They are tried one after the other, each by the rule above against what the ones before it have left of p.
Each try is lossless for that rest, so the whole is for p. After an accepted token the tree goes on below it.
Source: Miao et al., "SpecInfer", 2024, section 4.3, with draws without replacement.

Temperature, top-k, top-p and min-p shape p and q alike, before the rule: the result is lossless for the shaped p.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from nemo_skills_specdec.embedded.weights import Floats


class SamplingParams(msgspec.Struct, frozen=True):
    """How logits become a distribution.

    Attributes:
        temperature: 0 is greedy: all mass on the first of the largest logits.
        top_p: keep the smallest set of most likely tokens whose mass reaches this.
        top_k: keep this many most likely tokens; 0 or below keeps all.
        min_p: drop tokens below this share of the largest probability.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature == 0.0

    @property
    def filtered(self) -> bool:
        """Whether some tokens lose their mass."""
        return self.top_p < 1.0 or self.top_k > 0 or self.min_p > 0.0


def probabilities(logits: Floats, params: Sequence[SamplingParams]) -> Floats:
    """Distributions of rows.

    Args:
        logits: (rows, vocabulary).
        params: one a row; none of them greedy.

    Returns:
        (rows, vocabulary), rows sum to 1 up to float32 rounding.
    """
    weights = unnormalised(logits, params)
    for row, wanted in zip(weights, params, strict=True):
        if wanted.filtered:
            _filter(row, wanted)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def unnormalised(logits: Floats, params: Sequence[SamplingParams]) -> Floats:
    """`probabilities` before filters and normalisation."""
    scale = np.array([1.0 / row.temperature for row in params], np.float32)
    weights: Floats = logits * scale[:, None]
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    return weights


def distributions_of(weights: Floats, params: SamplingParams) -> Callable[[int], Floats]:
    """The rest of `probabilities` for the rows that are asked for, each once; a verification reads only a few."""

    def distribution(number: int) -> Floats:
        row: Floats = weights[number]
        if params.filtered:
            _filter(row, params)
        row /= row.sum()
        return row

    return distribution


def sample(distribution: Floats | NDArray[np.float64], uniform: float) -> int:
    """The token at quantile `uniform` of [0, 1); the distribution need not be normalised."""
    cumulative = np.cumsum(distribution, dtype=np.float64)
    token = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return min(token, len(cumulative) - 1)


def acceptance_probability(p: Floats, q: Floats | None, token: int) -> float:
    """min(1, p/q) of a drafted token; `q` None means that the drafter proposed it for certain."""
    if q is None:
        return min(1.0, float(p[token]))
    return min(1.0, float(p[token]) / float(q[token]))


def residual(p: Floats, q: Floats | None, token: int) -> Floats:
    """What to draw from after `token` was refused: max(p - q, 0), not normalised."""
    left: Floats = p.copy() if q is None else np.maximum(p - q, np.float32(0))
    if q is None:
        left[token] = 0.0
    return left


def verify_greedy(draft: Sequence[int], best: Sequence[int]) -> tuple[int, int]:
    """Accepts drafted tokens while they are the target's first choice.

    Args:
        draft: k drafted tokens.
        best: the target's first choice after 0..k accepted tokens, k + 1 of them.

    Returns:
        The number accepted, and the token that follows them.
    """
    accepted = 0
    while accepted < len(draft) and draft[accepted] == best[accepted]:
        accepted += 1
    return accepted, best[accepted]


def verify(
    draft: Sequence[int], q: Sequence[Floats | None], p: Callable[[int], Floats], uniform: Callable[[], float]
) -> tuple[int, int]:
    """Accepts or refuses a chain of drafted tokens by the rule of this module.

    Args:
        draft: k drafted tokens.
        q: the distribution each was drawn from; None where the drafter proposed it for certain.
        p: gives the target's distribution after 0..k accepted tokens; none is asked for twice.

    Returns:
        The number accepted, and the token that follows them.
    """
    for accepted, (token, proposed) in enumerate(zip(draft, q, strict=True)):
        target = p(accepted)
        if uniform() >= acceptance_probability(target, proposed, token):
            left = residual(target, proposed, token)
            # Rounding can leave nothing where p equals q; p itself is then the limit.
            return accepted, sample(left if left.any() else target, uniform())
    return len(draft), sample(p(len(draft)), uniform())


def verify_tree_greedy(
    children: Sequence[Sequence[int]], draft: Sequence[int], best: Sequence[int]
) -> tuple[list[int], int]:
    """Follows the target's first choices through a tree.

    Args:
        children: of the root (node 0) and of nodes 1..N.
        draft: tokens of nodes 1..N.
        best: the target's first choice after nodes 0..N.

    Returns:
        The nodes accepted, from the root down, and the token that follows them.
    """
    accepted: list[int] = []
    node = 0
    while True:
        following = next((child for child in children[node] if draft[child - 1] == best[node]), None)
        if following is None:
            return accepted, best[node]
        node = following
        accepted.append(node)


def verify_tree(
    children: Sequence[Sequence[int]],
    draft: Sequence[int],
    q: Sequence[Floats | None],
    p: Callable[[int], Floats],
    uniform: Callable[[], float],
) -> tuple[list[int], int]:
    """Accepts a path of a tree by the rule of this module.

    Args:
        children: of the root (node 0) and of nodes 1..N, in the order in which they were drawn.
        draft: tokens of nodes 1..N.
        q: the distribution each was drawn from, without its earlier siblings; None where proposed for certain.
        p: gives the target's distribution after each of nodes 0..N; none is asked for twice.

    Returns:
        The nodes accepted, from the root down, and the token that follows them.
    """
    accepted: list[int] = []
    node = 0
    while True:
        left = p(node)
        following = None
        for child in children[node]:
            token, proposed = draft[child - 1], q[child - 1]
            if uniform() < acceptance_probability(left, proposed, token):
                following = child
                break
            rest = residual(left, proposed, token)
            total = rest.sum(dtype=np.float64)
            # Rounding can leave nothing where the rest equals the draft's distribution; the rest is then the limit.
            left = rest / np.float32(total) if total > 0 else left
        if following is None:
            return accepted, sample(left, uniform())
        node = following
        accepted.append(node)


def sample_without_replacement(
    distribution: Floats, ranking: Sequence[int], count: int, uniform: Callable[[], float]
) -> tuple[list[int], list[Floats | None]]:
    """Draws different tokens, and gives the distribution each was drawn from.

    Args:
        ranking: at least `count` different tokens; where the distribution has fewer tokens than wanted, those of these
            that were not drawn follow, proposed for certain.
    """
    tokens: list[int] = []
    distributions: list[Floats | None] = []
    left = distribution
    while len(tokens) < count:
        token = sample(left, uniform())
        tokens.append(token)
        distributions.append(left)
        left = left.copy()
        left[token] = 0.0
        mass = left.sum(dtype=np.float64)
        if mass <= 0.0:
            break
        left /= np.float32(mass)
    rest = [int(token) for token in ranking if token not in tokens][: count - len(tokens)]
    return tokens + rest, distributions + [None] * len(rest)


def _filter(weights: Floats, params: SamplingParams) -> None:
    """Sets the dropped tokens to 0: min-p, then top-k, then top-p of what is left; ties fall to lower ids."""
    kept, left = None, weights
    if params.min_p > 0.0:
        kept = np.flatnonzero(weights >= params.min_p * weights.max())
        left = weights[kept]
    if 0 < params.top_k < len(left):
        least = np.partition(left, -params.top_k)[-params.top_k]
        kept, left = _those(left >= least, kept, left)
        kept, left = _those(np.argsort(-left, kind="stable")[: params.top_k], kept, left)
    if params.top_p < 1.0:
        total = left.sum(dtype=np.float64)
        # All tokens below this bound together weigh less than what top-p drops, so none of them is in its set.
        kept, left = _those(left >= (1.0 - params.top_p) * total / len(weights), kept, left)
        kept, left = _those(np.argsort(-left, kind="stable"), kept, left)
        before = np.cumsum(left, dtype=np.float64) - left
        # The sum only grows, so those that stay stand together at the beginning.
        most = int(np.searchsorted(before, params.top_p * total))
        kept, left = kept[:most], left[:most]
    if kept is not None:
        weights[:] = 0.0
        weights[kept] = left


def _those(
    chosen: NDArray[np.bool_] | NDArray[np.intp], kept: NDArray[np.intp] | None, left: Floats
) -> tuple[NDArray[np.intp], Floats]:
    """Token ids and weights of the chosen ones of those kept so far; None stands for all."""
    if chosen.dtype == np.bool_:
        chosen = np.flatnonzero(chosen)
    return (chosen.astype(np.intp, copy=False) if kept is None else kept[chosen]), left[chosen]
