"""A run directory read back: everything that was measured, as plain data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS, OUTPUT, SNAPSHOTS, Manifest
from nemo_skills_specdec.records import Message, RequestRecord

Kind = TypeVar("Kind")

_SNAPSHOT = re.compile(r"(?P<number>\d+)-(?P<name>.+)-(?P<endpoint>\d+)\.txt")


class OutputRow(msgspec.Struct, kw_only=True):
    """One line of `output.jsonl`: a prompt and the requests that it took, one a turn."""

    question_id: str
    category: str
    sub_category: str | None = None
    source: str | None = None
    src_id: str | None = None
    difficulty: str | None = None
    multiturn: bool = False
    messages: list[Message] = []
    requests: list[RequestRecord]


class Run(msgspec.Struct, kw_only=True):
    """One run: what was asked, every answer, the raw metrics texts, and what it amounts to.

    Attributes:
        rows: one a prompt, in the order of the prompts; those that were never sent are left out.
        snapshots: by name, in the order taken; one of each metrics endpoint.
    """

    directory: Path
    manifest: Manifest
    evaluation: Evaluation
    rows: list[OutputRow]
    snapshots: list[tuple[str, list[Snapshot]]]

    @property
    def records(self) -> list[RequestRecord]:
        """The requests of all prompts, turn by turn."""
        return [record for row in self.rows for record in row.requests]


def load_run(directory: Path | str) -> Run:
    """Reads a run directory.

    Raises:
        DataError: it is none, or a file of it cannot be read.
    """
    path = Path(directory)
    if not (path / METRICS).is_file():
        raise DataError(f"{path} is not a finished run: it holds no {METRICS}")
    manifest = _decoded(path / MANIFEST, Manifest)
    return Run(
        directory=path,
        manifest=manifest,
        evaluation=_decoded(path / METRICS, Evaluation),
        rows=_rows(path / OUTPUT),
        snapshots=_snapshots(path / SNAPSHOTS, manifest.arguments),
    )


def _decoded(path: Path, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} was not written by this tool, or is damaged ({error})") from error


def _rows(path: Path) -> list[OutputRow]:
    try:
        return msgspec.json.Decoder(OutputRow).decode_lines(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} was not written by this tool, or is damaged ({error})") from error


def _snapshots(folder: Path, arguments: dict[str, Any]) -> list[tuple[str, list[Snapshot]]]:
    urls = [str(url) for url in arguments.get("metrics_urls") or ()]
    taken: dict[int, tuple[str, list[Snapshot]]] = {}
    for path in sorted(folder.glob("*.txt")):
        found = _SNAPSHOT.fullmatch(path.name)
        if found is None:
            continue
        endpoint = int(found["endpoint"])
        url = urls[endpoint] if endpoint < len(urls) else path.name
        snapshot = Snapshot(url=url, taken_at=path.stat().st_mtime, text=path.read_text(errors="replace"))
        taken.setdefault(int(found["number"]), (found["name"], []))[1].append(snapshot)
    return [taken[number] for number in sorted(taken)]
