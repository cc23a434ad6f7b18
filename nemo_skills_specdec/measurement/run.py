"""A run directory read back: everything that was measured, as plain data, and its result computed again."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.conclude import conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.resume import windows_of
from nemo_skills_specdec.measurement.run_directory import (
    MANIFEST,
    METRICS,
    OUTPUT,
    SNAPSHOTS,
    Manifest,
    RunAttempt,
    SnapshotFile,
    stored_snapshots,
)
from nemo_skills_specdec.measurement.warm_up import warm_up_requests
from nemo_skills_specdec.records import Message, PromptLabels, RequestRecord

Kind = TypeVar("Kind")

_OLD_SNAPSHOT = re.compile(r"(?P<number>\d+)-(?P<name>.+)-(?P<endpoint>\d+)\.txt")
_OBSERVED = {
    "client_slow",
    "dataset_changed",
    "emulated_prompts",
    "guidellm_unknown_requests",
    "request_file_broken_lines",
    "request_records_missing",
    "server_not_fresh",
    "turns_left_out",
}
"""Findings that were made on the way, of which answers and snapshots do not tell. Version 0.1 kept them only among the
results."""


class OutputRow(PromptLabels, kw_only=True, gc=False):
    """One line of `output.jsonl`: a prompt and the requests that it took, one a turn."""

    multiturn: bool = False
    messages: list[Message] = msgspec.field(default_factory=list)
    requests: list[RequestRecord]


class Run(msgspec.Struct, kw_only=True):
    """One run: what was asked, every answer, the raw metrics texts, and what it amounts to.

    Attributes:
        rows: one a prompt, in the order of the prompts; those that were never sent are left out.
        snapshots: those taken together, in the order taken; one of each metrics endpoint.
    """

    directory: Path
    manifest: Manifest
    evaluation: Evaluation
    rows: list[OutputRow]
    snapshots: list[list[Snapshot]]

    @property
    def records(self) -> list[RequestRecord]:
        """The requests of all prompts, turn by turn."""
        return [record for row in self.rows for record in row.requests]

    def recompute(self) -> Evaluation:
        """The result computed again from answers and snapshots; equal to `evaluation` for the same version."""
        with _uncollected():
            return conclude(self.evidence())

    def evidence(self) -> Evidence:
        """All that the result rests on."""
        manifest = self.manifest
        ends = {file.number: file.category for file in manifest.snapshots}
        window, categories = windows_of(manifest.attempts, dict(enumerate(self.snapshots)), ends)
        return Evidence(
            conditions=manifest.conditions or _old_conditions(self),
            server=manifest.server,
            records=self.records,
            window=window,
            categories=categories,
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a request, for a data frame; times in seconds, rates as fractions."""
        return [_flat(row, record) for row in self.rows for record in row.requests]


def load_run(directory: Path | str, *, texts: bool = True) -> Run:
    """Reads a run directory, a prompt at a time.

    Args:
        texts: whether to keep prompts, answers and what belongs to single tokens. Without them a large run takes half
            the memory or less, and all but what shows or compares texts can be computed from it.

    Raises:
        DataError: it is none, or a file of it cannot be read.
    """
    path = Path(directory)
    manifest, evaluation = load_result(path)
    with _uncollected():
        rows = list(_output_rows(path, texts=texts))
    if not manifest.snapshots:
        _fill_in_snapshots(path, manifest, list(evaluation.categories))
    snapshots = list(stored_snapshots(path, manifest.snapshots).values())
    return Run(directory=path, manifest=manifest, evaluation=evaluation, rows=rows, snapshots=snapshots)


def _output_rows(directory: Path, *, texts: bool) -> Iterator[OutputRow]:
    for row in output_lines(directory, OutputRow):
        # One text for all rows that say the same.
        row.category = sys.intern(row.category)
        for record in row.requests:
            record.category, record.question_id = row.category, row.question_id
            # Version 0.1 said only in its error that a request had been interrupted.
            if record.outcome is None and record.error == "interrupted":
                record.outcome = "interrupted"
            if not texts:
                record.generation, record.reasoning, record.steps, record.logprobs = "", None, None, None
        if not texts:
            row.messages = []
        yield row


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Does without the search for cycles, of which records have none, while very many of them are made."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def load_result(directory: Path) -> tuple[Manifest, Evaluation]:
    """Reads what a run directory says of the run as a whole, without its answers.

    Raises:
        DataError: it is none, or a file of it cannot be read.
    """
    if not (directory / METRICS).is_file():
        raise DataError(f"{directory} is not a finished run: it holds no {METRICS}")
    return _decoded(directory / MANIFEST, Manifest), _decoded(directory / METRICS, Evaluation)


