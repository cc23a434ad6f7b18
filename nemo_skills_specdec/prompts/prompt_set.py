"""What a prompt set is once it is loaded, and what may be asked of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.files import sha256_of_file
from nemo_skills_specdec.prompts.hub.access import Origin
from nemo_skills_specdec.prompts.prepared.rows import user_messages
from nemo_skills_specdec.records import Finding, PromptRow

SPEED_BENCH = "speed-bench"
"""The one prompt set that is made by rules of its own, and not by the catalog."""


class SetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of a prompt set; each set uses what applies to it.

    Attributes:
        path: a local file or folder to read in place of the hub's.
        column: of a hub data set, that holds the prompt.
        subsets: parts of a hub data set: files by their names, or a config.
        tokenizer: `tokenizer.json`, or a folder with one, for random prompts.
    """

    path: Path | None = None
    column: str | None = None
    config: str | None = None
    subsets: tuple[str, ...] = ()
    split: str | None = None
    revision: str | None = None
    num_prompts: int = 100
    prompt_tokens: int = 512
    tokenizer: Path | None = None
    seed: int = 0


class PromptSet(msgspec.Struct, kw_only=True):
    """Rows, the files they are from, and remarks on their use.

    Attributes:
        config: of the data set on the hub that the rows are from, if they are from one.
        split: likewise.
    """

    rows: list[PromptRow]
    origins: list[Origin]
    findings: list[Finding] = []
    config: str | None = None
    split: str | None = None


def prompt_row(
    identity: str,
    category: str,
    turns: Sequence[str],
    *,
    source: str,
    src_id: str | None = None,
    sub_category: str | None = None,
    difficulty: str | None = None,
) -> PromptRow:
    """A row of user turns."""
    return PromptRow(
        question_id=identity,
        category=category,
        sub_category=sub_category,
        source=source,
        src_id=src_id,
        difficulty=difficulty,
        multiturn=len(turns) > 1,
        messages=user_messages(turns),
    )


def text_id(text: str) -> str:
    """An id of 32 hexadecimal characters that follows from a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def local_origin(path: Path) -> Origin:
    """A local file as an origin: its name, not its path, so that manifests do not depend on the machine."""
    return Origin(path.name, sha256=sha256_of_file(path))
