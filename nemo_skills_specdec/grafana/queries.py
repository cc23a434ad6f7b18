"""PromQL for what each engine counts: rates of counters, so that every ratio is one of sums, never of averages.

The same functions make the recording rules and the dashboard. Series and their meaning are those of `engines`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from nemo_skills_specdec.engines import llamacpp, vllm
from nemo_skills_specdec.engines.base import EngineName
from nemo_skills_specdec.engines.sglang import facts as sglang
from nemo_skills_specdec.engines.spec_counters import ACCEPTED, DRAFT_TOKENS, DRAFTS, PER_POSITION, counter_names

_SGLANG_REQUEST_LABELS = "is_streaming, engine_type, priority, cache_source"
"""What SGLang tells requests apart by."""
_SGLANG_RANKS = "tp_rank, pp_rank, moe_ep_rank, engine_type, priority"
"""Ranks that repeat one another's counts."""


class EngineQueries(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine's series give per second, one series a replica; None for what it does not count.

    Attributes:
        drafts: D.
        draft_tokens: T.
        accepted_low: the fewest tokens that were accepted; A itself where it equals `accepted_high`.
        accepted_high: the most.
        per_position: A_i, with the label `position`.
        steps: decode steps, with or without drafts.
        step_tokens: tokens that they emitted.
    """

    engine: EngineName
    drafts: str
    draft_tokens: str
    accepted_low: str
    accepted_high: str
    per_position: str | None = None
    steps: str | None = None
    step_tokens: str | None = None
    requests: str | None = None
    generation_tokens: str
    prompt_tokens: str
    cached_prompt_tokens: str
    in_flight: str

    @property
    def exact(self) -> bool:
        """Whether accepted tokens are counted, not only bracketed."""
        return self.accepted_low == self.accepted_high


def queries_of(engine: EngineName, selector: str, window: str) -> EngineQueries:
    """The queries of one engine.

    Args:
        selector: label matchers without braces, such as `job="vllm"`; may be empty.
        window: of every rate, such as `5m`.
    """
    return _QUERIES[engine](selector, window)


def _rate(name: str, selector: str, window: str) -> str:
    return f"rate({_series(name, selector)}[{window}])"


def _series(name: str, selector: str) -> str:
    return f"{name}{{{selector}}}" if selector else name


def _vllm(selector: str, window: str) -> EngineQueries:
    names, traffic = counter_names(vllm.PREFIX), vllm.TRAFFIC
    generated, first = (_rate(traffic[name], selector, window) for name in ("generation_tokens", "first_tokens"))
    accepted = _rate(names[ACCEPTED], selector, window)
    return EngineQueries(
        engine="vllm",
        drafts=_rate(names[DRAFTS], selector, window),
        draft_tokens=_rate(names[DRAFT_TOKENS], selector, window),
        accepted_low=accepted,
        accepted_high=accepted,
        per_position=_rate(names[PER_POSITION], selector, window),
        steps=_rate(traffic["decode_steps"], selector, window),
        step_tokens=f"{generated} - {first}",
        requests=f"sum without (finished_reason) ({_rate(traffic['requests'], selector, window)})",
        generation_tokens=generated,
        prompt_tokens=_rate(traffic["prompt_tokens"], selector, window),
        cached_prompt_tokens=_rate(traffic["cached_prompt_tokens"], selector, window),
        in_flight=" + ".join(_series(name, selector) for name in vllm.BUSY),
    )


def _llamacpp(selector: str, window: str) -> EngineQueries:
    names, traffic = counter_names(llamacpp.PREFIX), llamacpp.TRAFFIC
    accepted = _rate(names[ACCEPTED], selector, window)
    computed, cached = (
        _rate(traffic[name], selector, window) for name in ("computed_prompt_tokens", "cached_prompt_tokens")
    )
    return EngineQueries(
        engine="llamacpp",
        drafts=_rate(names[DRAFTS], selector, window),
        draft_tokens=_rate(names[DRAFT_TOKENS], selector, window),
        accepted_low=accepted,
        accepted_high=accepted,
        per_position=_rate(names[PER_POSITION], selector, window),
        generation_tokens=_rate(traffic["generation_tokens"], selector, window),
        prompt_tokens=f"{computed} + {cached}",
        cached_prompt_tokens=cached,
        in_flight=" + ".join(_series(name, selector) for name in llamacpp.BUSY),
    )


def _sglang(selector: str, window: str) -> EngineQueries:
    """SGLang counts steps D, generated tokens G and requests N when a request ends, but not accepted tokens.

    Each request's first token comes from its prefill, and its last step cuts off at most K - 1 tokens, K being the
    nodes of a step: G - N - D <= A <= G - N + N (K - 1) - D, and A <= D (K - 1).
    """

    def ended(name: str) -> str:
        return f"sum without ({_SGLANG_REQUEST_LABELS}) ({_rate(sglang.COUNTERS[name], selector, window)})"

    def ranks(metric: str) -> str:
        return f"sum without (dp_rank) (max without ({_SGLANG_RANKS}) ({metric}))"

    drafts, generated, requests = ended("verify"), ended("generation_tokens"), ended("requests")
    width = f"(max without (dp_rank, {_SGLANG_RANKS}) ({_series(sglang.GAUGE_NODES, selector)}) > 1) - 1"
    retracted = f"({ranks(_rate(sglang.RETRACTED, selector, window))} or 0 * {requests})"
    draft_tokens = f"{drafts} * ({width})"
    most = f"({generated} - {requests} - {drafts} + {requests} * ({width}))"
    return EngineQueries(
        engine="sglang",
        drafts=drafts,
        draft_tokens=draft_tokens,
        accepted_low=f"clamp_min({generated} - {requests} - {retracted} - {drafts}, 0)",
        accepted_high=f"({most} < {draft_tokens}) or {draft_tokens}",
        requests=requests,
        generation_tokens=generated,
        prompt_tokens=ended("prompt_tokens"),
        cached_prompt_tokens=f"({ended('cached')} or 0 * {ended('prompt_tokens')})",
        in_flight=" + ".join(ranks(_series(name, selector)) for name in sglang.BUSY),
    )


_QUERIES: dict[EngineName, Callable[[str, str], EngineQueries]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "llamacpp": _llamacpp,
}
