"""The run directory: everything measured, complete enough to compute every number again; no secrets.

output.jsonl     one row a prompt, in NeMo-Skills' field names, the requests of its turns inside
metrics.json     the `Evaluation`
manifest.json    what was asked, of which server, with which prompts and versions, and how it went
snapshots/       the raw /metrics texts, in the order taken
answers.jsonl    only while the run goes on, or after it was killed: every request as it ended

Everything is on disk within a second of its being known, so that a run that is killed loses nothing.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import JSON_ERRORS, DataError, UsageError, WriteError
from nemo_skills_specdec.files import LineLog, atomic_file, locked, pretty, safe_name, write_atomically
from nemo_skills_specdec.measurement.attempts import Attempt
from nemo_skills_specdec.measurement.evidence import Conditions
from nemo_skills_specdec.measurement.hooks import Edge
from nemo_skills_specdec.measurement.measure import Measurement
from nemo_skills_specdec.measurement.output_row import output_row
from nemo_skills_specdec.records import PromptRow, RequestRecord, prompt_sha256
from nemo_skills_specdec.redaction import redacted_bytes, redacted_data

OUTPUT = "output.jsonl"
METRICS = "metrics.json"
MANIFEST = "manifest.json"
SNAPSHOTS = "snapshots"
ANSWERS = "answers.jsonl"
_LOCK = ".lock"
_PACKAGES = ("msgspec", "numpy", "aiohttp", "requests", "prometheus_client")


class SnapshotFile(msgspec.Struct, frozen=True, kw_only=True):
    """A metrics text in the run directory, and all that its name does not say.

    Attributes:
        number: of the set of snapshots that were taken together, one of each endpoint.
        end: whether it stands at the start or at the end of a window.
        category: whose window ends with it, where each category had one of its own.
    """

    file: str
    number: int
    end: Literal["before", "after"]
    category: str | None = None
    url: str
    taken_at: float
    status: int | None = None
    error: str | None = None


class RunAttempt(Attempt, kw_only=True):
    """One start of a run, with the numbers of the sets of snapshots at both ends of its window.

    Attributes:
        last_set: None while it goes on, and for ever if it was killed and never taken up again.
    """

    first_set: int
    last_set: int | None = None

    @property
    def closed(self) -> bool:
        """Whether its window has an end."""
        return self.last_set is not None


class Manifest(msgspec.Struct, kw_only=True):
    """The content of `manifest.json`.

    Attributes:
        status: `running` from the start; for ever, if the run was killed.
        arguments: what the run was asked to do; the API key is never among them.
        server: white-listed answers of the server about itself.
        prompts_sha256: by question id; the hash of the messages, whatever file they came from.
        conditions: how the measurement went; None in directories of version 0.1 and while it goes on.
        snapshots: the metrics texts, in the order taken; empty in directories of version 0.1.
        attempts: one, and one more for each time it was taken up again.
    """

    tool_version: str
    python_version: str
    platform: str
    package_versions: dict[str, str]
    status: Literal["running", "complete", "interrupted"] = "complete"
    started_at: str
    ended_at: str | None = None
    arguments: dict[str, Any]
    server: ServerInfo
    prompts_sha256: dict[str, str]
    conditions: Conditions | None = None
    snapshots: list[SnapshotFile] = []
    attempts: list[RunAttempt] = []


class RunWriter:
    """Writes one run, from its start to its end. A full disk stops no measurement: `finish` tells of it.

    Attributes:
        manifest: as last written.
    """

    def __init__(
        self,
        directory: Path,
        rows: Sequence[PromptRow],
        manifest: Manifest,
        kept: Sequence[RequestRecord] = (),
        secrets: Sequence[str] = (),
        *,
        same_server: bool = True,
    ) -> None:
        """Writes the manifest of a run that is about to start.

        Args:
            rows: all prompts of the run, in order.
            manifest: whose last attempt is the one that starts.
            kept: requests of earlier attempts that are not sent again.
            secrets: texts that must come into no file, whoever sent them.
            same_server: whether the server is the one of the earlier attempts, whose counters go on.

        Raises:
            WriteError: the directory cannot be written.
        """
        self.directory = directory
        self.manifest = manifest
        self._rows = rows
        self._secrets, self._same_server = secrets, same_server
        self._sets = max((file.number + 1 for file in manifest.snapshots), default=0)
        self._unwritten: dict[str, bytes] = {}
        write_atomically(directory / ANSWERS, b"".join(msgspec.json.encode(record) + b"\n" for record in kept))
        self._log = LineLog(directory / ANSWERS)
        self._recalled = self._log.end
        for file in (METRICS, OUTPUT):
            (directory / file).unlink(missing_ok=True)
        self._write_manifest(directory)

    def record(self, record: RequestRecord) -> None:
        """Keeps a request that ended, without the secrets that it may repeat."""
        self._log.append(msgspec.json.encode(redacted_data(record, self._secrets)))

    def recall(self) -> list[RequestRecord]:
        """The requests that were kept since the last call, without their texts and steps, which stay in the log."""
        found = [_figures(msgspec.json.decode(line, type=RequestRecord)) for _, line in self._log.lines(self._recalled)]
        self._recalled = self._log.end
        return found

    def snapshots(self, taken: Sequence[Snapshot], edge: Edge) -> None:
        """Keeps snapshots that were taken together."""
        name = edge.end if edge.category is None else f"{edge.end}-{edge.category}"
        for endpoint, snapshot in enumerate(taken):
            file = f"{self._sets:02d}-{safe_name(name)}-{endpoint}.txt"
            told = {key: getattr(snapshot, key) for key in ("url", "taken_at", "status", "error")}
            entry = SnapshotFile(file=file, number=self._sets, end=edge.end, category=edge.category, **told)
            self.manifest.snapshots.append(entry)
            self._unwritten[file] = redacted_bytes(snapshot.text.encode("utf-8", "surrogateescape"), self._secrets)
        self._note(edge)
        self._sets += 1
        with contextlib.suppress(WriteError):
            self._write_snapshots(self.directory)
            self._write_manifest(self.directory)

    def _note(self, edge: Edge) -> None:
        """Notes in the attempts where their windows begin and end."""
        *earlier, latest = self.manifest.attempts
        if edge.end == "after":
            latest.last_set = self._sets
            return
        latest.first_set = self._sets
        # What an attempt that was killed had begun is over by now, or in the window of the next.
        for attempt in earlier:
            if attempt.ended_at is None and attempt.status != "cut_off":
                attempt.status = "cut_off"
                if self._same_server:
                    attempt.last_set, attempt.closed_late = self._sets, True

    def finish(self, measurement: Measurement) -> None:
        """Writes rows, manifest and, last of all, metrics: a directory with `metrics.json` is complete.

        If the disk is full, the whole run is written into the system's temporary folder instead.

        Raises:
            WriteError: it could not be written here; the message says where it is.
        """
        self.manifest.status = measurement.evaluation.status
        self.manifest.ended_at = utc(measurement.ended_at)
        self.manifest.conditions = measurement.evidence.conditions
        latest = self.manifest.attempts[-1]
        latest.ended_at = measurement.ended_at
        latest.status = "complete" if measurement.evaluation.status == "complete" else "cut_off"
        self._log.settle()
        try:
            self._write_all(self.directory, measurement)
        except WriteError as error:
            raise self._rescued(measurement, error) from error
        finally:
            self._log.close()
        (self.directory / ANSWERS).unlink()

    def abandon(self) -> None:
        """Closes the files of a run that has no result; what was answered stays on disk."""
        self._log.close()
        if not self._log.end and len(self.manifest.attempts) == 1:
            for file in (ANSWERS, MANIFEST):
                (self.directory / file).unlink(missing_ok=True)

    def _rescued(self, measurement: Measurement, error: WriteError) -> WriteError:
        """Writes the run elsewhere; the error that tells where it is."""
        try:
            folder = Path(tempfile.mkdtemp(prefix="ns-specdec-run-"))
            for file in self.manifest.snapshots:
                written = self.directory / SNAPSHOTS / file.file
                if file.file not in self._unwritten:
                    self._unwritten[file.file] = written.read_bytes()
            self._write_all(folder, measurement)
        except (OSError, WriteError) as second:
            return WriteError(
                f"{error}; nor can the run be written to the temporary folder ({second}), so what is printed is all "
                f"that is kept besides {self.directory / ANSWERS}"
            )
        return WriteError(f"{error}; the run is in {folder} instead, move it where there is space")

    def _write_all(self, folder: Path, measurement: Measurement) -> None:
        self._write_snapshots(folder)
        self._write_output(folder / OUTPUT, measurement.evidence.records)
        self._write_manifest(folder)
        write_atomically(folder / METRICS, pretty(redacted_data(measurement.evaluation, self._secrets)))

    def _write_manifest(self, folder: Path) -> None:
        write_atomically(folder / MANIFEST, pretty(redacted_data(self.manifest, self._secrets)))

    def _write_snapshots(self, folder: Path) -> None:
        for file in list(self._unwritten):
            write_atomically(folder / SNAPSHOTS / file, self._unwritten[file])
            del self._unwritten[file]

    def _write_output(self, path: Path, records: Sequence[RequestRecord]) -> None:
        """One output row a prompt, in the order of the prompts; texts come from the log, one prompt at a time."""
        by_prompt: dict[str, list[RequestRecord]] = {}
        for record in records:
            by_prompt.setdefault(record.question_id, []).append(record)
        places = self._places()
        with atomic_file(path) as output:
            for row in self._rows:
                if turns := [self._with_text(record, places) for record in by_prompt.get(row.question_id, [])]:
                    output.write(msgspec.json.encode(output_row(row, turns)) + b"\n")

    def _places(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Where the latest line of every request lies in the log."""
        key = msgspec.json.Decoder(_LineKey)
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for start, line in self._log.lines():
            told = key.decode(line)
            found[told.question_id, told.turn] = start, start + len(line)
        return found

    def _with_text(self, record: RequestRecord, places: Mapping[tuple[str, int], tuple[int, int]]) -> RequestRecord:
        place = places.get((record.question_id, record.turn))
        if place is None:
            return record
        kept = msgspec.json.decode(self._log.read(*place), type=RequestRecord)
        return msgspec.structs.replace(record, generation=kept.generation, reasoning=kept.reasoning, steps=kept.steps)


