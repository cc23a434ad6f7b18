"""Attempts: what is interrupted and started again has several, each with a window of its own on the counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from nemo_skills_specdec.records import Finding


class Attempt(msgspec.Struct, kw_only=True):
    """One start of a measurement.

    Attributes:
        status: `open` while it goes on, and for ever if it was killed; `cut_off` if it ended before its end.
        planned_rows: prompts it set out to send.
        longest_row: turns of the prompt that has most.
        concurrency: prompts in progress at most.
        closed_late: it was killed, and its window was closed only when the next attempt began.
        finished_rows: prompts it finished.
    """

    started_at: float
    planned_rows: int
    longest_row: int
    concurrency: int
    ended_at: float | None = None
    status: Literal["open", "complete", "cut_off"] = "open"
    closed_late: bool = False
    finished_rows: int = 0

    @property
    def closed(self) -> bool:
        """Whether its window has an end."""
        return True


def cut_off_requests(attempt: Attempt) -> int:
    """How many requests the end of an attempt may have wasted; each of them left steps in the counters.

    A row that was in progress starts again from its first turn.
    """
    if attempt.status == "complete":
        return 0
    unfinished = max(attempt.planned_rows - attempt.finished_rows, 0)
    return min(unfinished, attempt.concurrency) * attempt.longest_row


def check_attempts(attempts: Sequence[Attempt], *, relied_on: bool) -> list[Finding]:
    """Remarks on attempts that did not end well.

    Args:
        relied_on: whether acceptance is taken from the counters; per-request counts are not affected.
    """
    findings: list[Finding] = []
    unclosed = sum(not attempt.closed for attempt in attempts)
    if unclosed:
        findings.append(
            Finding(
                code="window_not_closed",
                severity="invalid" if relied_on else "warning",
                message=f"{unclosed} of {len(attempts)} attempts ended without a last look at the counters, so the "
                "counters miss their steps; delete the output and run again.",
                numbers={"attempts": len(attempts), "not_closed": unclosed},
            )
        )
    cut_off = sum(cut_off_requests(attempt) for attempt in attempts)
    if cut_off:
        late = sum(attempt.closed_late for attempt in attempts)
        findings.append(
            Finding(
                code="attempt_cut_off",
                severity="warning" if relied_on else "info",
                message=f"The job was interrupted and resumed: up to {cut_off} requests of rows that were not "
                "finished were sent again, and the counters hold the steps of both"
                + ("; one window was closed only when the job resumed." if late else "."),
                numbers={"attempts": len(attempts), "requests_cut_off": cut_off, "closed_late": late},
            )
        )
    return findings
