"""The answers of a run beside those of its baseline: greedy ones text by text, sampled ones by their distribution."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.comparison import Comparison
from nemo_skills_specdec.compare.losslessness import Losslessness, losslessness
from nemo_skills_specdec.compare.repeats import RunGroup
from nemo_skills_specdec.compare.sampled_outputs import SampledOutputs, compare_samples
from nemo_skills_specdec.measurement.run import Run
from nemo_skills_specdec.records import Finding

SIGNIFICANCE = 0.01
"""At most: to say of a server that it changes answers takes more than to say that it is faster."""


def with_outputs(comparison: Comparison, baseline: RunGroup, run: RunGroup, itself: Sequence[Run] = ()) -> Comparison:
    """Adds what the answers tell.

    Args:
        itself: further runs of the baseline; without any, its own second repeat serves.
    """
    request = run.runs[0].manifest.arguments.get("request") or {}
    significance = min(comparison.significance, SIGNIFICANCE)
    if request.get("temperature"):
        samples = compare_samples(
            [one.rows for one in [*baseline.runs, *itself]], [one.rows for one in run.runs], significance=significance
        )
        findings = [*comparison.findings, *_findings(samples)]
        return msgspec.structs.replace(comparison, samples=samples, findings=findings)
    again = [*itself, *baseline.runs[1:]]
    outputs = losslessness(
        baseline.runs[0].rows, run.runs[0].rows, again[0].rows if again else None, significance=significance
    )
    findings = [*comparison.findings, *outputs.findings]
    return msgspec.structs.replace(comparison, outputs=outputs, findings=findings)


def changed(comparison: Comparison) -> bool:
    """Whether the answers were shown to be others than the baseline's."""
    outputs, samples = comparison.outputs, comparison.samples
    greedy = outputs is not None and outputs.verdict == "more different than the baseline from itself"
    return greedy or (samples is not None and samples.different)


def outputs_text(comparison: Comparison) -> list[str]:
    """What to say about the answers."""
    lines = _greedy_text(comparison.outputs) if comparison.outputs is not None else []
    return [*lines, _sampled_text(comparison.samples)] if comparison.samples is not None else lines


def _greedy_text(found: Losslessness) -> list[str]:
    itself = f", of the baseline with itself {found.itself.identical:.1%}" if found.itself is not None else ""
    lines = [f"greedy answers: {found.run.identical:.1%} of {found.run.prompts} prompts identical{itself}"]
    if found.run.positions is not None:
        low, middle, high = found.run.positions
        lines.append(
            f"first difference at {found.run.unit} {low}, {middle}, {high} (10th, 50th, 90th percentile); "
            f"{found.run.near_ties} near-ties, {found.run.real_changes} real changes"
        )
    if found.p_value is not None:
        lines.append(
            f"earlier than the baseline itself in {found.earlier} prompts, later in {found.later} "
            f"(p = {found.p_value:.3g}; {found.needed} earlier and none later would show a change)"
        )
    return [*lines, f"verdict on the answers: {found.verdict}"]


def _sampled_text(found: SampledOutputs) -> str:
    verdict = "another distribution" if found.different else "no difference found"
    power = "not even half of all tokens replaced would have been noticed"
    if found.detectable is not None:
        power = f"{found.detectable:.0%} of tokens replaced at random would have been noticed"
    if found.detectable_nats is not None:
        power += f", or {found.detectable_nats:.3f} nats of mean log-probability"
    return f"sampled answers: {verdict} in {found.answers} answers (p = {found.p_value:.3g}); {power}"


def _findings(samples: SampledOutputs | None) -> list[Finding]:
    if samples is None:
        return [
            Finding(
                code="outputs_untested",
                severity="warning",
                message="Sampled answers are compared by their distribution, which needs two or more runs of each "
                "side, with different seeds.",
            )
        ]
    if not samples.different:
        return []
    return [
        Finding(
            code="output_distribution_changed",
            severity="invalid",
            message=f"Sampled answers do not come from the baseline's distribution (p = {samples.p_value:.2g}).",
            numbers={"p_value": samples.p_value, "answers": samples.answers},
        )
    ]
