"""Findings that more than one engine's reader makes."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.engines.base import Samples
from nemo_skills_specdec.engines.prometheus import gauge_values
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding, Numbers


def identity_broken(error: IdentityError, numbers: Numbers) -> Finding:
    """The finding for a server's numbers that contradict each other; its numbers are the raw ones."""
    return Finding(
        code="identity_broken",
        severity="invalid",
        message=f"the server's counters contradict each other: {error}; no rate is computed. Measure again with "
        "nothing else running, and report it to the server's project if it stays",
        numbers=numbers,
    )


def several_models(after: Sequence[Samples], name: str) -> list[Finding]:
    """A finding if the endpoints serve more than one model, whose counts are then added up."""
    models = sorted({dict(labels).get("model_name", "") for labels, _ in gauge_values(after, name)})
    if len(models) < 2:
        return []
    return [
        Finding(
            code="several_models",
            severity="warning",
            message=f"the metrics hold {len(models)} models ({', '.join(models)}), whose counts are added up; "
            "give only the metrics URLs of the model that is measured",
            numbers={"models": ", ".join(models)},
        )
    ]


def speculation_off(engine: str, evidence: str, cure: str) -> Finding:
    """The finding for a server that does not speculate: acceptance is undefined then, neither 0 nor 1."""
    return Finding(
        code="speculation_off",
        severity="warning",
        message=f"{engine} runs without speculative decoding ({evidence}): acceptance is undefined; {cure}",
    )