def output_lines(directory: Path, kind: type[Kind]) -> Iterator[Kind]:
    """Reads the prompts of a run directory one by one, as far as `kind` has fields for them.

    Raises:
        DataError: they cannot be read.
    """
    path, decoder = directory / OUTPUT, msgspec.json.Decoder(kind)
    try:
        with path.open("rb") as file:
            for line in file:
                yield _read(path, decoder.decode, line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _decoded(path: Path, kind: type[Kind]) -> Kind:
    return _read(path, msgspec.json.Decoder(kind).decode)


def _read(path: Path, decode: Callable[[bytes], Kind], content: bytes | None = None) -> Kind:
    try:
        return decode(path.read_bytes() if content is None else content)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DataError(f"{path} was not written by this tool, or is damaged ({error})") from error


def _fill_in_snapshots(path: Path, manifest: Manifest, categories: Sequence[str]) -> None:
    """Describes the snapshots of version 0.1, which kept of them no more than text, order and the file's name."""
    urls = [str(url) for url in manifest.arguments.get("metrics_urls") or ()]
    names = [file.name for file in (path / SNAPSHOTS).glob("*.txt")]
    found = [match for name in names if (match := _OLD_SNAPSHOT.fullmatch(name))]
    found.sort(key=lambda match: (int(match["number"]), int(match["endpoint"])))
    last = max((int(match["number"]) for match in found), default=0)
    for match in found:
        number, endpoint, file = int(match["number"]), int(match["endpoint"]), match.string
        size = (path / SNAPSHOTS / file).stat().st_size
        manifest.snapshots.append(
            SnapshotFile(
                file=file,
                number=number,
                end="after" if number else "before",
                # Windows by category came in the order in which the result names the categories.
                category=categories[number - 1] if last > 1 and 0 < number <= len(categories) else None,
                url=urls[endpoint] if endpoint < len(urls) else file,
                taken_at=(path / SNAPSHOTS / file).stat().st_mtime,
                error=None if size else "the metrics could not be read when the run was made",
            )
        )
    if last:
        manifest.attempts = [
            RunAttempt(started_at=0.0, planned_rows=0, longest_row=0, concurrency=0, first_set=0, last_set=last)
        ]


def _old_conditions(run: Run) -> Conditions:
    """The conditions of a run of version 0.1, which did not keep them apart from arguments and results."""
    arguments, evaluation = run.manifest.arguments, run.evaluation
    interrupted = evaluation.status == "interrupted"
    overall = evaluation.overall
    load = msgspec.convert(arguments.get("load", {}), LoadOptions)
    request_file = evaluation.sources.get("request_file")
    several = len(run.snapshots) > 2
    return Conditions(
        benchmark=evaluation.benchmark,
        prompts_planned=len(run.manifest.prompts_sha256),
        request=msgspec.convert(arguments.get("request", {"model": ""}), RequestOptions),
        observed=[finding for finding in overall.acceptance.findings if finding.code in _OBSERVED],
        request_file=msgspec.convert(
            {name: getattr(request_file, name) for name in AcceptanceCounts.__struct_fields__}, AcceptanceCounts
        )
        if request_file is not None
        else None,
        warmup_requests=arguments.get("warmup_requests") or warm_up_requests(load),
        cut_off=None if interrupted else 0,
        interrupted=interrupted,
        wall_seconds=overall.speed.wall_seconds,
        category_wall_seconds={name: part.speed.wall_seconds for name, part in evaluation.categories.items()}
        if several
        else {},
        seed=arguments.get("seed") or 0,
    )


def _flat(row: OutputRow, record: RequestRecord) -> dict[str, Any]:
    counts = record.counts
    figures = {
        name: getattr(counts, name) if counts is not None else None
        for name in ("num_drafts", "num_draft_tokens", "num_accepted_tokens", "acceptance_length", "acceptance_rate")
    }
    fields = (
        "turn",
        "response_id",
        "status",
        "error",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "start_time",
        "end_time",
        "queue_seconds",
        "ttft_seconds",
        "tpot_seconds",
        "generation",
    )
    return {
        "question_id": row.question_id,
        "category": row.category,
        "sub_category": row.sub_category,
        **{name: getattr(record, name) for name in fields},
        **figures,
    }
