"""Going on with a run that was killed or interrupted: what it left, what is still to be sent, and both put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from nemo_skills_specdec.client.body import count_turns
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import JSON_ERRORS, DataError
from nemo_skills_specdec.measurement.attempts import check_attempts, cut_off_requests
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.request_statistics import has_statistics
from nemo_skills_specdec.measurement.run_directory import ANSWERS, MANIFEST, METRICS, OUTPUT, Manifest, RunAttempt
from nemo_skills_specdec.measurement.snapshots import Window, one_after_the_other
from nemo_skills_specdec.records import Finding, PromptRow, RequestRecord

SENT_AGAIN = {"interrupted", "not_sent", "lost", "unreachable"}
"""Outcomes that say nothing of the request itself: it is sent again. A refusal or a time-out is an answer."""


class Earlier(msgspec.Struct, kw_only=True):
    """What an unfinished run left.

    Attributes:
        records: every request that ended, in the order in which they did.
        torn: whether its last line was cut off while it was written.
    """

    manifest: Manifest
    records: list[RequestRecord]
    torn: bool = False


def read_earlier(directory: Path) -> Earlier | None:
    """What an unfinished run left in a directory; None if there is no run in it, or a complete one.

    Raises:
        DataError: what is there cannot be read.
    """
    if not (directory / MANIFEST).is_file():
        return None
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
        # A kill may have come between the manifest and the result, which is written last.
        if manifest.status == "complete" and (directory / METRICS).is_file():
            return None
        if (directory / ANSWERS).is_file():
            return _from_log(manifest, (directory / ANSWERS).read_bytes())
        return Earlier(manifest=manifest, records=_from_output((directory / OUTPUT).read_bytes()))
    except OSError as error:
        raise DataError(f"cannot resume {directory}: {error.strerror}") from error
    except JSON_ERRORS as error:
        raise DataError(f"cannot resume {directory}: it is damaged ({error}); remove it and run again") from error


def _from_log(manifest: Manifest, content: bytes) -> Earlier:
    whole = content[: content.rfind(b"\n") + 1]
    records = msgspec.json.Decoder(RequestRecord).decode_lines(whole)
    return Earlier(manifest=manifest, records=records, torn=len(whole) < len(content))


class _WrittenRow(msgspec.Struct):
    requests: list[RequestRecord]


def _from_output(content: bytes) -> list[RequestRecord]:
    return [record for row in msgspec.json.Decoder(_WrittenRow).decode_lines(content) for record in row.requests]


def finished_records(rows: Sequence[PromptRow], records: Sequence[RequestRecord]) -> dict[str, list[RequestRecord]]:
    """By prompt, the requests of those that need not be sent again: every turn ended, by the server's own doing."""
    by_prompt: dict[str, dict[int, RequestRecord]] = {}
    for record in records:
        by_prompt.setdefault(record.question_id, {})[record.turn] = record
    finished: dict[str, list[RequestRecord]] = {}
    for row in rows:
        turns = by_prompt.get(row.question_id, {})
        failed_early = any(record.error is not None for record in turns.values())
        done = len(turns) == count_turns(row.messages)
        if done and not any(r.outcome in SENT_AGAIN for r in turns.values() if not (failed_early and not r.sent)):
            finished[row.question_id] = [turns[turn] for turn in sorted(turns)]
    return finished


def windows_of(
    attempts: Sequence[RunAttempt], sets: Mapping[int, list[Snapshot]], categories: Mapping[int, str | None]
) -> tuple[Window | None, dict[str, Window]]:
    """The window of all attempts together, and that of each category that had windows of its own.

    Args:
        sets: snapshots that were taken together, by number.
        categories: by the number of a set, the category whose window ends with it.
    """
    whole: list[Window] = []
    parts: dict[str, list[Window]] = {}
    for attempt in attempts:
        if attempt.last_set is None:
            continue
        whole.append(Window(before=sets[attempt.first_set], after=sets[attempt.last_set]))
        numbers = [number for number in sorted(sets) if attempt.first_set <= number <= attempt.last_set]
        for first, last in pairwise(numbers):
            category = categories.get(last)
            if category is not None:
                parts.setdefault(category, []).append(Window(before=sets[first], after=sets[last]))
    joined = {name: one_after_the_other(windows) for name, windows in parts.items()}
    return one_after_the_other(whole), {name: window for name, window in joined.items() if window is not None}


def together(
    earlier: Conditions | None, kept: Sequence[RequestRecord], attempts: Sequence[RunAttempt], evidence: Evidence
) -> Conditions:
    """The conditions of a run that took several attempts.

    Args:
        earlier: of the attempts before; None if the last of them was killed.
        kept: the records that they left.
        evidence: of the latest attempt.
    """
    now = evidence.conditions
    observed = list(earlier.observed) if earlier is not None else []
    observed += [finding for finding in now.observed if finding not in observed]
    observed = [finding for finding in observed if finding.code not in ("window_not_closed", "attempt_cut_off")]
    relied_on = not has_statistics([*kept, *evidence.records])
    observed += check_attempts(attempts, relied_on=relied_on)
    known = _sent_twice(kept, attempts)
    seconds = earlier.wall_seconds if earlier is not None else _span(kept)
    categories = dict(earlier.category_wall_seconds) if earlier is not None else {}
    for name, value in now.category_wall_seconds.items():
        categories[name] = categories.get(name, 0.0) + value
    return msgspec.structs.replace(
        now,
        observed=observed,
        senders=[*(earlier.senders if earlier is not None else []), *now.senders],
        request_file=None,
        # Counters that miss a whole window cannot be compared with anything.
        cut_off=now.cut_off + known
        if now.cut_off is not None and known is not None and all(attempt.closed for attempt in attempts)
        else None,
        wall_seconds=seconds + now.wall_seconds,
        category_wall_seconds=categories,
    )


def torn_line() -> Finding:
    """The finding for a last line that was cut off while it was written."""
    return Finding(
        code="torn_line_dropped",
        severity="info",
        message="The last line of the answers was cut off when the run was killed; its request was sent again.",
    )


def _sent_twice(kept: Sequence[RequestRecord], attempts: Sequence[RunAttempt]) -> int | None:
    """How many requests the server may have counted before, at most; None where nothing bounds their number.

    A kill also loses what was answered within the second before it, and was not yet on disk.
    """
    known = sum(map(cut_off_requests, attempts[:-1]))
    killed = sum(attempt.closed_late for attempt in attempts[:-1])
    if not killed:
        return known
    ends = sorted(record.end_time for record in kept if record.sent and record.end_time)
    if not ends or ends[-1] - ends[0] < 1:
        return None
    most = first = 0
    for last, end in enumerate(ends):
        while end - ends[first] > 1:
            first += 1
        most = max(most, last - first + 1)
    return known + killed * most


def _span(records: Sequence[RequestRecord]) -> float:
    sent = [record for record in records if record.sent and record.end_time]
    return max(r.end_time for r in sent) - min(r.start_time for r in sent) if sent else 0.0