class _LineKey(msgspec.Struct):
    """What tells a line of the log from the others."""

    question_id: str
    turn: int


def _figures(record: RequestRecord) -> RequestRecord:
    record.generation = ""
    record.reasoning = record.steps = None
    return record


def stored_snapshots(directory: Path, files: Sequence[SnapshotFile]) -> dict[int, list[Snapshot]]:
    """The snapshots of a run directory, by the number of the set that they were taken in.

    Raises:
        DataError: a file of them cannot be read.
    """
    sets: dict[int, list[Snapshot]] = {}
    for file in files:
        try:
            text = (directory / SNAPSHOTS / file.file).read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            raise DataError(f"cannot read {directory / SNAPSHOTS / file.file}: {error.strerror}") from error
        snapshot = Snapshot(url=file.url, taken_at=file.taken_at, status=file.status, text=text, error=file.error)
        sets.setdefault(file.number, []).append(snapshot)
    return sets


def prepare_directory(path: Path) -> None:
    """Makes the run directory, and finds out now whether it can be written.

    Raises:
        UsageError: it cannot be made or written, or it holds a complete run.
    """
    if (path / METRICS).exists() and not is_unfinished(path):
        raise UsageError(f"{path} holds a run already; give another --output-dir, or remove it")
    try:
        (path / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}; give another --output-dir") from error


