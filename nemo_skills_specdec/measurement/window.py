"""What happened between two snapshots: before -> body -> after, and whether it was ours.

Counters belong to a server, not to a client. A difference of counters is our acceptance only if nobody else used the
server meanwhile, if all of our requests reached the endpoints that were asked, and if nothing was still running at
either end. Here the snapshots are taken, and what the server counted is compared with what was sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.reading import read_window, tokens_per_step
from nemo_skills_specdec.engines.registry import counted_requests
from nemo_skills_specdec.engines.scrape import take_snapshot
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.records import Finding, Numbers, RequestRecord, Severity

SETTLE_SECONDS = 0.2
"""Between two readings that must agree. Engines publish after the last response, typically within milliseconds."""
SETTLE_TIMEOUT_SECONDS = 5.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What this client sent in the window, by its own account.

    Attributes:
        requests: requests that ended with an answer.
        failed: requests that ended without one; a server may or may not have counted them.
        prompt_tokens: summed `usage`; None if an answer came without it.
        completion_tokens: likewise.
        samples: answers per request, the API's `n`.
    """

    requests: int
    failed: int
    prompt_tokens: int | None
    completion_tokens: int | None
    samples: int = 1


def sent_by(records: Sequence[RequestRecord], *, samples: int = 1) -> Sent:
    """The client's own account of a window, from its request records."""
    answered = [record for record in records if record.error is None]
    return Sent(
        requests=len(answered),
        failed=sum(record.sent for record in records) - len(answered),
        prompt_tokens=_sum([record.prompt_tokens for record in answered]),
        completion_tokens=_sum([record.completion_tokens for record in answered]),
        samples=samples,
    )


def take_snapshots(urls: Sequence[str], headers: Mapping[str, str]) -> list[Snapshot]:
    """One snapshot of every metrics endpoint, in the order given."""
    return [take_snapshot(url, headers) for url in urls]


def take_settled_snapshots(urls: Sequence[str], headers: Mapping[str, str], info: ServerInfo | None) -> list[Snapshot]:
    """Snapshots at either end of a window, re-read until nothing was counted between two and nothing is running.

    Gives up after `SETTLE_TIMEOUT_SECONDS` and returns the last: then the traffic accounting says what is wrong.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    last = take_snapshots(urls, headers)
    while True:
        time.sleep(SETTLE_SECONDS)
        snapshots = take_snapshots(urls, headers)
        since = read_window(last, snapshots, info)
        counted = since.traffic.generation_tokens or (since.counts is not None and since.counts.num_drafts)
        if not (counted or since.traffic.busy_after) or time.monotonic() > deadline:
            return snapshots
        last = snapshots


def check_traffic(reading: CounterReading, sent: Sent, *, relied_on: bool, warmup_requests: int = 0) -> list[Finding]:
    """Compares what the server counted with what was sent.

    Args:
        reading: the window's counter reading.
        sent: the client's own account of the same window.
        relied_on: whether acceptance is taken from these counters; if so, traffic that is not ours invalidates it.
        warmup_requests: requests sent before the window; if no more than these are too many inside it, they leaked.
    """
    traffic = reading.traffic
    severity: Severity = "invalid" if relied_on else "warning"
    findings: list[Finding] = []
    if traffic.busy_before:
        findings.append(
            Finding(
                code="server_busy_at_start",
                severity=severity,
                message=f"{traffic.busy_before} requests were running or waiting when the window opened; "
                "their steps are in the counters. Measure on an idle server.",
                numbers={"busy_before": traffic.busy_before},
            )
        )
    if traffic.busy_after:
        findings.append(
            Finding(
                code="server_busy_at_end",
                severity="warning",
                message=f"{traffic.busy_after} requests were still running when the window closed, though all of ours "
                "had ended. Somebody else uses the server, or requests that failed here go on there.",
                numbers={"busy_after": traffic.busy_after},
            )
        )
    by_requests = _check_requests(reading, sent, warmup_requests, severity)
    return findings + (by_requests or _check_tokens(reading, sent, severity))


def describe_steps(reading: CounterReading) -> list[Finding]:
    """What the counters say about steps: undrafted ones, drafts of varying length, tokens cut off after the end."""
    counts, traffic = reading.counts, reading.traffic
    if counts is None or not counts.num_drafts:
        return []
    findings: list[Finding] = []
    drafts, steps = counts.num_drafts, traffic.decode_steps
    if steps is not None and steps > drafts:
        length = counts.acceptance_length or 0.0
        emitted = tokens_per_step(traffic)
        findings.append(
            Finding(
                code="steps_without_drafts",
                severity="info",
                message=f"{steps - drafts} of {steps} decode steps carried no draft and are not in AL: "
                f"AL {length:.2f}, but {emitted:.2f} tokens per step. Compare tokens per step across drafters."
                if emitted is not None
                else f"{steps - drafts} of {steps} decode steps carried no draft and are not in AL ({length:.2f}).",
                numbers={"decode_steps": steps, "num_drafts": drafts, "tokens_per_step": emitted},
            )
        )
    positions = len(counts.accepted_per_position or ())
    if counts.num_draft_tokens is not None and positions and counts.num_draft_tokens < drafts * positions:
        findings.append(
            Finding(
                code="variable_draft_length",
                severity="info",
                message=f"{counts.num_draft_tokens} tokens were drafted in {drafts} steps of up to {positions}: drafts "
                "vary in length, so a conditional rate counts steps that never drafted its position as rejections.",
                numbers={
                    "num_draft_tokens": counts.num_draft_tokens,
                    "num_drafts": drafts,
                    "longest_draft": positions,
                },
            )
        )
    cut_off = tokens_cut_off(reading)
    if cut_off:
        findings.append(
            Finding(
                code="tokens_cut_off",
                severity="info",
                message=f"{cut_off} accepted tokens were cut off after a stop or at max_tokens. The engine counts them "
                f"as accepted: without them AL would be {cut_off / drafts:.3f} lower.",
                numbers={"tokens_cut_off": cut_off, "num_drafts": drafts},
            )
        )
    return findings


def tokens_cut_off(reading: CounterReading) -> int | None:
    """Accepted tokens that never reached a client; None where the server does not say.

    From generation tokens = first tokens + decode steps + accepted - cut off.
    """
    traffic = reading.traffic
    if (
        reading.counts is None
        or traffic.generation_tokens is None
        or traffic.first_tokens is None
        or traffic.decode_steps is None
    ):
        return None
    emitted = traffic.first_tokens + traffic.decode_steps + reading.counts.num_accepted_tokens
    return emitted - traffic.generation_tokens


def check_counts(first: str, one: AcceptanceCounts, second: str, other: AcceptanceCounts) -> list[Finding]:
    """Compares two sources of the same counts, as far as both know them; exact ones must agree to the integer.

    Args:
        first: what `one` comes from, in words and as part of a name: `responses`, `counters`.
        second: what `other` comes from.
    """
    differences = {
        name: (mine, theirs)
        for name in ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
        if (mine := getattr(one, name)) is not None and (theirs := getattr(other, name)) is not None and mine != theirs
    }
    if not differences:
        return []
    told = ", ".join(f"{name} {mine} against {theirs}" for name, (mine, theirs) in differences.items())
    return [
        Finding(
            code="sources_disagree",
            severity="warning",
            message=f"The {first} and the {second} disagree: {told}. Foreign traffic, aborted requests or another "
            "server's metrics explain that; the responses are ours alone.",
            numbers={
                f"{source.replace(' ', '_')}_{name}": value
                for name, pair in differences.items()
                for source, value in zip((first, second), pair, strict=True)
            },
        )
    ]


def check_sources(per_request: AcceptanceCounts, reading: CounterReading) -> list[Finding]:
    """Compares the sum over all answers' own statistics with the counters of the same window."""
    if reading.counts is not None:
        return check_counts("responses", per_request, "counters", reading.counts)
    bounds, length = reading.acceptance_length_bounds, per_request.acceptance_length
    if bounds is not None and length is not None and not bounds.low - 1e-9 <= length <= bounds.high + 1e-9:
        return [
            Finding(
                code="sources_disagree",
                severity="warning",
                message=f"AL {length:.4f} from the responses lies outside the counters' bounds "
                f"[{bounds.low:.4f}, {bounds.high:.4f}]. Foreign traffic or another server's metrics explain that.",
                numbers={"response": length, "bound_low": bounds.low, "bound_high": bounds.high},
            )
        ]
    return []


