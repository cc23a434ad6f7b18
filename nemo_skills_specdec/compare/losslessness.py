"""Whether greedy answers are still the baseline's: no more different from it than it is from itself.

Rounding alone changes answers: on a GPU, at concurrency 8, only 84 to 93 % of a server's greedy answers equal those it
gave before. So the measure is a second run of the baseline. For each prompt it is asked which of the two, the run or
the second baseline, left the first baseline's answer earlier. If speculation changes nothing, either is as likely,
whatever the prompt; the sign test counts the prompts where one did and is exact.

A baseline that decodes one token at a time may well repeat itself to the letter, while verification, a pass over
several tokens, rounds otherwise. So where log-probabilities tell near-ties from real changes, prompts that the run left
at a near-tie alone show no change: the test is made again without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from nemo_skills_specdec.compare.divergence import NEAR_TIE, Divergence, agreement
from nemo_skills_specdec.compare.pairing import pair
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.records import Finding

OutputVerdict = Literal[
    "identical",
    "no more different than the baseline from itself",
    "more different than the baseline from itself, but at near-ties",
    "more different than the baseline from itself",
    "undecided",
]


class Agreements(msgspec.Struct, frozen=True, kw_only=True):
    """How far answers agree with the baseline's.

    Attributes:
        identical: share of prompts all of whose answers are the same.
        positions: of the answers that differ, the 10th, 50th and 90th percentile of the place of the first difference.
        divergences: every first difference, the earliest first.
    """

    prompts: int
    identical: float
    positions: tuple[int, int, int] | None
    unit: str | None
    near_ties: int
    real_changes: int
    divergences: list[Divergence]


class Losslessness(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of a run beside those of the baseline.

    Attributes:
        itself: the second baseline beside the first; None without one.
        earlier: prompts where the run left the baseline's answer and the second baseline did not, or did so later.
        later: prompts where it was the other way round.
        earlier_at_near_ties: of the earlier ones, those that differ first at a near-tie.
        p_value: one-sided, of so many or more earlier ones by chance.
        needed: earlier ones, out of none later, from which the test would say so: its power.
    """

    run: Agreements
    itself: Agreements | None
    earlier: int
    later: int
    earlier_at_near_ties: int = 0
    p_value: float | None
    needed: int
    verdict: OutputVerdict
    findings: list[Finding] = []


def losslessness(
    baseline: Sequence[OutputRow],
    run: Sequence[OutputRow],
    itself: Sequence[OutputRow] | None = None,
    *,
    significance: float = 0.01,
) -> Losslessness:
    """Compares greedy answers prompt by prompt.

    Args:
        itself: the rows of a second run of the baseline.
    """
    pairs = pair([baseline, run] if itself is None else [baseline, run, itself])
    first, second = pairs.rows[0], pairs.rows[1]
    own = [agreement(a, b) for a, b in zip(first, second, strict=True)]
    others = [agreement(a, b) for a, b in zip(first, pairs.rows[2], strict=True)] if itself is not None else None
    summary = _summary([one.divergence for one in own])
    again = _summary([one.divergence for one in others]) if others is not None else None
    earlier = later = ties = 0
    for mine, its in zip(own, others or [], strict=False):
        places = [math.inf if one.divergence is None else one.length for one in (mine, its)]
        earlier += places[0] < places[1]
        later += places[0] > places[1]
        ties += places[0] < places[1] and mine.divergence is not None and mine.divergence.kind == "near-tie"
    p_value = sign_test(earlier, later) if others is not None else None
    verdict: OutputVerdict = "undecided"
    if not summary.divergences and summary.prompts:
        verdict = "identical"
    elif p_value is not None and p_value < significance:
        verdict = "more different than the baseline from itself"
        if sign_test(earlier - ties, later) >= significance:
            verdict = "more different than the baseline from itself, but at near-ties"
    elif p_value is not None:
        verdict = "no more different than the baseline from itself"
    found = Losslessness(
        run=summary,
        itself=again,
        earlier=earlier,
        later=later,
        earlier_at_near_ties=ties,
        p_value=p_value,
        needed=math.floor(math.log2(1 / significance)) + 1,
        verdict=verdict,
    )
    return msgspec.structs.replace(found, findings=_findings(found))


def sign_test(more: int, fewer: int) -> float:
    """Probability of `more` or more out of both, if either were as likely; 1 for none at all."""
    total = more + fewer
    ways = sum(math.comb(total, k) for k in range(more, total + 1))
    return float(Fraction(ways, 2**total))


def _summary(divergences: Sequence[Divergence | None]) -> Agreements:
    found = sorted((one for one in divergences if one is not None), key=lambda one: (one.turn, one.position))
    places = sorted(one.position for one in found)
    quantiles = tuple(places[min(int(q * len(places)), len(places) - 1)] for q in (0.1, 0.5, 0.9)) if places else None
    prompts = len(divergences)
    return Agreements(
        prompts=prompts,
        identical=(prompts - len(found)) / prompts if prompts else 0.0,
        positions=(quantiles[0], quantiles[1], quantiles[2]) if quantiles else None,
        unit=found[0].unit if found else None,
        near_ties=sum(one.kind == "near-tie" for one in found),
        real_changes=sum(one.kind == "real change" for one in found),
        divergences=found,
    )


def _findings(found: Losslessness) -> list[Finding]:
    run, differing = found.run, len(found.run.divergences)
    if found.verdict == "more different than the baseline from itself":
        return [
            Finding(
                code="outputs_changed",
                severity="invalid",
                message=f"{found.earlier} prompts left the baseline's answer earlier than the baseline itself did, "
                f"{found.later} later (p = {found.p_value:.2g}), so this speculation changes outputs.",
                numbers={"earlier": found.earlier, "later": found.later, "p_value": found.p_value},
            )
        ]
    if found.verdict == "more different than the baseline from itself, but at near-ties":
        return [
            Finding(
                code="outputs_differ_at_near_ties",
                severity="warning",
                message=f"{found.earlier} prompts left the baseline's answer earlier than the baseline itself did, "
                f"{found.later} later, but {found.earlier_at_near_ties} of them between tokens that the baseline found "
                f"about as probable (within {NEAR_TIE} nats), which rounding alone does; the others show no change.",
                numbers={
                    "earlier": found.earlier,
                    "later": found.later,
                    "earlier_at_near_ties": found.earlier_at_near_ties,
                },
            )
        ]
    if found.verdict == "undecided" and differing:
        real = f"; {run.real_changes} are not near-ties" if run.real_changes else ""
        return [
            Finding(
                code="outputs_undecided",
                severity="warning",
                message=f"{differing} of {run.prompts} prompts have another answer{real}, but rounding changes "
                "answers too; give a second run of the baseline with --self.",
                numbers={"different": differing, "prompts": run.prompts, "real_changes": run.real_changes},
            )
        ]
    return []
