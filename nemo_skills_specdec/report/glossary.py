"""What the words of a report mean: shown on hover, and in full at its end. `docs/metrics.md` has the long version."""

from __future__ import annotations

import re
from collections.abc import Iterator

TERMS: dict[str, str] = {
    "acceptance length": "AL = 1 + A / D: tokens per verification step, the target's own token included. From 1 "
    "(nothing accepted) to K + 1.",
    "AL": "Acceptance length, 1 + A / D: tokens per verification step, the target's own token included.",
    "acceptance rate": "AR = A / T: the share of proposed draft tokens that are accepted.",
    "AR": "Acceptance rate, A / T: the share of proposed draft tokens that are accepted.",
    "D": "Verification steps that carried at least one draft token.",
    "verification step": "One round: the drafter proposes up to K tokens, and one pass of the target model keeps "
    "those that it agrees with and adds one of its own. D counts the steps that carried at least one draft token.",
    "draft length": "K: the most draft tokens proposed in one step.",
    "draft position": "The place of a token in its draft, from 1 to K.",
    "survival": "p_i = A_i / D: the share of steps that accept position i, and so all positions before it. AL is 1 "
    "plus the sum of all p_i.",
    "c1": "Conditional acceptance rate of the first draft position, c2 of the second, and so on.",
    "conditional": "c_i = A_i / A_(i-1): of the steps that accepted all positions before i, the share that accepts i "
    "as well. A step that never drafted position i counts as one that rejected it; r_i leaves such steps out.",
    "tokens per step": "Tokens generated per decode step, steps without a draft included: what a user feels.",
    "pooled": "An average in which every verification step counts the same, so that long answers weigh more.",
    "request mean": "The mean over requests of each one's own acceptance length.",
    "category macro": "The mean over categories of each one's pooled acceptance length.",
    "95 % interval": "Where the figure would lie for other prompts of the same kind, with 95 % confidence. It holds "
    "the choice of prompts, not what differs from run to run.",
    "TTFT": "Time to first token: from sending a request until the first chunk with content arrives.",
    "TPOT": "Time per output token after the first: (last chunk - first chunk) / (tokens - 1).",
    "end-to-end": "From sending a request until its last byte arrives.",
    "throughput": "Output tokens of all answers over the wall time: what all users get together.",
    "tok/s per user": "Output tokens per second of one answer while it is being written, as its user sees it.",
    "in flight": "Sent and not yet answered.",
    "p50": "The median: half of the answers are at or below it. p90 and p99 likewise for 90 and 99 %.",
    "speedup": "A run's speed over that of the baseline, on the prompts that both answered.",
    "baseline": "The run that others are compared with, as a rule without speculation.",
    "Pareto": "A configuration is on the Pareto front if no other one is at least as fast for one user and for all "
    "together, and faster in one.",
    "source": "Where a number comes from: per-request statistics, the server's counters, or less exact ones.",
    "prompts": "What is sent; a conversation of several turns is one prompt and several requests.",
}


def _pattern(term: str) -> str:
    """A term as a whole word: a symbol in exactly its letters, anything else in any case and perhaps in the plural."""
    if term.isupper():
        return rf"(?<!\w){re.escape(term)}(?!\w)"
    return rf"(?<!\w)(?i:{re.escape(term)}s?)(?!\w)"


_WORDS = re.compile("|".join(map(_pattern, sorted(TERMS, key=len, reverse=True))))
_KEYS = {term.lower(): term for term in TERMS}


def split_terms(text: str) -> Iterator[tuple[str, str | None]]:
    """Cuts a text into pieces, each with what it means if it is a term; together they are the text."""
    end = 0
    for match in _WORDS.finditer(text):
        word = match.group().lower()
        key = _KEYS.get(word) or _KEYS.get(word.removesuffix("s"))
        if key is None:
            continue
        if match.start() > end:
            yield text[end : match.start()], None
        yield match.group(), TERMS[key]
        end = match.end()
    if end < len(text):
        yield text[end:], None
