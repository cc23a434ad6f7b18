"""Remarks on a whole run that no single window can make: what was asked for, what failed, what looks wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.measurement.evidence import SenderDelays
from nemo_skills_specdec.measurement.request_statistics import has_statistics, per_request_counts
from nemo_skills_specdec.measurement.steps import describe_steps
from nemo_skills_specdec.measurement.traffic import account_of, check_sources, check_traffic
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Acceptance, Finding, RequestRecord

SLOW_CLIENT_SECONDS = 0.05
"""Later than this, the client's own delay shows in a TTFT of a few hundred milliseconds."""
NEARLY_NOTHING = 0.03
"""Acceptance rate below which sampling itself is suspected; the faulty one gives 0.0064 where 0.12 is right."""
COUNTERS_LACK = {"no_positions", "bounds"}
"""What the counters do not tell; of no concern where every answer came with its own statistics."""
HEALTHY, HEALTHY_SUSPECT = 0.1, 0.25
"""Shares of steps that accept a token which even a poor drafter reaches; the other where a fault is suspected."""
NOT_OURS = {"foreign_traffic", "requests_missing", "warmup_leaked", "server_busy_at_start"}
"""Findings that say that the counters hold other steps than ours, so nothing else is said from them."""
MAX_FAILED = 0.05
"""Share of failed requests above which those that were answered no longer stand for all."""
GONE = 3
"""So many broken or refused connections at the end, and no answer after them, mean that the server is gone."""
FEW_PROMPTS = 20
"""Below this, an interval says little: a quarter of the prompts decides each end."""


def check_request(request: RequestOptions, info: ServerInfo) -> list[Finding]:
    """What in the request options makes the numbers mean something else."""
    findings: list[Finding] = []
    if request.n > 1:
        findings.append(
            Finding(
                code="several_samples",
                severity="warning",
                message=f"With n = {request.n} {_several_samples(info)}; use n = 1 and several seeds instead.",
                numbers={"n": request.n},
            )
        )
    if request.ignore_eos:
        findings.append(
            Finding(
                code="ignore_eos",
                severity="warning",
                message="With ignore_eos the text goes on past EOS, where it is not what the model would write and "
                "repeats itself (biases acceptance); use it for load tests only.",
            )
        )
    if _samples(request) and info.engine == "vllm" and _is_cpu_build(info):
        told = "the server's default" if request.temperature is None else f"{request.temperature:g}"
        findings.append(
            Finding(
                code="vllm_cpu_sampling",
                severity="invalid",
                message=f"This is a CPU build of vLLM ({info.version}) and the temperature is {told}: above 0 it "
                "rejects nearly all drafts, a known fault; use --temperature 0.",
                numbers={"temperature": request.temperature},
            )
        )
    return findings


def check_reading(
    reading: CounterReading,
    records: Sequence[RequestRecord],
    *,
    request: RequestOptions | None = None,
    warmup_requests: int = 0,
    cut_off: int | None = 0,
) -> list[Finding]:
    """What the counters of a window say, and how they compare with what was sent and answered in it.

    Args:
        request: as sent; None for one answer a request, of any length.
        cut_off: requests that the server may have counted though no record tells of them; None if their number is not
            known, so that nothing can be compared.
    """
    complete = has_statistics(records)
    # Where every answer came with counts, faulty counters are not the headline's fault: they only ask for care.
    findings = [
        msgspec.structs.replace(finding, severity="warning") if complete and finding.severity == "invalid" else finding
        for finding in reading.findings
        if not (complete and finding.code in COUNTERS_LACK)
    ]
    if cut_off is None:
        return findings + describe_steps(reading)
    samples, max_tokens = (request.n, request.max_tokens) if request is not None else (1, None)
    account = account_of(records, samples=samples, max_tokens=max_tokens)
    account = msgspec.structs.replace(account, uncertain=account.uncertain + cut_off)
    traffic = check_traffic(reading, account, relied_on=not complete, warmup_requests=warmup_requests)
    if not {finding.code for finding in traffic} & NOT_OURS:
        findings += describe_steps(reading)
    findings += traffic
    counts = per_request_counts(records)
    # With answers missing on one side only, the two differ for a known reason.
    if counts is not None and complete and not cut_off:
        findings += check_sources(counts, reading, account)
    return findings


