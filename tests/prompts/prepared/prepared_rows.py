"""Rows to write and read."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.prompts.hub.access import Origin
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, write_prepared
from nemo_skills_specdec.prompts.prepared.rows import user_messages
from nemo_skills_specdec.records import PromptRow


def row(number: int, *turns: str, category: str = "qa", **more: str | None) -> PromptRow:
    return PromptRow(
        question_id=f"{number:032x}",
        category=category,
        sub_category=more.get("sub_category"),
        source=more.get("source", "s"),
        src_id=f"s_{number}",
        difficulty=None,
        multiturn=len(turns) > 1,
        messages=user_messages(turns),
    )


ROWS = [
    row(1, "one “quoted” </b>", category="qa", sub_category="a/b c"),
    row(2, "two", "and two", category="rag"),
    row(3, "three", category="qa"),
]


def write(folder: Path, rows: list[PromptRow], name: str = "prompts", benchmark: str = "mine") -> Path:
    manifest = PreparedManifest(benchmark=benchmark, config=name, comparable=True, dataset=[Origin("somewhere")])
    write_prepared(folder, name, rows, manifest)
    return folder
