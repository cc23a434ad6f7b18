"""The run directory: everything measured, complete enough to compute every number again; no secrets.

output.jsonl     one row a prompt, in NeMo-Skills' field names, the requests of its turns inside
metrics.json     the `Evaluation`
manifest.json    what was asked, of which server, with which prompts and versions
snapshots/       the raw /metrics texts, in the order taken
"""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.records import PromptRow, RequestRecord, prompt_sha256

OUTPUT = "output.jsonl"
METRICS = "metrics.json"
MANIFEST = "manifest.json"
SNAPSHOTS = "snapshots"


class Manifest(msgspec.Struct, kw_only=True):
    """The content of `manifest.json`.

    Attributes:
        arguments: what the run was asked to do; the API key is never among them.
        server: white-listed answers of the server about itself.
        prompts_sha256: by question id; the hash of the messages, whatever file they came from.
    """

    tool_version: str
    python_version: str
    platform: str
    package_versions: dict[str, str]
    started_at: str
    ended_at: str
    arguments: dict[str, Any]
    server: ServerInfo
    prompts_sha256: dict[str, str]


def prepare_directory(path: Path) -> None:
    """Makes the run directory, and finds out now whether it can be written.

    Raises:
        UsageError: it cannot be made or written, or it holds a run already.
    """
    if (path / METRICS).exists() or (path / OUTPUT).exists():
        raise UsageError(f"{path} holds a run already; give another --output-dir, or remove it")
    try:
        (path / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}; give another --output-dir") from error


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


def manifest_of(
    arguments: Mapping[str, Any], server: ServerInfo, rows: Sequence[PromptRow], started_at: float, ended_at: float
) -> Manifest:
    """The manifest of a run that started and ended at these times (seconds since the epoch)."""
    packages: dict[str, str] = {}
    for name in ("aiohttp", "msgspec", "numpy", "prometheus_client", "requests"):
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return Manifest(
        tool_version=__version__,
        python_version=sys.version.split()[0],
        platform=platform.platform(),
        package_versions=packages,
        started_at=_utc(started_at),
        ended_at=_utc(ended_at),
        arguments=dict(arguments),
        server=server,
        prompts_sha256={row.question_id: prompt_sha256(row.messages) for row in rows},
    )


def output_rows(rows: Sequence[PromptRow], records: Sequence[RequestRecord]) -> list[dict[str, Any]]:
    """One output row a prompt, in the order of the prompts, in NeMo-Skills' field names.

    For a multi-turn prompt `generation` is a list with an entry a turn, `num_generated_tokens` their sum.
    """
    by_prompt: dict[str, list[RequestRecord]] = {}
    for record in records:
        by_prompt.setdefault(record.question_id, []).append(record)
    output = []
    for row in rows:
        turns = sorted(by_prompt.get(row.question_id, []), key=lambda record: record.turn)
        if not turns:
            continue
        tokens = [turn.completion_tokens for turn in turns if turn.completion_tokens is not None]
        generations = [turn.generation for turn in turns]
        errors = [f"turn {turn.turn}: {turn.error}" for turn in turns if turn.error is not None]
        output.append(
            {
                **msgspec.to_builtins(row),
                "generation": generations if len(turns) > 1 else generations[0],
                "num_generated_tokens": sum(tokens) if tokens else None,
                "finish_reason": turns[-1].finish_reason,
                "generation_start_time": min(turn.start_time for turn in turns),
                "generation_end_time": max(turn.end_time for turn in turns),
                "generation_time": sum(turn.end_time - turn.start_time for turn in turns),
                "response_ids": [turn.response_id for turn in turns],
                "error": "; ".join(errors) or None,
                "requests": [msgspec.to_builtins(turn) for turn in turns],
            }
        )
    return output


def write_snapshots(path: Path, snapshots: Sequence[tuple[str, Sequence[Snapshot]]]) -> None:
    """Writes raw metrics texts as `snapshots/<number>-<name>-<endpoint>.txt`, in the order taken."""
    for number, (name, taken) in enumerate(snapshots):
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
        for endpoint, snapshot in enumerate(taken):
            write_atomically(path / SNAPSHOTS / f"{number:02d}-{safe}-{endpoint}.txt", snapshot.text.encode())


def write_run(path: Path, *, rows: Sequence[Mapping[str, Any]], evaluation: Evaluation, manifest: Manifest) -> None:
    """Writes rows, manifest and, last of all, metrics: a directory with `metrics.json` is complete."""
    write_atomically(path / OUTPUT, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    write_atomically(path / MANIFEST, pretty(manifest))
    write_atomically(path / METRICS, pretty(evaluation))


def pretty(value: object) -> bytes:
    """JSON for files that people open too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
