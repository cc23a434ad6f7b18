"""Which draft lengths may be the best, given how little is known: a simulation of both kinds of noise.

Prompts are resampled, the same in all runs, and every configuration's step time is multiplied by noise from run to run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.compare.draft_length import lengths_of, positions_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DRAWS = 2000
WINS = 0.05
"""Share of draws that a draft length must win to count as possibly the best."""


class RunNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Relative standard deviation of a run's time per token.

    Attributes:
        freedom: degrees of freedom it was measured with; None where it was assumed.
    """

    deviation: float
    freedom: int | None = None


class TimedLength(msgspec.Struct, frozen=True, kw_only=True):
    """What one measured draft length gives by prompt.

    Attributes:
        counts: by prompt.
        decoding: of shape (prompts, 2): tokens after the first, and the seconds they took, mean over repeats.
    """

    counts: list[AcceptanceCounts]
    decoding: Array
    runs: int


def possible_lengths(
    measured: Mapping[int, TimedLength], noise: RunNoise, *, kept: float = 1.0, seed: int = 0
) -> tuple[int, int] | None:
    """From the shortest to the longest draft that wins in at least `WINS` of the draws; None for one draft length.

    Args:
        measured: by draft length, all on the same prompts; AL(k) is taken from the shortest that is at least k.
        kept: tokens per step over AL.
    """
    import numpy as np

    if len(measured) < 2:
        return None
    rng = np.random.default_rng(seed)
    prompts = len(measured[max(measured)].counts)
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), DRAWS).astype(np.float64)
    curves = np.ones((DRAWS, 0))
    spread = np.full(DRAWS, noise.deviation)
    if noise.freedom is not None:
        # A few repeats do not know their own spread well.
        spread = noise.deviation * np.sqrt(noise.freedom / rng.chisquare(noise.freedom, DRAWS))
    steps = []
    for _, one in sorted(measured.items()):
        spent = weights @ one.decoding
        counted = weights @ positions_table(one.counts)
        curve = lengths_of(counted)
        curves = np.hstack([curves, curve[:, curves.shape[1] :]])
        length = curve[:, -1]
        shift = np.exp(rng.standard_normal(DRAWS) * spread / math.sqrt(one.runs))
        steps.append(spent[:, 1] / spent[:, 0] * length * kept * shift)
    fixed, slope = _lines(
        np.array(sorted(measured), dtype=np.float64),
        np.array(steps),
        np.array([measured[k].runs for k in sorted(measured)], dtype=np.float64),
    )
    ks = np.arange(1, curves.shape[1] + 1)
    tpot = (fixed[:, None] + slope[:, None] * ks) / (kept * curves)
    # A line through noise may fall below zero; such a draw says nothing.
    sensible = (tpot > 0).all(axis=1)
    wins = np.bincount(np.argmin(tpot[sensible], axis=1), minlength=len(ks)) / max(int(sensible.sum()), 1)
    often = ks[wins >= WINS]
    return (int(often.min()), int(often.max())) if len(often) else None


def _lines(ks: Array, steps: Array, weights: Array) -> tuple[Array, Array]:
    """Least squares of every draw; steps of shape (lengths, draws)."""
    mean_k = (weights * ks).sum() / weights.sum()
    mean_t = (weights[:, None] * steps).sum(axis=0) / weights.sum()
    slope = (weights[:, None] * (ks - mean_k)[:, None] * (steps - mean_t)).sum(axis=0)
    slope = slope / (weights * (ks - mean_k) ** 2).sum()
    return mean_t - slope * mean_k, slope
