"""Findings that more than one engine's reader makes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.engines.base import CounterReading, EngineFacts
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import Finding, Numbers

ENGINE_SPECIFIC = frozenset({"standalone_first_token", "sglang_ngram", "ngram_in_every_step"})
"""Findings that say what an engine counts or drafts otherwise than others: they matter where engines are compared."""
REMEMBERS = "ngram_remembers"
"""Code of the finding for a drafter that has seen prompts before; of no concern once its cache was flushed."""

UNCHECKED = Finding(
    code="tls_unchecked",
    severity="warning",
    message="The server's certificate was not checked (--insecure), so whoever stands in between could read the API "
    "key and change the answers; give the certificates to trust with --ca-file.",
)

_MODEL_LABELS = ("model_name", "model")

SERVER_LABELS = ("server", "instance", "pod", "backend", "replica", "WorkerId", "worker_id")
"""What exporters and routers add to tell servers apart; an engine itself has none of them."""


def with_findings(reading: CounterReading, *findings: Finding) -> CounterReading:
    """The reading with further findings."""
    return msgspec.structs.replace(reading, findings=(*reading.findings, *findings))


def is_invalid(reading: CounterReading) -> bool:
    """Whether a finding forbids to use the reading's numbers."""
    return any(finding.severity == "invalid" for finding in reading.findings)


def identity_broken(error: IdentityError, numbers: Numbers) -> Finding:
    """The finding for a server's numbers that contradict each other; its numbers are the raw ones."""
    return Finding(
        code="identity_broken",
        severity="invalid",
        message=f"The server's counters contradict each other: {error}, so no rate is computed; measure again with "
        "nothing else running, and report it to the server's project if it persists.",
        numbers=numbers,
    )


def summed_up(after: Sequence[Samples], name: str) -> list[Finding]:
    """Findings if one counter is that of several models, or of several servers in one text, and is added up."""
    label_sets = [[dict(labels) for labels in samples.series.get(name, {})] for samples in after]
    models = {_first(labels, _MODEL_LABELS) for endpoint in label_sets for labels in endpoint} - {""}
    servers = max(
        ({_first(labels, SERVER_LABELS) for labels in endpoint} - {""} for endpoint in label_sets),
        key=len,
        default=set[str](),
    )
    findings = []
    if len(models) > 1:
        findings.append(_added_up("several_models", "models", models, "give only the metrics URLs of the one"))
    if len(servers) > 1:
        findings.append(
            _added_up("several_servers", "servers", servers, "if they are not replicas of one, give the URL of each")
        )
    return findings


def is_whole(samples: Samples, facts: EngineFacts) -> bool:
    """Whether a text is that of an engine itself, so that what it lacks is not there."""
    return facts.namespace in samples.prefixes and all(name in samples.series for name in facts.vital)


def not_an_engines(reading: CounterReading, samples: Samples, facts: EngineFacts) -> CounterReading:
    """The reading of a text that is not whole: nothing can ever be read from it."""
    return msgspec.structs.replace(
        with_findings(reading, speculation_unknown(samples, facts)), problem="router_metrics"
    )


def speculation_unknown(samples: Samples, facts: EngineFacts) -> Finding:
    """The finding for series of an engine's namespace that no engine alone would expose: nothing follows from them."""
    seen = sorted(samples.names)
    lacking = next((name for name in facts.vital if name not in samples.series), "")
    return Finding(
        code="router_metrics",
        severity="invalid",
        message=f"Whether {facts.title} speculates is unknown: the metrics hold {', '.join(seen[:4])} and lack "
        f"{lacking}, which every {facts.title} exposes, so they are a router's own or cut off; give the metrics of "
        "every engine with --metrics-url.",
        numbers={"seen": ", ".join(seen[:40]), "missing": lacking},
    )


def speculation_off(engine: str, evidence: str, cure: str) -> Finding:
    """The finding for a server that does not speculate: acceptance is undefined then, neither 0 nor 1."""
    return Finding(
        code="speculation_off",
        severity="warning",
        message=f"{engine} runs without speculative decoding ({evidence}), so acceptance is undefined; {cure}.",
    )


def lossy_verification(setting: str, why: str) -> Finding:
    """The finding for a verification that keeps drafts which the target model would not have chosen."""
    return Finding(
        code="lossy_verification",
        severity="warning",
        message=f"Verification is lossy ({setting}): it {why}; do not compare its acceptance with that of lossless "
        "verification.",
        numbers={"setting": setting},
    )


def other_prefixes(readings: Sequence[Samples], facts: EngineFacts) -> list[Finding]:
    """A finding if an exporter in between has renamed the engine's series."""
    native = {"", f"{facts.namespace}:", facts.native_prefix}
    told = sorted({samples.prefixes.get(facts.namespace, "") for samples in readings} - native)
    if not told:
        return []
    return [
        Finding(
            code="series_prefix",
            severity="info",
            message=f"The series appear as {told[0]}*, and are read as those of {facts.title} ({facts.namespace}:*).",
            numbers={"prefix": ", ".join(told)},
        )
    ]


def _added_up(code: str, things: str, names: set[str], cure: str) -> Finding:
    told = ", ".join(sorted(names))
    return Finding(
        code=code,
        severity="warning",
        message=f"The metrics hold {len(names)} {things} ({told[:200]}), whose counts are added up; {cure} that is "
        "measured.",
        numbers={things: told},
    )


def _first(labels: dict[str, str], names: Sequence[str]) -> str:
    return next((labels[name] for name in names if name in labels), "")
