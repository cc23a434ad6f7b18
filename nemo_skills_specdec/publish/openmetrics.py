"""A finished run as OpenMetrics text, every sample with the time at which the run ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from nemo_skills_specdec.publish.figures import FlatRun

_LABELS = ("benchmark", "engine", "model", "method", "draft_length")
_HELP = {
    "acceptance_length": "1 + accepted tokens / verification steps, pooled.",
    "acceptance_rate": "Accepted / draft tokens, as a fraction.",
    "num_accepted_tokens": "Draft tokens accepted, without the bonus token.",
    "num_draft_tokens": "Draft tokens proposed.",
    "num_drafts": "Verification steps with at least one draft token.",
    "tokens_per_step": "Tokens per decode step, steps without drafts included.",
}


def to_openmetrics(run: FlatRun) -> str:
    """The text, which `promtool tsdb create-blocks-from openmetrics` brings into a Prometheus.

    Figures of the whole run are `specdec_run_<figure>`, those of its categories `specdec_run_category_<figure>`, so
    that no sum counts anything twice.
    """
    labels = {"run": run.name, **{name: str(run.settings[name]) for name in _LABELS if name in run.settings}}
    at = f"{datetime.fromisoformat(run.ended_at).timestamp():.3f}"
    lines = list(_gauge("specdec_run_valid", "Whether the figures may be used.", [(labels, float(run.valid))], at))
    for name, value in run.figures.items():
        lines += _gauge(f"specdec_run_{name}", _HELP.get(name, ""), [(labels, value)], at)
    names = dict.fromkeys(name for figures in run.categories.values() for name in figures)
    for name in names:
        samples = [
            ({**labels, "category": category}, figures[name])
            for category, figures in run.categories.items()
            if name in figures
        ]
        lines += _gauge(f"specdec_run_category_{name}", _HELP.get(name, ""), samples, at)
    return "\n".join([*lines, "# EOF"]) + "\n"


def _gauge(name: str, about: str, samples: list[tuple[dict[str, str], float]], at: str) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    # A unit must end the name that it is of.
    if name.endswith("_seconds"):
        yield f"# UNIT {name} seconds"
    if about:
        yield f"# HELP {name} {about}"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{told}}} {float(value)!r} {at}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
