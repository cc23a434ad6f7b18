"""Advice in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.compare.advice import Advice
from nemo_skills_specdec.compare.best_length import INDIFFERENT, BestLength
from nemo_skills_specdec.compare.paying_load import LoadSpeedup, PayingLoad

MILLI = 1000.0


def step_text(advice: Advice) -> str:
    """What a step costs, or why that is not known."""
    if advice.step is None:
        return f"no step time: {advice.step_reason}"
    step = advice.step
    residual = "" if step.worst_residual is None else f", off by at most {step.worst_residual:.1%} where measured"
    share = step.per_draft_token / step.fixed if step.fixed > 0 else None
    told = "" if share is None or share <= 0 else f" (a draft token costs {share:.1%} of a step)"
    sign = "-" if step.per_draft_token < 0 else "+"
    each = abs(step.per_draft_token) * MILLI
    return f"step time t(k) = {step.fixed * MILLI:.3f} {sign} {each:.3f} k ms{told}{residual}"


def forecast_texts(advice: Advice) -> list[str]:
    """How well AL of a shorter draft is forecast by a longer one."""
    return [
        f"AL at {one.draft_length} forecast from {one.forecast_from}: {one.forecast:.3f}, measured {one.measured:.3f} "
        f"({one.forecast / one.measured - 1:+.1%})"
        for one in advice.forecasts
    ]


def conclusion_text(advice: Advice) -> list[str]:
    """The best draft length, never without its range, and how sure that is."""
    best = advice.best
    if best is None:
        return []
    edge = "; it is the longest one known, a longer one may be better" if best.at_edge else ""
    lines = [f"predicted best draft length: {best.draft_length}; {_as_good(best)}{edge}"]
    if advice.possible is not None:
        low, high = advice.possible
        kind = "measured" if advice.noise.freedom else "assumed"
        span = f"only {low}" if low == high else f"any from {low} to {high}"
        noise = f"{advice.noise.deviation:.1%} of noise from run to run ({kind})"
        lines.append(f"with these prompts and {noise}, {span} may be the best")
    gain = next((one.speedup for one in advice.predictions if one.draft_length == best.draft_length), None)
    if gain is not None and gain <= 1:
        lines.append("at this load speculation is predicted not to pay, whatever the draft length")
    return lines


def leviathan_text(advice: Advice) -> str:
    """Alpha and cost, as papers quote them."""
    found = advice.leviathan
    if found is None:
        return ""
    text = f"as in papers: alpha {found.alpha:.3f}"
    if found.cost is None or found.best_draft_length is None or found.speedup is None:
        return text
    best = f"{found.best_draft_length} ({found.speedup:.2f}x)"
    return f"{text}, cost {found.cost:.3f}; that model's best draft length is {best}"


def paying_text(paying: PayingLoad, speedups: Sequence[LoadSpeedup]) -> str:
    """Where speculation pays."""
    told = ", ".join(f"{one.ratio:.2f}x at {one.concurrency}" for one in speedups)
    if paying.crossing is None:
        text = f"speculation pays {paying.paying} ({told})"
    elif paying.paying == "up to a load":
        text = f"speculation stops paying at a concurrency of about {paying.crossing:.0f} ({told})"
    else:
        text = f"speculation pays from a concurrency of about {paying.crossing:.0f} on ({told})"
    sure = f"surely up to {paying.surely_below}" if paying.surely_below else "surely at no load"
    return f"{text}; {sure}" + (f", surely not from {paying.surely_above} on" if paying.surely_above else "")


def _as_good(best: BestLength) -> str:
    if best.low == best.high:
        return f"no other is within {INDIFFERENT:.0%}"
    return f"{best.low} to {best.high} are within {INDIFFERENT:.0%}"