def is_unfinished(path: Path) -> bool:
    """Whether a directory holds a run that was killed or interrupted."""
    with contextlib.suppress(OSError, *JSON_ERRORS):
        status = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest).status
        return status != "complete" or not (path / METRICS).is_file()
    return False


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps other runs out of a directory.

    Raises:
        UsageError: another run is in it.
    """
    with locked(path / _LOCK) as mine:
        if not mine:
            raise UsageError(f"{path} is in use by another run; give another --output-dir")
        yield


@contextlib.contextmanager
def removed_if_empty(path: Path) -> Iterator[None]:
    """Takes the prepared directory away again if the block fails before anything is in it."""
    try:
        yield
    except BaseException:
        for folder in (path / SNAPSHOTS, path):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def new_manifest(
    arguments: Mapping[str, Any], server: ServerInfo, rows: Sequence[PromptRow], started_at: float
) -> Manifest:
    """The manifest of a run that starts at this time (seconds since the epoch)."""
    packages: dict[str, str] = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return Manifest(
        tool_version=__version__,
        python_version=sys.version.split()[0],
        platform=platform.platform(),
        package_versions=packages,
        status="running",
        started_at=utc(started_at),
        arguments=dict(arguments),
        server=server,
        prompts_sha256={row.question_id: prompt_sha256(row.messages) for row in rows},
    )


def utc(seconds: float) -> str:
    """A time in seconds since the epoch, as ISO 8601."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
