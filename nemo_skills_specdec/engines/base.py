"""What every engine module offers, and the plain data that passes through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.records import Finding, Source
from nemo_skills_specdec.statistics import Interval

EngineName = Literal["vllm", "sglang", "llamacpp"]

Labels = frozenset[tuple[str, str]]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything scraped from one metrics endpoint at one instant; the raw text is kept.

    Attributes:
        url: the endpoint asked, without credentials.
        taken_at: seconds since the epoch when the answer arrived.
        status: HTTP status; None if there was no answer, or if the text was read from a file.
        text: the body as received.
        error: one line saying why there are no metrics; None if there are.
    """

    url: str
    taken_at: float
    status: int | None = None
    text: str = ""
    error: str | None = None


class Samples(msgspec.Struct, frozen=True):
    """The samples of one exposition text: series name -> label set -> value."""

    series: dict[str, dict[Labels, float]]


class SourceOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One source of acceptance numbers, whether this server offers it now, and how to switch it on if not."""

    source: Source
    available: bool | None
    """None where only a request can tell."""
    gives: str
    """What can be computed from it, e.g. `AL, AR, per position, per request`."""
    how: str
    """The exact flag, field or setting that is in use, or that would switch it on."""


class ServerInfo(msgspec.Struct, kw_only=True):
    """What a server says about itself; only white-listed fields, never a key or a command line.

    Attributes:
        draft_length: draft tokens per step K; None if unknown or if speculation is off.
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
        busy_before: requests running or waiting at the first snapshot.
    """

    requests: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    first_tokens: int | None = None
    decode_steps: int | None = None
    busy_before: int | None = None
    busy_after: int | None = None


class CounterReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the difference of two snapshots says about acceptance.

    Attributes:
        source: `counters`, `bounds` or `gauge_estimate`; None if the metrics say nothing.
        counts: exact counts for `counters`; for `bounds` None.
        acceptance_length: the value for sources without exact counts.
        num_drafts: verification steps, where they are known though the accepted tokens are only bracketed.
    """

    engine: EngineName | None
    source: Source | None
    counts: AcceptanceCounts | None = None
    num_drafts: int | None = None
    acceptance_length: float | None = None
    acceptance_rate: float | None = None
    acceptance_length_bounds: Interval | None = None
    acceptance_rate_bounds: Interval | None = None
    traffic: Traffic = Traffic()
    findings: tuple[Finding, ...] = ()


class MetricsReader(Protocol):
    """Reads one engine's `/metrics`."""

    def recognise(self, samples: Samples) -> bool:
        """Whether the series are those of this engine."""

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

    def stream_counts(self, frames: Sequence[bytes]) -> AcceptanceCounts | None:
        """Counts that only the chunks of a stream tell, one after the other; None where the answer itself tells all.

        Args:
            frames: the payloads of all chunks, undecoded.
        """
