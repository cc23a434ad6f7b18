"""What the counters of a window say about its decode steps."""

from __future__ import annotations

from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.engines.reading import tokens_per_step
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Finding


def describe_steps(reading: CounterReading) -> list[Finding]:
    """What the counters say about steps: undrafted ones, drafts of varying length, tokens cut off after the end."""
    counts, traffic = reading.counts, reading.traffic
    if counts is None or not counts.num_drafts:
        return []
    findings: list[Finding] = []
    drafts, steps = counts.num_drafts, traffic.decode_steps
    if steps is not None and steps > drafts:
        length = counts.acceptance_length or 0.0
        emitted = tokens_per_step(traffic)
        findings.append(
            Finding(
                code="steps_without_drafts",
                severity="info",
                message=f"{steps - drafts} of {steps} decode steps carried no draft and are not in AL: AL "
                f"{length:.2f}, but {emitted:.2f} tokens per step; compare tokens per step across drafters."
                if emitted is not None
                else f"{steps - drafts} of {steps} decode steps carried no draft and are not in AL ({length:.2f}).",
                numbers={"decode_steps": steps, "num_drafts": drafts, "tokens_per_step": emitted},
            )
        )
    positions = len(counts.accepted_per_position or ())
    if counts.num_draft_tokens is not None and positions and counts.num_draft_tokens < drafts * positions:
        findings.append(
            Finding(
                code="variable_draft_length",
                severity="info",
                message=f"{counts.num_draft_tokens} tokens were drafted in {drafts} steps of up to {positions}: drafts "
                "vary in length, so a conditional rate counts steps that never drafted its position as rejections.",
                numbers={
                    "num_draft_tokens": counts.num_draft_tokens,
                    "num_drafts": drafts,
                    "longest_draft": positions,
                },
            )
        )
    cut_off = tokens_cut_off(reading)
    if cut_off:
        findings.append(
            Finding(
                code="tokens_cut_off",
                severity="info",
                message=f"{number_of(cut_off, 'accepted token', 'were')} cut off after a stop or at max_tokens, but "
                f"the engine counts them as accepted: without them AL would be {cut_off / drafts:.3f} lower.",
                numbers={"tokens_cut_off": cut_off, "num_drafts": drafts},
            )
        )
    return findings


def tokens_cut_off(reading: CounterReading) -> int | None:
    """Accepted tokens that never reached a client; None where the server does not say.

    From generation tokens = first tokens + decode steps + accepted - cut off.
    """
    traffic = reading.traffic
    if (
        reading.counts is None
        or traffic.generation_tokens is None
        or traffic.first_tokens is None
        or traffic.decode_steps is None
    ):
        return None
    emitted = traffic.first_tokens + traffic.decode_steps + reading.counts.num_accepted_tokens
    return emitted - traffic.generation_tokens