def check_outcome(acceptance: Acceptance, request: RequestOptions, info: ServerInfo) -> list[Finding]:
    """What only the result shows: vLLM's `/version` hides a CPU build, but its fault when sampling is plain to see."""
    rate, drafts = acceptance.acceptance_rate, acceptance.num_drafts or 0
    if info.engine != "vllm" or not _samples(request) or _is_cpu_build(info) or rate is None:
        return []
    # A CPU build is also suspected by its cache blocks; fewer steps then show what it does.
    suspected = any(finding.code == "vllm_perhaps_cpu_build" for finding in info.findings)
    first = (acceptance.accepted_per_position or (acceptance.num_accepted_tokens or 0,))[0]
    if rate >= NEARLY_NOTHING or not _rules_out(HEALTHY_SUSPECT if suspected else HEALTHY, min(first, drafts), drafts):
        return []
    return [
        Finding(
            code="nothing_accepted_when_sampling",
            severity="invalid" if suspected else "warning",
            message=f"Only {100 * rate:.1f} % of the drafts were accepted while sampling: CPU builds of vLLM reject "
            "nearly all drafts above temperature 0, a known fault, without saying that they are CPU builds; if this "
            "is one, use --temperature 0, and on a GPU suspect the drafter.",
            numbers={"acceptance_rate": rate, "num_drafts": drafts},
        )
    ]


def server_gone(records: Sequence[RequestRecord]) -> str | None:
    """Why the server must be gone, after it had answered once; None if it still answered at the end."""
    after: list[RequestRecord] = []
    answered = False
    for record in sorted(records, key=lambda record: record.end_time):
        if record.error is None:
            answered, after = True, []
        elif record.outcome in ("unreachable", "lost"):
            after.append(record)
    return after[-1].error if answered and len(after) >= GONE else None


def check_records(
    records: Sequence[RequestRecord], *, prompts_planned: int, interrupted: bool, max_failed: float = MAX_FAILED
) -> list[Finding]:
    """What failed, what is missing, and how few prompts there were."""
    findings: list[Finding] = []
    cut_off = [record for record in records if record.outcome == "interrupted"] if interrupted else []
    failed = [r for r in records if r.error is not None and not (interrupted and r.outcome == "interrupted")]
    prompts = len({(record.category, record.question_id) for record in records})
    if interrupted or prompts < prompts_planned:
        findings.append(
            Finding(
                code="interrupted",
                severity="warning",
                message=f"The run stopped early: {prompts} of {prompts_planned} prompts were sent, and "
                f"{number_of(len(cut_off), 'request', 'were')} cut off; the figures cover the complete answers.",
                numbers={"prompts_sent": prompts, "prompts_planned": prompts_planned, "cut_off": len(cut_off)},
            )
        )
    if failed:
        reasons: dict[str, int] = {}
        for record in failed:
            reasons[record.error or ""] = reasons.get(record.error or "", 0) + 1
        reason, times = max(reasons.items(), key=lambda item: item[1])
        findings.append(
            Finding(
                code="requests_failed",
                severity="invalid" if len(failed) > max_failed * len(records) else "warning",
                message=f"{len(failed)} of {len(records)} requests failed, most often ({times}): {reason}",
                numbers={"failed": len(failed), "requests": len(records)},
            )
        )
    answered = [record for record in records if record.error is None]
    stepless = [record for record in answered if record.counts is not None and record.counts.num_drafts is None]
    if stepless:
        findings.append(
            Finding(
                code="steps_unknown",
                severity="info",
                message=f"{len(stepless)} of {len(answered)} answers report draft tokens but not the number of steps "
                "(llama.cpp: not streamed, or characters of several tokens), so averages and categories that hold "
                "them are taken from the counters, without an interval.",
                numbers={"without_steps": len(stepless), "answered": len(answered)},
            )
        )
    silent = [record for record in answered if record.counts is None]
    if answered and silent and len(silent) < len(answered):
        findings.append(
            Finding(
                code="statistics_missing",
                severity="warning",
                message=f"{len(silent)} of {len(answered)} answers carry no per-request statistics"
                f"{_at_random(answered)}, so the sum over answers is incomplete and another source is used where "
                "there is one.",
                numbers={"without_statistics": len(silent), "answered": len(answered)},
            )
        )
    # A prompt whose answers had no verification step says nothing about acceptance, however many there are.
    telling = len({(r.category, r.question_id) for r in answered if r.counts is not None and _has_steps(r.counts)})
    if not silent and answered and telling < FEW_PROMPTS:
        findings.append(
            Finding(
                code="few_prompts",
                severity="warning",
                message=f"Only {number_of(telling, 'prompt')} had a verification step: the intervals are wide and "
                f"themselves uncertain; use {FEW_PROMPTS} or more, and 80 per category to compare drafters.",
                numbers={"prompts": telling},
            )
        )
    return [*findings, *_check_times(answered), *check_dispersion(records)]


