"""Rows of the fault matrix, and the command line as a user meets it.

A test that proves a row carries it as a mark; `docs/reliability.md` is made of these marks (see `tests/conftest.py`).
"""

import contextlib
import io
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from nemo_skills_specdec.cli import main

KINDS = {
    1: "What cannot be is not believed",
    2: "Absence is no proof",
    3: "A surplus or a lack has more than one explanation",
    4: "What is not one is not merged",
    5: "No optional field decides",
    6: "What was answered is on disk",
    7: "Printing loses nothing and does no harm",
    8: "One hostile answer, file or text loses nothing else",
    9: "A dying server is no success",
    10: "No secret leaves the process",
    11: "Certificates are checked",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the matrix.

    Attributes:
        kind: of `KINDS`.
        what: goes wrong.
        seen: by the user; what stands in backticks is a finding's code or a text, word for word.
        code: the exit code; None where no command is concerned.
        kept: of what was measured or read.
    """

    kind: int
    what: str
    seen: str
    code: int | None
    kept: str


def fault(kind: int, what: str, seen: str, code: int | None, kept: str) -> pytest.MarkDecorator:
    """The mark of a test that proves a row."""
    return pytest.mark.fault(Fault(kind=kind, what=what, seen=seen, code=code, kept=kept))


def rows_of(items: list[pytest.Item]) -> list[Fault]:
    """All rows that these tests prove, in order."""
    found = {mark.args[0]: None for item in items for mark in item.iter_markers("fault")}
    return sorted(found, key=lambda row: (row.kind, row.what))


def table_of(rows: list[Fault]) -> str:
    """The matrix as Markdown."""
    lines = [f"{len(rows)} faults, each proved by a test.", ""]
    for kind, title in KINDS.items():
        lines += [f"### {title}", "", "| fault | what you see | exit code | what is kept |", "|---|---|---|---|"]
        for row in rows:
            if row.kind == kind:
                code = "-" if row.code is None else row.code
                lines.append(f"| {row.what} | {row.seen} | {code} | {row.kept} |".replace("||", "\\|\\|"))
        lines.append("")
    return "\n".join(lines)


BEGIN = "<!-- the matrix: made by `pytest tests --collect-only --fault-matrix docs/reliability.md` -->\n"


def with_table(page: str, table: str) -> str:
    """The page with its matrix replaced."""
    return page[: page.index(BEGIN)] + BEGIN + "\n" + table


class Done(msgspec.Struct, kw_only=True):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def command(*arguments: str | Path) -> Done:
    """Calls `ns-specdec` in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", ["ns-specdec", *map(str, arguments)]),
        mock.patch("nemo_skills_specdec.measurement.snapshots.SETTLE_SECONDS", 0.02),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name in ("specdec-finisher", "line-log")]
    return Done(code=code, out=texts[0], err=texts[1])


def prompt_file(folder: Path, count: int = 6, **more: Any) -> Path:
    """A file of so many prompts of one turn."""
    path = folder / "prompts.jsonl"
    rows = ({"id": f"q{i}", "category": "ab"[i % 2], "turns": [f"Number {i}"], **more} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(folder: Path, url: str, *options: str, count: int = 6) -> Done:
    """Runs `eval` on a server, into `folder / "run"`."""
    prompts = folder / "prompts.jsonl"
    if not prompts.exists():
        prompt_file(folder, count)
    given = ("--prompts", str(prompts), "--concurrency", "3", "--warmup", "1", "--output-dir", str(folder / "run"))
    return command("eval", "--server-url", url, *given, *options)


def findings_of(folder: Path) -> dict[str, str]:
    """The findings of a run, with their severity."""
    metrics = json.loads((folder / "metrics.json").read_text())
    return {f["code"]: f["severity"] for f in metrics["overall"]["acceptance"]["findings"]}


def answers_of(folder: Path) -> int:
    """How many requests of a run were answered."""
    lines = (folder / "output.jsonl").read_text().splitlines()
    return sum(record["error"] is None for line in lines for record in json.loads(line)["requests"])


def quoted(seen: str) -> list[str]:
    """What stands in backticks in `seen`."""
    return re.findall(r"`([^`]+)`", seen)
