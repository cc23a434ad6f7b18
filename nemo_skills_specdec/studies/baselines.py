"""Which run a speed may be compared with: the study's own, without speculation, and else equal in everything."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.studies.study import FoundRun

SGLANG_RUNNING_REQUESTS = 48
"""SGLang lowers `max_running_requests` to this when it speculates, unless told a number; without speculation not."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline of a run, or why there is none that it may be compared with."""

    run: FoundRun | None = None
    reason: str | None = None


def baseline_of(run: FoundRun, finished: Sequence[FoundRun]) -> Baseline:
    """The baseline among the finished runs of the same study.

    It must be of the same model on the same server, with the same prompts (by their hashes), sampling and load. Of
    several repetitions the one with the same number is taken, else the first.
    """
    if run.config.method.name == "none":
        return Baseline(reason="it is a baseline itself")
    candidates = [
        other
        for other in finished
        if other.config.method.name == "none"
        and other.config.model == run.config.model
        and other.config.server.engine == run.config.server.engine
    ]
    if not candidates:
        return Baseline(reason="the study has no run of this model on this engine without speculation")
    candidates.sort(key=lambda other: (other.config.repeat != run.config.repeat, other.config.repeat))
    differing = [differences(other, run) for other in candidates]
    closest = min(range(len(candidates)), key=lambda number: len(differing[number]))
    if differing[closest]:
        return Baseline(reason=f"the baseline differs in {'; '.join(differing[closest])}")
    return Baseline(run=candidates[closest])


def differences(baseline: FoundRun, run: FoundRun) -> list[str]:
    """What stands in the way of comparing two runs; empty if nothing does."""
    a, b = baseline.config, run.config
    found = [
        *_differing("server", a.server, b.server, but=("port", "ready_timeout_seconds", "url", "metrics_urls")),
        *_differing("sampling", a.sampling, b.sampling),
        *_differing("load", a.load, b.load, but=("timeout_seconds",)),
    ]
    before, after = baseline.manifest, run.manifest
    if before is not None and after is not None:
        if before.prompts_sha256 != after.prompts_sha256:
            common = len(before.prompts_sha256.items() & after.prompts_sha256.items())
            found.append(f"prompts ({len(before.prompts_sha256)} and {len(after.prompts_sha256)}, {common} in common)")
        windows = (before.arguments.get("windows"), after.arguments.get("windows"))
        if windows[0] != windows[1]:
            found.append(f"windows ({windows[0]} and {windows[1]}); give by_category, true or false, for both")
        if before.server.version != after.server.version:
            found.append(f"engine version ({before.server.version} and {after.server.version})")
    in_flight = b.load.in_flight
    if (
        b.server.engine == "sglang"
        and b.server.max_num_seqs is None
        and (in_flight is None or in_flight > SGLANG_RUNNING_REQUESTS)
    ):
        found.append(
            f"running requests: SGLang allows {SGLANG_RUNNING_REQUESTS} with speculation and more without; "
            "give max_num_seqs"
        )
    for name, other in (("baseline", baseline), ("run", run)):
        if other.evaluation is not None and not other.evaluation.valid:
            codes = [f.code for f in other.evaluation.overall.acceptance.findings if f.severity == "invalid"]
            found.append(f"validity: the {name} is invalid ({', '.join(codes)})")
    return found


def _differing(part: str, a: msgspec.Struct, b: msgspec.Struct, *, but: Sequence[str] = ()) -> list[str]:
    return [
        f"{part}.{name} ({getattr(a, name)} and {getattr(b, name)})"
        for name in a.__struct_fields__
        if name not in but and getattr(a, name) != getattr(b, name)
    ]
