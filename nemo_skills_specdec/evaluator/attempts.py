"""What each start of a generation job did: the windows it opened on the counters, and the answers it got in them.

A job that is interrupted and started again has several attempts, each with a window of its own; seeds and chunks have
theirs. Sums over windows are right only if every step lies in one window, so windows of one server that overlap, as
those of jobs running side by side do, are joined into one. The file beside an output holds all of it:

    output.jsonl -> output.jsonl.specdec.json
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.measurement.attempts import Attempt
from nemo_skills_specdec.measurement.snapshots import Window, one_after_the_other
from nemo_skills_specdec.records import Finding

SUFFIX = ".specdec.json"
"""Never `.jsonl`: NeMo-Skills takes every such file beside an output for one more seed."""


class JobAttempt(Attempt, kw_only=True):
    """One start of the job.

    Attributes:
        before: snapshots when it began, one per metrics endpoint.
        after: snapshots when it ended; empty if it was killed and never started again.
        responses: per-request counts of the rows it finished, by response id; None where the server sent none.
    """

    before: list[Snapshot]
    after: list[Snapshot] = msgspec.field(default_factory=list)
    responses: dict[str, AcceptanceCounts | None] = msgspec.field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether there are snapshots at its end."""
        return bool(self.after)


class Attempts(msgspec.Struct, kw_only=True):
    """The content of the file beside an output.

    Attributes:
        arguments: what the job was asked to do, without secrets.
        server: what the server said about itself when the latest attempt began.
        contradictions: why the statistics of answers contradict themselves, one of each such answer.
    """

    server: ServerInfo
    attempts: list[JobAttempt]
    arguments: dict[str, Any] = {}
    findings: list[Finding] = []
    contradictions: list[str] = []
    tool_version: str = __version__


def side_file(output: Path) -> Path:
    """Where the attempts of an output are kept."""
    return output.with_name(output.name + SUFFIX)


def read_attempts(path: Path) -> Attempts | None:
    """The attempts kept in a file; None if there is no such file.

    Raises:
        DataError: the file is broken.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Attempts)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it to go by the rows alone") from error


def write_attempts(path: Path, attempts: Attempts) -> None:
    """Writes the file whole or not at all."""
    write_atomically(path, pretty(attempts))


def attempts_of_output(output: Path) -> list[Attempts]:
    """Everything kept about one output file: its own attempts, and those of the chunks it was merged from."""
    return [found for path in _side_files_of(output) if (found := read_attempts(path)) is not None]


def _side_files_of(output: Path) -> list[Path]:
    chunks = re.compile(re.escape(output.stem) + r"_chunk_\d+" + re.escape(output.suffix + SUFFIX))
    paths = [side_file(output)]
    if output.parent.is_dir():
        paths += sorted(path for path in output.parent.iterdir() if chunks.fullmatch(path.name))
    return paths


def attempts_beside(outputs: Collection[Path]) -> dict[str, list[JobAttempt]]:
    """Attempts of the other outputs of the same evaluation, by benchmark; one that cannot be read is left out.

    Args:
        outputs: of one benchmark, `<evaluation>/<benchmark>/output*.jsonl`.
    """
    own = {path.resolve() for output in outputs for path in _side_files_of(output)}
    found: dict[str, list[JobAttempt]] = {}
    for evaluation in {output.absolute().parent.parent for output in outputs}:
        for path in sorted(evaluation.glob(f"*/output*{SUFFIX}")):
            if path.resolve() in own:
                continue
            try:
                kept = read_attempts(path)
            except DataError:
                continue
            if kept is not None:
                found.setdefault(path.parent.name, []).extend(kept.attempts)
    return found


def side_by_side(attempts: Iterable[JobAttempt], others: Mapping[str, Sequence[JobAttempt]]) -> list[str]:
    """Benchmarks with an attempt that used a server at the same time as one of these."""

    def meet(one: JobAttempt, other: JobAttempt) -> bool:
        apart = one.started_at > (other.ended_at or math.inf) or other.started_at > (one.ended_at or math.inf)
        return not apart and bool({item.url for item in one.before} & {item.url for item in other.before})

    ours = list(attempts)
    return [name for name, given in others.items() if any(meet(one, other) for one in ours for other in given)]


def close_late(attempt: JobAttempt, snapshots: Sequence[Snapshot], now: float) -> None:
    """Closes the window of an attempt that was killed, if these snapshots are of the endpoints it began with."""
    if attempt.after or [item.url for item in snapshots] != [item.url for item in attempt.before]:
        return
    attempt.after = list(snapshots)
    attempt.ended_at = now
    attempt.status = "cut_off"
    attempt.closed_late = True


def book_responses(attempts: Attempts, responses: Mapping[str, AcceptanceCounts | None], *, finished_rows: int) -> None:
    """Gives answers that no earlier attempt has to the latest one, and counts its finished rows.

    Args:
        responses: of all rows there are, by response id.
        finished_rows: rows there are, those of earlier attempts included.
    """
    *earlier, latest = attempts.attempts
    known = {identity for attempt in earlier for identity in attempt.responses}
    latest.responses = {identity: counts for identity, counts in responses.items() if identity not in known}
    latest.finished_rows = finished_rows - sum(attempt.finished_rows for attempt in earlier)


def taking_part(attempts: Iterable[JobAttempt], response_ids: Collection[str]) -> list[JobAttempt]:
    """The attempts that gave at least one of these answers; those of an earlier, overwritten run are left out."""
    return [attempt for attempt in attempts if any(identity in response_ids for identity in attempt.responses)]


def joined_windows(attempts: Iterable[JobAttempt]) -> Window | None:
    """The windows of all attempts as one, those of one set of endpoints that overlap in time joined first.

    An attempt without snapshots at its end has no window; `check_attempts` tells of it. None without any.
    """
    by_endpoints: dict[tuple[str, ...], list[Window]] = {}
    closed = [attempt for attempt in attempts if attempt.before and attempt.after]
    for attempt in sorted(closed, key=lambda attempt: attempt.before[0].taken_at):
        windows = by_endpoints.setdefault(tuple(item.url for item in attempt.before), [])
        if windows and attempt.before[0].taken_at < windows[-1].after[0].taken_at:
            known = windows[-1]
            last = attempt.after if attempt.after[0].taken_at > known.after[0].taken_at else known.after
            windows[-1] = Window(before=known.before, after=last)
        else:
            windows.append(Window(before=attempt.before, after=attempt.after))
    return one_after_the_other([window for windows in by_endpoints.values() for window in windows])
