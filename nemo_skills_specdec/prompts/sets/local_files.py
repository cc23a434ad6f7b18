"""Local files of prompts as a prompt set."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, local_origin
from nemo_skills_specdec.prompts.rows import read_rows


def load_local_file(path: Path, options: SetOptions) -> PromptSet:
    """Prompts of a file, read as `rows.read_rows` reads them.

    Raises:
        DataError: the file cannot be read, holds no prompt, or a row is broken.
        UsageError: a row lacks the column asked for.
    """
    read = read_rows(path, column=options.column)
    return PromptSet(rows=read.rows, origins=[local_origin(path)], findings=read.findings)