def _check_times(answered: Sequence[RequestRecord]) -> list[Finding]:
    """Which answers tell less than they seem to: those that came in lumps, and those with an impossible usage."""
    findings: list[Finding] = []
    lumped = sum(record.lumped for record in answered)
    if lumped:
        findings.append(
            Finding(
                code="arrived_in_lumps",
                severity="warning",
                message=f"{lumped} of {len(answered)} streams arrived in a few lumps: something between server and "
                "client holds chunks back (a proxy that buffers), so they count in no TTFT, TPOT or user speed; "
                "measure the server itself.",
                numbers={"lumped": lumped, "answered": len(answered)},
            )
        )
    rejected = sum(record.usage_rejected for record in answered)
    if rejected:
        findings.append(
            Finding(
                code="usage_rejected",
                severity="warning",
                message=f"The usage of {rejected} of {len(answered)} answers says zero tokens beside text, so it is "
                "not believed and their number of tokens is unknown.",
                numbers={"rejected": rejected, "answered": len(answered)},
            )
        )
    return findings


def _at_random(answered: Sequence[RequestRecord]) -> str:
    """Whether the answers without statistics differ in kind from the others, as the end of a clause.

    vLLM leaves the statistics out of answers that a stop string ended: the rest is then not a random sample.
    """
    ends = {kind: {r.finish_reason for r in answered if (r.counts is None) == kind} for kind in (True, False)}
    if len(ends[True]) != 1 or ends[True] <= ends[False]:
        return ""
    return f" (all of them ended by {next(iter(ends[True]))!r}, so the rest is not a random sample)"


def _has_steps(counts: AcceptanceCounts) -> bool:
    return bool(counts.num_draft_tokens if counts.num_drafts is None else counts.num_drafts)


def check_dispersion(records: Sequence[RequestRecord]) -> list[Finding]:
    """Whether acceptance varies no more than if it were simulated.

    An engine told to simulate acceptance flips independent coins. The first draft position is then accepted with one
    probability p everywhere, and the dispersion index, the mean over groups of (A_0 - p D)^2 / (D p (1 - p)), is 1
    within about 3 sqrt(2 / groups), whether the groups are requests or categories. Real drafters do better on code than
    on prose. Either test alone also passes on real text that is all of one kind, so both are asked for, and several
    categories with enough steps.
    """
    by_request: list[tuple[int, int]] = []
    by_category: dict[str, tuple[int, int]] = {}
    for record in records:
        counts = record.counts
        if counts is None or not counts.accepted_per_position or not counts.num_drafts:
            continue
        by_request.append((counts.accepted_per_position[0], counts.num_drafts))
        accepted, drafts = by_category.get(record.category, (0, 0))
        by_category[record.category] = (accepted + counts.accepted_per_position[0], drafts + counts.num_drafts)
    enough = len(by_request) >= 30 and len(by_category) >= 5 and all(d >= 200 for _, d in by_category.values())
    if not enough:
        return []
    between_requests, between_categories = _dispersion(by_request), _dispersion(list(by_category.values()))
    if between_requests is None or between_categories is None:
        return []
    like_coins = abs(between_requests - 1) < 3 * math.sqrt(
        2 / len(by_request)
    ) and between_categories < 1 + 3 * math.sqrt(2 / len(by_category))
    if not like_coins:
        return []
    return [
        Finding(
            code="acceptance_looks_simulated",
            severity="warning",
            message="Acceptance varies between categories and requests no more than coin flips would (dispersion "
            f"{between_categories:.2f} and {between_requests:.2f}): the server may simulate it (vLLM "
            "rejection_sample_method synthetic, SGLANG_SIMULATE_ACC_LEN, llama.cpp --spec-synth-*); check its flags.",
            numbers={"between_categories": between_categories, "between_requests": between_requests},
        )
    ]


