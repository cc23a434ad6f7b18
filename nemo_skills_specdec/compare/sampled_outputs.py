"""Whether sampled answers (temperature above 0) still come from the baseline's distribution: a two-sample test.

Each prompt was answered several times by both sides, with other seeds. If speculation is lossless, the two sides'
answers to a prompt are interchangeable, so permuting which side an answer belongs to, within each prompt, gives the
distribution of any statistic under that hypothesis: the level of the test is exact, whatever the answers look like.

Statistics, corrected for each other by Holm:

    within    an answer is its relative frequencies of tokens, of pairs of tokens and of the way it ended, hashed into
              `BUCKETS`; squared distance of the two sides' means within each prompt, summed over prompts
    overall   the same over all prompts, which sees a small change that all prompts share
    surprise  where log-probabilities are stored: difference of the mean log-probability of a token, and of the share
              of tokens that the model itself gave less than exp(-`UNLIKELY`). A token that was accepted wrongly is one
              that the target found unlikely, so these see what frequencies of tokens do not
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.compare.holm import holm
from nemo_skills_specdec.compare.pairing import pair
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.statistics.student_t import two_sided_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BUCKETS = 1024
UNLIKELY = 4.0
"""Nats."""
PERMUTATIONS = 999
_TRIALS = 20
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_FOUND = 0.8


class SampledOutputs(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of the test.

    Attributes:
        answers: of both sides together.
        p_value: the smallest, corrected.
        detectable: smallest share of tokens that, replaced by others drawn at random from all answers, the test finds
            by frequencies in at least 80 % of 20 trials on these answers: its power. None if not even half of them.
        detectable_nats: change of the mean log-probability of a token that is found with a probability of 80 %; None
            where log-probabilities are not stored.
    """

    prompts: int
    answers: int
    p_value: float
    detectable: float | None
    detectable_nats: float | None
    different: bool


def compare_samples(
    baseline: Sequence[Sequence[OutputRow]],
    run: Sequence[Sequence[OutputRow]],
    *,
    significance: float = 0.01,
    seed: int = 0,
    with_power: bool = True,
) -> SampledOutputs | None:
    """Tests whether first turns come from one distribution.

    Args:
        baseline: the rows of each repeat, all with other seeds.
        run: likewise.

    Returns:
        None for fewer than two repeats on either side, or no prompt that all answered.
    """
    import numpy as np

    pairs = pair([*baseline, *run])
    if len(baseline) < 2 or len(run) < 2 or not pairs.prompts:
        return None
    answers = [[tokens_of(rows[n]) for rows in pairs.rows] for n in range(pairs.prompts)]
    surprises = [[_surprise(rows[n]) for rows in pairs.rows] for n in range(pairs.prompts)]
    told = all(one is not None for members in surprises for one in members)
    rng = np.random.default_rng(seed)
    scores = np.array(surprises, dtype=np.float64) if told else np.zeros((pairs.prompts, len(pairs.rows), 0))
    p_value = _p_value(_features(answers), scores, len(baseline), rng)
    detectable = None
    if with_power:
        detectable = _detectable(answers, len(baseline), significance, rng)
    return SampledOutputs(
        prompts=pairs.prompts,
        answers=pairs.prompts * len(pairs.rows),
        p_value=p_value,
        detectable=detectable,
        detectable_nats=_detectable_nats(scores, len(baseline), significance) if told else None,
        different=p_value < significance,
    )


def tokens_of(row: OutputRow) -> list[str]:
    """The tokens of the first turn's answer and how it ended; words and signs where tokens were not stored."""
    record = min(row.requests, key=lambda request: request.turn)
    if record.logprobs is not None:
        tokens = [token.token for token in record.logprobs]
    else:
        tokens = re.findall(r"\w+|[^\w\s]", (record.reasoning or "") + record.generation)
    return [*tokens, f"<{record.finish_reason}>"]


def _surprise(row: OutputRow) -> tuple[float, float] | None:
    """Mean log-probability of the first turn's tokens, and the share of unlikely ones; None where not stored."""
    tokens = min(row.requests, key=lambda request: request.turn).logprobs
    if not tokens:
        return None
    unlikely = sum(token.logprob < -UNLIKELY for token in tokens)
    return sum(token.logprob for token in tokens) / len(tokens), unlikely / len(tokens)


