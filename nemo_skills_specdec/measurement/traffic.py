"""Whether a window was ours: what the server counted in it, compared with what was sent and answered.

Counters belong to a server, not to a client. A difference of counters is our acceptance only if nobody else used the
server meanwhile, if all of our requests reached the endpoints that were asked, and if nothing was still running at
either end.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.engines.registry import counted_requests
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Finding, Numbers, RequestRecord, Severity


class ClientAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What this client sent in the window, by its own account.

    Attributes:
        requests: requests that ended with an answer.
        uncertain: times that something was sent without an answer, though the server may have worked on it: time-outs,
            broken connections, requests that were sent again. What a server refused is not among them.
        prompt_tokens: summed `usage`; None if an answer came without it.
        completion_tokens: likewise.
        samples: answers per request, the API's `n`.
        max_tokens: of one answer, as sent; None if there was no limit.
    """

    requests: int
    uncertain: int = 0
    prompt_tokens: int | None
    completion_tokens: int | None
    samples: int = 1
    max_tokens: int | None = None


def account_of(records: Sequence[RequestRecord], *, samples: int = 1, max_tokens: int | None = None) -> ClientAccount:
    """The client's own account of a window, from its request records."""
    answered = [record for record in records if record.error is None]
    return ClientAccount(
        requests=len(answered),
        uncertain=sum(record.num_resends for record in records) + sum(map(_uncertain, records)),
        prompt_tokens=_sum([record.prompt_tokens for record in answered]),
        completion_tokens=_sum([record.completion_tokens for record in answered]),
        samples=samples,
        max_tokens=max_tokens,
    )


def _uncertain(record: RequestRecord) -> bool:
    """Whether a server may have counted a request that has no answer; directories of version 0.1 do not tell."""
    if record.error is None or not record.sent:
        return False
    return record.outcome in (None, "failed", "timed_out", "lost", "interrupted")