def _several_samples(info: ServerInfo) -> str:
    told = [ENGINES[info.engine].FACTS] if info.engine is not None else [module.FACTS for module in ENGINES.values()]
    return ", and ".join(facts.several_samples for facts in told if facts.several_samples) or "samples share a prompt"


def _rules_out(share: float, hits: int, trials: int) -> bool:
    """Whether so few hits in independent trials have a probability below 5 % if each hits with this share or more."""
    if hits > 20:
        return hits < share * trials / 2
    at_most = (math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(hits + 1))
    return math.fsum(at_most) < 0.05


def _samples(request: RequestOptions) -> bool:
    return request.temperature is None or request.temperature > 0


def _is_cpu_build(info: ServerInfo) -> bool:
    return "cpu" in (info.version or "").lower() or info.settings.get("device") == "cpu"


def _dispersion(groups: Sequence[tuple[int, int]]) -> float | None:
    steps = sum(drafts for _, drafts in groups)
    p = sum(accepted for accepted, _ in groups) / steps
    if not 0 < p < 1:
        return None
    return sum((a - p * d) ** 2 / (d * p * (1 - p)) for a, d in groups) / (len(groups) - 1)


def check_client(senders: Sequence[SenderDelays]) -> list[Finding]:
    """Whether this client itself was too slow or too small, so that what it measured is partly its own doing."""
    findings: list[Finding] = []
    lowered = [sender.lowered_concurrency for sender in senders if sender.lowered_concurrency is not None]
    if lowered:
        findings.append(
            Finding(
                code="concurrency_lowered",
                severity="warning",
                message=f"The limit on open files let this client open {min(lowered)} connections at once, fewer "
                "than the requested concurrency; raise the limit with ulimit -n.",
                numbers={"connections": min(lowered)},
            )
        )
    delays = [delay for sender in senders for delay in (sender.lateness, sender.dispatch)]
    worst = max((delay.worst_second_p99_seconds or 0.0 for delay in delays), default=0.0)
    if worst < SLOW_CLIENT_SECONDS:
        return findings
    late = max(sender.lateness.p99_seconds or 0.0 for sender in senders)
    unsent = max(sender.dispatch.p99_seconds or 0.0 for sender in senders)
    effect = (
        "Arrival times are the kernel's, so TTFT and inter-chunk times do not hold this delay, but later requests were "
        "sent late"
        if all(sender.kernel_times for sender in senders)
        else "TTFT and inter-chunk times hold that much of the client's own delay"
    )
    findings.append(
        Finding(
            code="client_slow",
            severity="warning",
            message=f"This client was up to {worst * 1000:.0f} ms late (p99 of its worst second): over the whole run "
            f"it read what had arrived {late * 1000:.0f} ms late and sent requests {unsent * 1000:.0f} ms late "
            f"(p99). {effect}; lower the concurrency, or give the client its own CPU core.",
            numbers={"lag_p99_seconds": worst, "lateness_p99_seconds": late, "dispatch_p99_seconds": unsent},
        )
    )
    return findings
