"""The file beside prepared rows that says how they came to be, and what each of them must hash to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.files import atomic_file, write_atomically
from nemo_skills_specdec.prompts.hub.access import Origin
from nemo_skills_specdec.prompts.prepared.rows import json_line, row_shape, user_turns
from nemo_skills_specdec.records import Finding, PromptRow, prompt_sha256

SUFFIX = ".manifest.json"


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


class Manifest(msgspec.Struct, kw_only=True):
    """How a file of prepared prompts came to be. It holds no time and no path, so that equal rows have equal manifests.

    Attributes:
        comparable: whether numbers measured with these prompts may stand beside others' numbers for this benchmark.
        source_rows: rows in the data set before anything was left out.
        skipped: rows left out, by reason.
        row_sha256: hash of each row's messages, by question id, in the order of the file.
    """

    format: int = 1
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


def write_prepared(folder: Path, name: str, rows: Iterable[PromptRow], manifest: Manifest) -> Manifest:
    """Writes `<name>.jsonl` row by row, then `<name>.manifest.json` with counts and hashes, both atomically.

    Args:
        folder: created if it is not there; it gets a `.gitignore` that keeps data out of git.
        name: of the config.
        rows: consumed once, so that they need not all be in memory.
        manifest: everything but the counts and hashes.

    Returns:
        The manifest as written.
    """
    protect(folder)
    categories: Counter[str] = Counter()
    hashes: dict[str, str] = {}
    turns = multiturn = 0
    manifest_path = folder / f"{name}{SUFFIX}"
    with atomic_file(folder / f"{name}.jsonl") as file:
        for row in rows:
            if row.question_id in hashes:
                raise DataError(f"the id {row.question_id} comes twice in {name}; the data set is damaged")
            file.write(json_line(row_shape(row), f"row {row.question_id}"))
            hashes[row.question_id] = prompt_sha256(row.messages)
            categories[row.category] += 1
            count = len(user_turns(row))
            turns += count
            multiturn += count > 1
        # Rows without a manifest are merely not verified; a manifest of other rows would be wrong.
        manifest_path.unlink(missing_ok=True)
    done = msgspec.structs.replace(
        manifest,
        num_rows=len(hashes),
        num_turns=turns,
        num_multiturn_rows=multiturn,
        rows_per_category=dict(categories),
        row_sha256=hashes,
    )
    write_atomically(manifest_path, msgspec.json.format(msgspec.json.encode(done), indent=1) + b"\n")
    return done


def read_manifest(path: Path) -> Manifest | None:
    """The manifest beside a file of rows (`<name>.jsonl`); None if there is none.

    Raises:
        DataError: it cannot be understood.
    """
    place = path.with_name(path.name.removesuffix(".jsonl") + SUFFIX)
    try:
        return msgspec.json.decode(place.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{place} is not a manifest of this tool ({error}); prepare the data again") from error


def protect(folder: Path) -> None:
    """Puts a `.gitignore` into a data folder, unless it has one, since its rows must not be passed on."""
    place = folder / ".gitignore"
    if not place.exists():
        write_atomically(place, b"# Prepared prompts are licensed by their sources and must not be committed.\n*\n")