def check_traffic(
    reading: CounterReading, account: ClientAccount, *, relied_on: bool, warmup_requests: int = 0
) -> list[Finding]:
    """Compares what the server counted with what was sent.

    Args:
        reading: the window's counter reading.
        account: the client's own account of the same window.
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
                message=f"{number_of(traffic.busy_before, 'request', 'were')} running or waiting when the window "
                "opened, so the counters hold steps of others; measure on an idle server.",
                numbers={"busy_before": traffic.busy_before},
            )
        )
    if traffic.busy_after:
        findings.append(
            Finding(
                code="server_busy_at_end",
                severity="warning",
                message=f"{number_of(traffic.busy_after, 'request', 'were')} still running when the window closed, "
                "though all of ours had ended; another client uses the server, or requests that failed here go on "
                "there.",
                numbers={"busy_after": traffic.busy_after},
            )
        )
    by_requests = _check_requests(reading, account, warmup_requests, severity)
    by_tokens = by_requests or _check_tokens(reading, account, severity)
    return findings + (by_tokens or (_not_checked(reading, account) if relied_on else []))


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
            message=f"The {first} and the {second} disagree: {told}; foreign traffic, aborted requests or another "
            "server's metrics could explain that, and the responses are ours alone.",
            numbers={
                f"{source.replace(' ', '_')}_{name}": value
                for name, (mine, theirs) in differences.items()
                for source, value in ((first, mine), (second, theirs))
            },
        )
    ]


def check_sources(
    per_request: AcceptanceCounts, reading: CounterReading, account: ClientAccount | None = None
) -> list[Finding]:
    """Compares the sum over all answers' own statistics with the counters of the same window.

    Args:
        account: what was sent; a server counts requests that came to nothing as far as it got with them.
    """
    if reading.counts is not None:
        if account is not None and _failed_explain(per_request, reading.counts, account):
            return [_failed_were_counted(per_request, reading.counts, account)]
        return check_counts("responses", per_request, "counters", reading.counts)
    bounds, length = reading.acceptance_length_bounds, per_request.acceptance_length
    if bounds is not None and length is not None and not bounds.low - 1e-9 <= length <= bounds.high + 1e-9:
        return [
            Finding(
                code="sources_disagree",
                severity="warning",
                message=f"AL {length:.4f} from the responses lies outside the counters' bounds [{bounds.low:.4f}, "
                f"{bounds.high:.4f}]; foreign traffic or another server's metrics could explain that.",
                numbers={"response": length, "bound_low": bounds.low, "bound_high": bounds.high},
            )
        ]
    return []


def _failed_explain(answers: AcceptanceCounts, counters: AcceptanceCounts, account: ClientAccount) -> bool:
    """Whether requests without an answer are reason enough for what the counters have more than the answers."""
    pairs = [
        (mine, theirs)
        for name in ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
        if (mine := getattr(answers, name)) is not None and (theirs := getattr(counters, name)) is not None
    ]
    if not account.uncertain or all(mine == theirs for mine, theirs in pairs):
        return False
    if any(theirs < mine for mine, theirs in pairs):
        return False
    drafts, steps = answers.num_drafts, counters.num_drafts
    if drafts is None or steps is None or account.max_tokens is None:
        return True
    # Every step of an answer gives at least one token of it.
    return steps - drafts <= account.uncertain * account.samples * account.max_tokens


def _failed_were_counted(answers: AcceptanceCounts, counters: AcceptanceCounts, account: ClientAccount) -> Finding:
    return Finding(
        code="failed_requests_counted",
        severity="info",
        message=f"The counters hold {counters.num_drafts} drafts and the answers {answers.num_drafts}: the server also "
        f"counted steps of up to {number_of(account.uncertain, 'request')} that failed; the figures are those of the "
        "answers.",
        numbers={
            "responses_num_drafts": answers.num_drafts,
            "counters_num_drafts": counters.num_drafts,
            "requests_without_answer": account.uncertain,
        },
    )


def _check_requests(
    reading: CounterReading, account: ClientAccount, warmup_requests: int, severity: Severity
) -> list[Finding]:
    counted, own = reading.traffic.requests, account.requests * account.samples
    most = counted_requests(reading.engine, account.requests + account.uncertain, account.samples)
    if counted is None or own <= counted <= most:
        return []
    numbers: Numbers = {"server_requests": counted, "own_requests": own}
    if counted < own:
        return [
            Finding(
                code="requests_missing",
                severity=severity,
                message=f"The server counted {number_of(counted, 'request')}, {own} were answered: the metrics are "
                "those of another server, or of one replica of several; pass --metrics-url for every replica.",
                numbers=numbers,
            )
        ]
    if _tokens_agree(reading, account):
        # Somebody else would have had tokens generated.
        return [
            Finding(
                code="requests_counted_twice",
                severity="info",
                message=f"The server counted {number_of(counted, 'request')}, {own} were ours, but not a token more "
                "than our answers held: some were counted more than once, as by prefill and decode instances.",
                numbers=numbers,
            )
        ]
    extra = counted - most
    if extra <= warmup_requests:
        return [
            Finding(
                code="warmup_leaked",
                severity=severity,
                message=f"The server counted {number_of(extra, 'request')} more than were sent in the window, and "
                f"{warmup_requests} were sent to warm it up: some of those were counted late, and their steps are in "
                "the counters.",
                numbers=numbers,
            )
        ]
    return [_foreign(f"{number_of(counted, 'request')}, {own} were ours", numbers, severity)]


def _check_tokens(reading: CounterReading, account: ClientAccount, severity: Severity) -> list[Finding]:
    counted, own = reading.traffic.generation_tokens, account.completion_tokens
    if counted is None or own is None:
        return []
    most = own
    if account.uncertain:
        # Tokens of requests without an answer are counted by the server and unknown to us.
        if account.max_tokens is None:
            return []
        most = own + account.uncertain * account.samples * account.max_tokens
    if own <= counted <= most:
        return []
    numbers: Numbers = {"server_generation_tokens": counted, "own_generation_tokens": own}
    if counted > most:
        return [_foreign(f"{counted} generated tokens, {own} were ours", numbers, severity)]
    return [
        Finding(
            code="requests_missing",
            severity=severity,
            message=f"The server counted {counted} generated tokens, the answers held {own}: the metrics are those "
            "of another server, or of one replica of several; pass --metrics-url for every replica.",
            numbers=numbers,
        )
    ]


def _not_checked(reading: CounterReading, account: ClientAccount) -> list[Finding]:
    """The finding that nothing could be compared; none if something could."""
    requests = reading.traffic.requests is not None
    tokens = reading.traffic.generation_tokens is not None and account.completion_tokens is not None
    if requests or tokens:
        return []
    why = (
        "the answers carry no usage"
        if reading.traffic.generation_tokens is not None
        else "the metrics count neither requests nor generated tokens"
    )
    return [
        Finding(
            code="traffic_not_checked",
            severity="warning",
            message=f"Whether anything else used the server could not be checked, because {why}; make sure that it "
            "was idle.",
        )
    ]


def _tokens_agree(reading: CounterReading, account: ClientAccount) -> bool:
    counted = reading.traffic.generation_tokens
    return counted is not None and not account.uncertain and counted == account.completion_tokens


def _foreign(told: str, numbers: Numbers, severity: Severity) -> Finding:
    return Finding(
        code="foreign_traffic",
        severity=severity,
        message=f"Another client used the server during the window (it counted {told}), and counters mix both; "
        "measure on a server of your own, or with per-request statistics.",
        numbers=numbers,
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