def _check_requests(reading: CounterReading, sent: Sent, warmup_requests: int, severity: Severity) -> list[Finding]:
    counted, own = reading.traffic.requests, sent.requests * sent.samples
    most = counted_requests(reading.engine, sent.requests + sent.failed, sent.samples)
    if counted is None or own <= counted <= most:
        return []
    numbers: Numbers = {"server_requests": counted, "own_requests": own}
    if counted < own:
        return [
            Finding(
                code="requests_missing",
                severity=severity,
                message=f"The server counted {counted} requests, {own} were answered: the metrics are those of another "
                "server, or of one replica of several. Pass --metrics-url for every replica.",
                numbers=numbers,
            )
        ]
    extra = counted - most
    if 0 < extra <= warmup_requests:
        return [
            Finding(
                code="warmup_leaked",
                severity=severity,
                message=f"The server counted {extra} requests more than were sent in the window, and {warmup_requests} "
                "were sent to warm it up: some of those were counted late. Their steps are in the counters.",
                numbers=numbers,
            )
        ]
    return [_foreign(f"{counted} requests, {own} were ours", numbers, severity)]


def _check_tokens(reading: CounterReading, sent: Sent, severity: Severity) -> list[Finding]:
    counted, own = reading.traffic.generation_tokens, sent.completion_tokens
    # Tokens of failed requests are counted by the server and unknown to us.
    if counted is None or own is None or sent.failed or counted == own:
        return []
    numbers: Numbers = {"server_generation_tokens": counted, "own_generation_tokens": own}
    if counted > own:
        return [_foreign(f"{counted} generated tokens, {own} were ours", numbers, severity)]
    return [
        Finding(
            code="requests_missing",
            severity=severity,
            message=f"The server counted {counted} generated tokens, the answers held {own}: the metrics are those of "
            "another server, or of one replica of several. Pass --metrics-url for every replica.",
            numbers=numbers,
        )
    ]


def _foreign(told: str, numbers: Numbers, severity: Severity) -> Finding:
    return Finding(
        code="foreign_traffic",
        severity=severity,
        message=f"Somebody else used the server in the window: it counted {told}. Counters mix both; "
        "measure on a server of your own, or with per-request statistics.",
        numbers=numbers,
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
