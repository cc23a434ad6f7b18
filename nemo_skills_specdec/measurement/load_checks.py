"""Whether the load that was asked for is the one that was reached."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.measurement.in_flight import mean_in_flight, peak_in_flight, span_of, start_rate
from nemo_skills_specdec.records import Finding, RequestRecord

FULL = 0.75
"""Share of the asked concurrency below which, on average, the places stood empty for too long to be called load."""
ON_TIME = 0.95
"""Share of the asked rate below which it was missed."""
FEWEST_STARTS = 10
"""Fewer prompts have no rate to speak of."""


def check_load(
    windows: Sequence[Sequence[RequestRecord]], *, concurrency: int | None, request_rate: float | None
) -> list[Finding]:
    """Compares what was asked for with what was reached.

    Args:
        windows: the records of each window.
        concurrency: requests that were to be in flight; with a rate, a limit only.
        request_rate: prompts that were to be started per second.
    """
    if request_rate is not None:
        return _check_rate(windows, request_rate)
    return _check_concurrency(windows, concurrency) if concurrency is not None else []


def _check_concurrency(windows: Sequence[Sequence[RequestRecord]], asked: int) -> list[Finding]:
    spans = [(records, span) for records in windows if (span := span_of(records)) is not None]
    seconds = sum(span.seconds for _, span in spans)
    if seconds <= 0:
        return []
    mean = sum(mean_in_flight(records, None, 1.0) or 0.0 for records, _ in spans) / seconds
    peak = max(peak_in_flight(records) for records, _ in spans)
    prompts = max(len({(r.category, r.question_id) for r in records}) for records, _ in spans)
    if peak >= asked and mean >= FULL * asked:
        return []
    if prompts < asked:
        why = f"{prompts} prompts cannot fill {asked} places"
    elif peak < asked:
        why = "requests ended sooner than others could be sent"
    else:
        why = "for much of the run no prompts were left to take the place of those that had ended"
    window = " (each category was sent by itself)" if len(windows) > 1 else ""
    return [
        Finding(
            code="concurrency_not_reached",
            severity="warning",
            message=f"A concurrency of {asked} was asked for, but {mean:.1f} requests were in flight on average and "
            f"{peak} at most, because {why}{window}; take more prompts, or read the speed as that of fewer users.",
            numbers={"asked": asked, "mean": mean, "peak": peak, "prompts": prompts},
        )
    ]


def _check_rate(windows: Sequence[Sequence[RequestRecord]], asked: float) -> list[Finding]:
    starts = [[r for r in records if r.sent and r.turn == 0] for records in windows]
    longest = max(starts, key=len, default=[])
    reached = start_rate([record.start_time for record in longest])
    planned = start_rate([record.start_time - record.queue_seconds for record in longest])
    if reached is None or planned is None or len(longest) < FEWEST_STARTS or reached >= ON_TIME * asked:
        return []
    # The places in flight ran out if prompts were sent later than the schedule wanted them.
    waited = reached < ON_TIME * planned
    why = (
        "prompts waited for others to end; raise --concurrency, or leave it out"
        if waited
        else "so few random arrivals happen to lie further apart; take more prompts, or --arrival constant"
    )
    return [
        Finding(
            code="rate_not_reached",
            severity="warning" if waited else "info",
            message=f"{asked:g} prompts/s were asked for, but {reached:.2f}/s were started, because {why}.",
            numbers={"asked": asked, "reached": reached, "scheduled": planned, "prompts": len(longest)},
        )
    ]
