"""The findings of SGLang's readers."""

from __future__ import annotations

from nemo_skills_specdec.engines.remarks import REMEMBERS
from nemo_skills_specdec.records import Finding, Numbers


def tree_drafts(topk: int | None, nodes: int | None) -> Finding:
    """Drafts are trees: their acceptance rate is not that of chains."""
    return Finding(
        code="tree_drafts",
        severity="warning",
        message=f"Drafts are trees ({nodes} nodes a step, top-k {topk or 'unknown'}): the acceptance rate is over "
        "tree nodes, most of which no path can reach; do not compare it with that of chains, but the acceptance "
        "length stays comparable.",
        numbers={"topk": topk, "nodes": nodes},
    )


def only_bounds(low: float, high: float, *, excess: int, requests: int, in_flight: bool) -> Finding:
    """The counters bracket the acceptance length; `in_flight`: not surely, for requests in flight at an end."""
    off = "Requests were in flight at an end of the window, so the bounds may be off. " if in_flight else ""
    return Finding(
        code="bounds",
        severity="warning" if in_flight else "info",
        message=f"SGLang's counters only bracket the acceptance length: [{low:.4f}, {high:.4f}], {high - low:.4f} "
        f"wide; the midpoint is shown. {off}Ask for the statistics in each response for exact numbers.",
        numbers={"low": low, "high": high, "width": high - low, "excess_tokens": excess, "requests": requests},
    )


def aborted_or_retracted(aborted: int, retracted: int) -> list[Finding]:
    """Requests that ended in another way, which the counters do not count alike; none if there were none."""
    if not aborted and not retracted:
        return []
    return [
        Finding(
            code="aborted_or_retracted",
            severity="info",
            message=f"{aborted} requests were aborted and {retracted} retracted in the window, which SGLang's counters "
            "do not count alike, so the numbers are bounds.",
            numbers={"aborted": aborted, "retracted": retracted},
        )
    ]


PERHAPS_OFF = Finding(
    code="speculation_unknown",
    severity="invalid",
    message="Whether SGLang speculates is unknown: it counted no verification step, which releases before 0.5.13 "
    "never do, and its gauge is 0, as it is until the first log interval is over; ask a server whose "
    "/server_info can be read, or use SGLang 0.5.13 or later.",
)
"""Neither a step was counted nor does a gauge tell anything, which has two reasons."""


NO_POSITIONS = Finding(
    code="no_positions",
    severity="info",
    message="SGLang's metrics have no counts per draft position; ask for the statistics in each response.",
)
"""The metrics have no counts per draft position."""


def no_upper_bound(low: float, numbers: Numbers) -> Finding:
    """The acceptance length is bounded from below alone."""
    return Finding(
        code="no_upper_bound",
        severity="invalid",
        message=f"The acceptance length is at least {low:.4f}, but sglang:realtime_tokens_total, which would bound it "
        "from above, is missing; ask for the statistics in each response.",
        numbers=numbers,
    )


NO_ACCEPTANCE_METRICS = Finding(
    code="no_acceptance_metrics",
    severity="invalid",
    message="SGLang speculates, but its metrics hold neither counters nor a gauge of acceptance for this window; "
    "use SGLang 0.5.13 or later, or ask for the statistics in each response.",
)
"""A server that speculates has no number for this window."""


def gauge_estimate(before: float | None, after: float) -> Finding:
    """The acceptance length is only a gauge's."""
    return Finding(
        code="gauge_estimate",
        severity="warning",
        message=f"The acceptance length {after:.3f} is ONLY AN ESTIMATE: SGLang's gauge holds the mean of the last "
        "log interval (40 decode iterations by default), not of the window, and may be off by 50 %; use SGLang "
        "0.5.13 or later for counters, or ask for the statistics in each response.",
        numbers={"gauge_before": before, "gauge_after": after},
    )


ADAPTIVE_DRAFTS = Finding(
    code="adaptive_drafts",
    severity="warning",
    message="SGLang adapts the draft length (speculative_adaptive), but counts draft tokens by the configured one: "
    "there is no acceptance rate, only the acceptance length.",
)
"""The server adapts its draft length, but counts draft tokens by the configured one."""


def ngram(nodes: int | None) -> Finding:
    """SGLang's n-gram drafter differs in kind from vLLM's."""
    return Finding(
        code="sglang_ngram",
        severity="info",
        message=f"SGLang's NGRAM verifies {nodes} nodes in every step, even without a match, where most versions of "
        "vLLM draft nothing: compare n-gram runs of the two by tokens per step.",
    )


def ngram_off_by_one(version: str | None) -> Finding:
    """Old releases count accepted n-gram drafts wrong."""
    return Finding(
        code="ngram_off_by_one",
        severity="warning",
        message=f"SGLang {version} counts accepted NGRAM drafts off by one in its per-request statistics; use 0.5.12 "
        "or later.",
    )


def ngram_remembers(requests: int) -> Finding:
    """The n-gram drafter looks up all text served since the start, or since its cache was flushed."""
    return Finding(
        code=REMEMBERS,
        severity="warning",
        message=f"SGLang's NGRAM drafts from all text that it has served, and has served {requests} requests: "
        "prompts that it has seen before are accepted far more often (AL 3.90 for 1.65 was measured); flush its "
        "cache with POST /flush_cache just before measuring.",
        numbers={"requests": requests},
    )


STANDALONE_FIRST_TOKEN = Finding(
    code="standalone_first_token",
    severity="info",
    message="SGLang's STANDALONE never shows its draft model the first token of a prompt, which lowers acceptance: "
    "do not take it for a property of the drafter, nor compare it with draft_model of vLLM.",
)
"""STANDALONE's draft model does not see the whole prompt."""
