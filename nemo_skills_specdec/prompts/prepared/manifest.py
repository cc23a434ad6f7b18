"""The file beside prepared rows that says how they came to be, and what each of them must hash to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.files import atomic_file, write_atomically
from nemo_skills_specdec.prompts.hub.access import Origin
from nemo_skills_specdec.prompts.prepared.rows import json_line, row_shape
from nemo_skills_specdec.records import Finding, PromptRow, prompt_sha256, turn_ends

SUFFIX = ".manifest.json"
FORMAT = 2
"""From format 2 on, hashes cover whole rows and the manifest itself; before, only the messages."""

PLACEHOLDER_MARK = "FULL BENCHMARK DATA"
"""What SPEED-Bench's placeholders begin with. Other tools have been seen measuring with it as the prompt."""


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """Where the fixed texts around the records came from.

    Attributes:
        standing: `known`: every text has the sha256 of what upstream used. `unknown`: some have not, and were accepted
            on request. `own`: this tool's wording; nothing measured with it is comparable. `prepared`: the rows came
            complete.
        sha256: of every text, by name.
    """

    standing: Literal["known", "unknown", "own", "prepared"]
    origin: str
    sha256: dict[str, str] = {}


class PreparedManifest(msgspec.Struct, kw_only=True):
    """How a file of prepared prompts came to be. It holds no time and no path, so that equal rows have equal manifests.

    Attributes:
        comparable: whether numbers measured with these prompts may stand beside others' numbers for this benchmark.
        source_config: config of the data set on the hub, where one was taken.
        source_rows: rows in the data set before anything was left out.
        skipped: rows left out, by reason.
        row_sha256: hash of each row's messages, by question id, in the order of the file.
        row_digests: hash of each whole row, by question id; manifests of format 1 have none.
        sha256: hash of the manifest itself, without this field; manifests of format 1 have none.
    """

    format: int = FORMAT
    tool: str = f"nemo-skills-specdec {__version__}"
    benchmark: str
    config: str
    comparable: bool
    flavor: str | None = None
    coser_order: str | None = None
    wording: Wording | None = None
    tokenizer: str | None = None
    dataset: list[Origin]
    sources: list[Origin] = []
    source_config: str | None = None
    source_split: str | None = None
    source_rows: int | None = None
    limit_per_category: int | None = None
    skipped: dict[str, int] = {}
    num_rows: int = 0
    num_turns: int = 0
    num_multiturn_rows: int = 0
    num_placeholders: int = 0
    rows_per_category: dict[str, int] = {}
    findings: list[Finding] = []
    row_sha256: dict[str, str] = {}
    row_digests: dict[str, str] = {}
    sha256: str | None = None


class RowTotals:
    """What a manifest says of all rows, counted one row after the other."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.categories: Counter[str] = Counter()
        self.hashes: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.turns = self.multiturn = self.placeholders = 0

    def add(self, row: PromptRow) -> None:
        """Counts a row."""
        self.hashes[row.question_id] = prompt_sha256(row.messages)
        self.digests[row.question_id] = hashlib.sha256(json_line(row_shape(row), row.question_id)).hexdigest()
        self.categories[row.category] += 1
        turns = len(turn_ends(row.messages))
        self.turns += turns
        self.multiturn += turns > 1
        self.placeholders += any(PLACEHOLDER_MARK in message.content for message in row.messages)

    def figures(self) -> dict[str, Any]:
        """The counts, under the names they have in a manifest."""
        return {
            "num_rows": len(self.hashes),
            "num_turns": self.turns,
            "num_multiturn_rows": self.multiturn,
            "num_placeholders": self.placeholders,
            "rows_per_category": dict(self.categories),
        }


def write_prepared(folder: Path, name: str, rows: Iterable[PromptRow], manifest: PreparedManifest) -> PreparedManifest:
    """Writes `<name>.jsonl` row by row, then `<name>.manifest.json` with counts and hashes, both atomically.

    Args:
        folder: created if it is not there; it gets a `.gitignore` that keeps data out of git.
        rows: consumed once, so that they need not all be in memory.
        manifest: everything but the counts and hashes.

    Returns:
        The manifest as written.
    """
    protect(folder)
    totals = RowTotals()
    manifest_path = folder / f"{name}{SUFFIX}"
    with atomic_file(folder / f"{name}.jsonl") as file:
        for row in rows:
            if row.question_id in totals.hashes:
                raise DataError(f"the id {row.question_id} is repeated in {name}; the data set is damaged")
            file.write(json_line(row_shape(row), f"row {row.question_id}"))
            totals.add(row)
        # Rows without a manifest are merely not verified; a manifest of other rows would be wrong.
        manifest_path.unlink(missing_ok=True)
    done = msgspec.structs.replace(
        manifest, **totals.figures(), format=FORMAT, row_sha256=totals.hashes, row_digests=totals.digests, sha256=None
    )
    done.sha256 = _digest(msgspec.to_builtins(done))
    write_atomically(manifest_path, msgspec.json.format(msgspec.json.encode(done), indent=1) + b"\n")
    return done


def read_manifest(path: Path) -> PreparedManifest | None:
    """The manifest beside a file of rows (`<name>.jsonl`); None if there is none.

    Raises:
        DataError: it cannot be understood.
    """
    place = _place(path)
    try:
        return msgspec.json.decode(place.read_bytes(), type=PreparedManifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"{place} is not a manifest of this tool ({error}); prepare the data again") from error


def is_intact(path: Path, manifest: PreparedManifest) -> bool:
    """Whether the manifest beside a file of rows is as it was written; those of format 1 cannot tell, and pass."""
    if manifest.format < FORMAT and manifest.sha256 is None:
        return True
    return manifest.sha256 == _digest(msgspec.json.decode(_place(path).read_bytes()))


def _place(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".jsonl") + SUFFIX)


def _digest(stored: dict[str, Any]) -> str:
    """Over what is stored, not over what this version knows of it."""
    return hashlib.sha256(msgspec.json.encode({**stored, "sha256": None}, order="sorted")).hexdigest()


def protect(folder: Path) -> None:
    """Puts a `.gitignore` into a data folder, unless it has one, since its rows must not be passed on."""
    place = folder / ".gitignore"
    if not place.exists():
        write_atomically(place, b"# Prepared prompts are licensed by their sources and must not be committed.\n*\n")