def _features(answers: Sequence[Sequence[Sequence[str]]]) -> Array:
    """Of shape (prompts, answers, 2 x BUCKETS): relative frequencies of tokens and of pairs."""
    import numpy as np

    table = np.zeros((len(answers), len(answers[0]), 2 * BUCKETS))
    for prompt, members in enumerate(answers):
        for number, tokens in enumerate(members):
            keys = [zlib.crc32(token.encode(errors="surrogatepass")) for token in tokens]
            for key in keys:
                table[prompt, number, key % BUCKETS] += 1 / len(tokens)
            for first, second in pairwise(keys):
                table[prompt, number, BUCKETS + (first * 31 + second) % BUCKETS] += 1 / len(tokens)
    return table


def _p_value(features: Array, scores: Array, baselines: int, rng: np.random.Generator) -> float:
    """The smallest of the tests' p-values, corrected by Holm.

    Args:
        features: of shape (prompts, answers, features).
        scores: of shape (prompts, answers, scores); each is a test of its own.
    """
    import numpy as np

    prompts, answers, _ = features.shape
    runs = answers - baselines
    weights = np.tile(np.r_[np.full(baselines, -1 / baselines), np.full(runs, 1 / runs)], (prompts, 1))
    gram = np.einsum("paf,pbf->pab", features, features)
    flat = features.reshape(prompts * answers, -1)

    def statistics(drawn: Array) -> Array:
        within = np.einsum("npa,pab,npb->n", drawn, gram, drawn, optimize=True)
        overall = ((drawn.reshape(len(drawn), -1) @ flat) ** 2).sum(axis=1)
        each = np.einsum("npa,pas->sn", drawn, scores) ** 2
        return np.vstack([within, overall, each])

    observed = statistics(weights[None])[:, 0]
    permuted = statistics(rng.permuted(np.broadcast_to(weights, (PERMUTATIONS, prompts, answers)), axis=2))
    # A permutation that changes nothing must count as one that is as large, though it was summed in another order.
    at_least = permuted >= observed[:, None] * (1 - 1e-9)
    p_values = (1 + at_least.sum(axis=1)) / (1 + PERMUTATIONS)
    return min(holm([float(p) for p in p_values]))


def _detectable(
    answers: Sequence[Sequence[Sequence[str]]], baselines: int, significance: float, rng: np.random.Generator
) -> float | None:
    """Replaces tokens of the second side, the two sides' true answers mixed first, until the test notices."""
    import numpy as np

    pool = [token for members in answers for tokens in members for token in tokens[:-1]]
    if not pool:
        return None
    nothing = np.zeros((len(answers), len(answers[0]), 0))
    for share in _SHARES:
        missed = 0
        for _ in range(_TRIALS):
            if missed > (1 - _FOUND) * _TRIALS:
                break
            changed = []
            for members in answers:
                mixed = [members[n] for n in rng.permutation(len(members))]
                second = [_with_replaced(tokens, share, pool, rng) for tokens in mixed[baselines:]]
                changed.append([*mixed[:baselines], *second])
            missed += _p_value(_features(changed), nothing, baselines, rng) >= significance
        if missed <= (1 - _FOUND) * _TRIALS:
            return share
    return None


def _detectable_nats(scores: Array, baselines: int, significance: float) -> float:
    """From the spread of the mean log-probability within prompts; the strictest step of Holm's four."""

    prompts, answers, _ = scores.shape
    variance = float(scores[:, :, 0].var(axis=1, ddof=1).mean())
    error = math.sqrt(variance * (1 / baselines + 1 / (answers - baselines)) / prompts)
    return float(error) * (two_sided_quantile(significance / 4, math.inf) + NormalDist().inv_cdf(_FOUND))


def _with_replaced(tokens: Sequence[str], share: float, pool: Sequence[str], rng: np.random.Generator) -> list[str]:
    chosen = rng.random(len(tokens) - 1) < share
    others = rng.integers(len(pool), size=len(tokens) - 1)
    body = [pool[o] if c else token for token, c, o in zip(tokens[:-1], chosen, others, strict=True)]
    return [*body, tokens[-1]]
