"""`acceptance_analysis.txt`: the figures of a log in the form known from speculators' evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.logs.figures import LogAcceptance


def acceptance_analysis_text(acceptance: LogAcceptance) -> str:
    """Total samples are log intervals; rates are weighted by drafted tokens, conditional ones are ratios of these.

    Values that are not known are `n/a`: a conditional rate after a 0, everything per position before vLLM 0.8.5.
    """
    drafted, samples = acceptance.num_draft_tokens, acceptance.num_intervals
    return "\n".join(
        [
            f"Total samples: {samples}",
            f"Total drafted tokens: {drafted}",
            f"Average drafted tokens: {drafted / samples:.2f}",
            f"Weighted acceptance rates: {vector(acceptance.drafted_weighted_rates)}",
            f"Conditional acceptance rates: {vector(acceptance.drafted_weighted_conditional_rates)}",
            "",
        ]
    )


def vector(values: Sequence[float | None] | None, digits: int = 4) -> str:
    """Rates as `[0.6940, 0.5755]`."""
    if values is None:
        return "n/a"
    return "[" + ", ".join("n/a" if value is None else f"{value:.{digits}f}" for value in values) + "]"
