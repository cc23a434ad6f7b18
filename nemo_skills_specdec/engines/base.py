"""What every engine module offers, and the plain data that passes through it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.errors import JSON_ERRORS
from nemo_skills_specdec.records import Finding, Source, StepCount
from nemo_skills_specdec.statistics import Interval

EngineName = str
"""A key of `registry.ENGINES`: `vllm`, `sglang`, `llamacpp`, `trtllm`."""


MetricsProblem = Literal[
    "metrics_unavailable", "metrics_unreadable", "no_engine_metrics", "mixed_engines", "router_metrics"
]
"""Why nothing can ever be read from some metrics; also the code of the reading's last finding, which says so."""


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of one engine, as plain data.

    Attributes:
        name: as on the command line and in files.
        title: as in texts.
        series: names of the series that the module reads; their common part before the colon is the namespace.
        vital: series that every process of this engine exposes from its start. A text with the engine's namespace that
            lacks one of them is a router's, or cut off, so nothing follows from what is missing in it.
        native_prefix: what the engine itself writes before its names, where it is not the namespace and a colon.
        metrics_path: where its metrics are, if not at `/metrics`.
        owners: what the engine says in `owned_by` of `/v1/models`.
        metrics_flag: the server flag that switches `/metrics` on; None where it is on by default.
        no_metrics: why the series of an engine with metrics by default may be missing; empty otherwise.
        speculate: how a server is made to speculate.
        statistics_since: the first version that can be made to tell acceptance for each request.
        hidden_method: how a server that does not name its method is made to; empty if it always does.
        cache_reset: path to POST to that empties what the server remembers of earlier prompts; None if there is none.
        cache_cure: what to do where that path is missing.
        several_samples: what several samples per request (`n`) do to the numbers.
        extra_requests_with_samples: requests counted on top of the samples of one request with `n` > 1.
        replica_labels: labels of the engine's own that tell the replicas apart which share one endpoint.
    """

    name: EngineName
    title: str
    series: frozenset[str]
    vital: tuple[str, ...]
    owners: tuple[str, ...]
    native_prefix: str | None = None
    metrics_path: str = "/metrics"
    metrics_flag: str | None = None
    no_metrics: str = ""
    speculate: str
    statistics_since: tuple[int, ...] | None = None
    hidden_method: str = ""
    cache_reset: str | None = None
    cache_cure: str = "restart the server"
    several_samples: str = ""
    extra_requests_with_samples: int = 0
    replica_labels: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """What stands before the colon in the names of the engine's series."""
        return next(iter(self.series)).partition(":")[0]


class SourceOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One source of acceptance numbers, whether this server offers it now, and how to switch it on if not.

    Attributes:
        available: None where only a request can show it.
        gives: what can be computed from it, e.g. `AL, AR, per position, per request`.
        how: the exact flag, field or setting that is in use, or that would switch it on; in words.
        uses: what it rests on where it is available.
        cure: what would switch it on where it is not.
    """

    source: Source
    available: bool | None
    gives: str
    how: str
    uses: str = ""
    cure: str = ""


def offer(source: Source, available: bool | None, gives: str, *, uses: str = "", cure: str = "") -> SourceOffer:
    """One source; `uses` is told where it is available or may be, `cure` where it is not."""
    told = {None: f"{uses or cure}; only a request can show it", True: f"in use: {uses}", False: cure}
    how = told[available]
    return SourceOffer(source=source, available=available, gives=gives, how=how, uses=uses, cure=cure)


class ServerInfo(msgspec.Struct, kw_only=True):
    """What a server says about itself; only white-listed fields, never a key or a command line.

    Attributes:
        draft_length: the longest draft K in tokens, for a tree its depth; None if unknown or if speculation is off.
        tree_nodes: SGLang's `speculative_num_draft_tokens`, the verified nodes including the root.
        topk: branches per draft step; 1 is a chain.
        settings: white-listed settings as the server gave them.
    """

    engine: EngineName | None
    base_url: str
    version: str | None = None
    models: list[str] = []
    speculation: Literal["on", "off", "unknown"] = "unknown"
    method: str | None = None
    draft_length: int | None = None
    tree_nodes: int | None = None
    topk: int | None = None
    settings: dict[str, Any] = {}
    offers: list[SourceOffer] = []
    findings: list[Finding] = []


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says it did in the window, over all clients; None where it does not say.

    Attributes:
        requests: requests that ended.
        first_tokens: sequences that produced a first token.
        decode_steps: decode steps summed over sequences, with or without drafts.
        cached_prompt_tokens: tokens of prompts that were in the prefix cache and not computed.
        busy_before: requests running or waiting at the first snapshot.
    """

    requests: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    first_tokens: int | None = None
    decode_steps: int | None = None
    cached_prompt_tokens: int | None = None
    busy_before: int | None = None
    busy_after: int | None = None


class CounterReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the difference of two snapshots says about acceptance.

    Attributes:
        source: `counters`, `bounds` or `gauge_estimate`; None if the metrics say nothing.
        counts: exact counts for `counters`; for `bounds` None.
        acceptance_length: the value for sources without exact counts.
        num_drafts: verification steps, where they are known though the accepted tokens are only bracketed.
        draft_length: K, the longest draft of this window's server; None if unknown, or if it adapts.
        proposed_per_step: tokens proposed in one step, where it is fixed: for a tree all its nodes but the root.
        problem: why nothing can ever be read from these metrics; None otherwise.
    """

    engine: EngineName | None
    source: Source | None
    counts: AcceptanceCounts | None = None
    num_drafts: int | None = None
    acceptance_length: float | None = None
    acceptance_rate: float | None = None
    acceptance_length_bounds: Interval | None = None
    acceptance_rate_bounds: Interval | None = None
    draft_length: int | None = None
    proposed_per_step: int | None = None
    traffic: Traffic = Traffic()
    findings: tuple[Finding, ...] = ()
    problem: MetricsProblem | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What every engine's part of the detection starts from.

    Attributes:
        get: the decoded JSON behind a path of the server; None if there is none.
        samples: one reading per metrics endpoint that has metrics of some engine.
    """

    get: Callable[[str], Any]
    samples: Sequence[Samples] = ()
    models: Sequence[Mapping[str, Any]] = ()


class MetricsReader(Protocol):
    """Reads one engine's `/metrics`."""

    def read(self, before: Sequence[Samples], after: Sequence[Samples], info: ServerInfo | None) -> CounterReading:
        """Difference per label set, then the sum, over endpoints (same order in both) and label sets."""


class ResponseReader(Protocol):
    """Reads one engine's per-request statistics."""

    def request_extras(self, *, stream: bool, info: ServerInfo | None) -> dict[str, Any]:
        """Body fields that ask this engine for statistics; ignored by servers that do not know them."""

    def request_counts(self, response: Mapping[str, Any], info: ServerInfo | None) -> AcceptanceCounts | None:
        """Counts of one response; None if it holds none.

        Args:
            response: the decoded body, or for a stream the union of its chunks' top-level keys.

        Raises:
            IdentityError: the server's numbers contradict each other.
        """

    def request_steps(self, response: Mapping[str, Any]) -> list[StepCount] | None:
        """Every verification step of one response in order; None where this engine or this server does not tell them.

        Called after `request_counts` found no contradiction.
        """

    def stream_counts(self, frames: Sequence[bytes]) -> AcceptanceCounts | None:
        """Counts that only the chunks of a stream tell, one after the other; None where the answer itself tells all.

        Args:
            frames: the payloads of all chunks, undecoded.
        """


class EngineModule(MetricsReader, ResponseReader, Protocol):
    """Everything one engine's module offers."""

    FACTS: EngineFacts

    def answers_to(self, ask: Ask) -> bool:
        """Whether the server is of this engine, by what it answers besides `/v1/models` and `/metrics`."""

    def describe(self, info: ServerInfo, ask: Ask) -> None:
        """Fills in version, speculation, method, draft length, settings and the engine's own findings."""

    def offers(self, info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
        """The sources of this server, best first.

        Args:
            samples: one reading per metrics endpoint of this engine.
            no_metrics: why there are no metrics and what to do; empty if there are.
        """


def text_or_none(value: Any) -> str | None:
    """A text that a server told; None for anything else."""
    return value if isinstance(value, str) and value else None


def number_or_none(value: Any) -> int | None:
    """A count that a server told; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def part_of(body: Any, name: str) -> dict[str, Any]:
    """An object inside a JSON object; empty if there is none."""
    part = body.get(name) if isinstance(body, Mapping) else None
    return part if isinstance(part, dict) else {}


def decoded(text: str | bytes) -> Any:
    """A JSON text; None if it is none, however broken. Halves of surrogate pairs, which no file holds, become `?`."""
    told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        value = json.loads(told)
        if "\\ud" in told.lower():
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except JSON_ERRORS:
        return None
    return value
