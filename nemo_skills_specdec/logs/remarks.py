"""Findings on a log: what its figures leave open, what is missing, and what was put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from nemo_skills_specdec.logs.figures import LogAcceptance
from nemo_skills_specdec.logs.times import moments
from nemo_skills_specdec.logs.vllm_log import LogInterval, VllmLog
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Finding, Numbers


def remarks(
    log: VllmLog,
    acceptance: LogAcceptance,
    by_server: Mapping[str, Sequence[LogInterval]],
    *,
    torn: Sequence[int],
    untimed: int,
) -> list[Finding]:
    """All findings on a log.

    Args:
        acceptance: all intervals used, together.
        torn: numbers of the lines left out.
        untimed: intervals left out because they have no time to compare with --since and --until.
    """
    return [
        Finding(
            code="log_covers_everything",
            severity="info",
            message="A log has no measurement window: warm-up and every other request are included, and the last "
            "interval is missing if the log ends before it is printed.",
        ),
        *_open(acceptance),
        *_missing(log, torn, untimed),
        *_merged(log, by_server),
    ]


def _open(acceptance: LogAcceptance) -> list[Finding]:
    """What rounding leaves open."""
    least, most = acceptance.num_drafts_bounds or (0, 0)
    if least == most:
        return []
    numbers: Numbers = {"least": least, "most": most}
    if acceptance.draft_length_fixed:
        message = f"D is T / K, which every line agrees with; rounding alone would allow {least} to {most}."
        return [Finding(code="log_steps_inferred", severity="info", message=message, numbers=numbers)]
    message = f"The log does not print D; its rounded figures allow {least} to {most}."
    return [Finding(code="log_steps_rounded", severity="info", message=message, numbers=numbers)]


def _missing(log: VllmLog, torn: Sequence[int], untimed: int) -> list[Finding]:
    """What was left out, by us or before."""
    found = []
    if torn:
        lines = ", ".join(map(str, torn[:5])) + (", ..." if len(torn) > 5 else "")
        found.append(
            Finding(
                code="log_lines_torn",
                severity="warning",
                message=f"{number_of(len(torn), 'torn line', 'were')} left out (line {lines}), so totals are too low.",
                numbers={"lines": len(torn)},
            )
        )
    if log.lost_lines:
        found.append(
            Finding(
                code="log_lines_suppressed",
                severity="warning",
                message=f"{number_of(log.lost_lines, 'line', 'were')} dropped by Ray or journald before this log was "
                "written, so totals may be too low; set RAY_DEDUP_LOGS=0, or lift the journal's rate limit.",
                numbers={"lines": log.lost_lines},
            )
        )
    if untimed:
        found.append(
            Finding(
                code="log_lines_untimed",
                severity="warning",
                message=f"{number_of(untimed, 'interval', 'were')} left out by --since and --until for want of a time.",
                numbers={"lines": untimed},
            )
        )
    return found


def _merged(log: VllmLog, by_server: Mapping[str, Sequence[LogInterval]]) -> list[Finding]:
    """What was put together: servers, lives of one server, engines."""
    found = []
    if len(by_server) > 1:
        names = ", ".join(name or "without a name" for name in list(by_server)[:3]) + ", ..." * (len(by_server) > 3)
        alike = len({len(line.rates) for lines in by_server.values() for line in lines}) == 1
        found.append(
            Finding(
                code="log_several_servers",
                severity="warning",
                message=f"The log holds {len(by_server)} servers or processes ({names}), and the totals sum them"
                + ("." if alike else "; their draft lengths differ, so read each by itself."),
                numbers={"servers": len(by_server)},
            )
        )
    sign = _sign_of_mixing(log, by_server)
    if sign:
        found.append(
            Finding(
                code="log_mixed",
                severity="warning",
                message=f"{sign}: a server was restarted with other settings, or logs of several servers were merged "
                "without a name on their lines; parse each by itself.",
            )
        )
    if log.engines > 1:
        found.append(
            Finding(
                code="log_several_engines",
                severity="info",
                message=f"{log.engines} data-parallel engines print in turn, and their intervals are summed.",
                numbers={"engines": log.engines},
            )
        )
    return found


def _sign_of_mixing(log: VllmLog, by_server: Mapping[str, Sequence[LogInterval]]) -> str | None:
    """Why the lines under one name cannot be of one server in one life; None if they can."""
    if len(by_server) == 1 and len(log.models) > 1:
        return f"The log names {len(log.models)} models ({', '.join(log.models[:3])})"
    for lines in by_server.values():
        for before, line in pairwise(lines):
            if before.rates and line.rates and len(before.rates) != len(line.rates):
                return f"The draft length changes from {len(before.rates)} to {len(line.rates)} at line {line.line}"
        known = [(time, line.line) for time, line in zip(moments(lines), lines, strict=True) if time is not None]
        for (earlier, _), (later, number) in pairwise(known):
            if later < earlier:
                return f"Times run backwards at line {number}"
        for time, count in Counter(time for time, _ in known).items():
            if count > max(log.engines, 1):
                number = next(number for moment, number in known if moment == time)
                return f"{count} intervals end in one second at line {number}"
    return None
