"""Programming problems from livecodebench/code_generation_lite: gigabytes of tests around a few lines of text.

The files are read as a stream and only until the problems are found. Every line passed is noted with its place, so
that a later run neither starts again nor reads a line twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access, Origin
from nemo_skills_specdec.prompts.hub.repository import Repository
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, not_found
from nemo_skills_specdec.prompts.speed_bench.templates import filled

_REPOSITORY = "livecodebench/code_generation_lite"
_REVISION = "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
_FILES = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
_NOTES = f"lines of {_REPOSITORY} {_REVISION}"


class Problem(msgspec.Struct):
    """What is needed of a problem. The tests, which are nearly all of its size, are skipped while it is decoded."""

    question_id: str
    question_content: str
    starter_code: str


class _Line(msgspec.Struct, array_like=True):
    """A line passed: its problem and its place; the problem itself if it was wanted."""

    question_id: str
    file: str
    start: int
    stop: int
    problem: Problem | None = None


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Finds the problems by their id."""
    problems = find_problems(access, {row.src_id for row in rows})

    def turns(row: RawRow) -> list[str]:
        if row.src_id not in problems:
            raise not_found(row, _REPOSITORY)
        problem = problems[row.src_id]
        return [filled(row.template, question=problem.question_content, starter_code=problem.starter_code)]

    return turns


def find_problems(access: Access, wanted: set[str]) -> dict[str, Problem]:
    """The first problem of each id, in the order of the files; ids not found are absent."""
    with access.cache.lock(_NOTES):
        return _find_problems(access, wanted)


def _find_problems(access: Access, wanted: set[str]) -> dict[str, Problem]:
    repository = access.repository(_REPOSITORY, _REVISION)
    notes = access.cache.document(_NOTES)
    lines = _noted(notes)
    for file in _FILES:
        if wanted <= {line.question_id for line in lines}:
            break
        missing = wanted - {line.question_id for line in lines}
        position = max((line.stop for line in lines if line.file == file), default=0)
        lines.extend(_scan(access, repository, file, position, missing, notes))
    first: dict[str, _Line] = {}
    for line in sorted(lines, key=lambda line: (_FILES.index(line.file), line.start)):
        first.setdefault(line.question_id, line)
    found = {key: _problem(access, repository, first[key]) for key in sorted(wanted & set(first))}
    for key in found:
        _note_use(access, repository, first[key].file)
    return found


def _scan(
    access: Access, repository: Repository, file: str, position: int, missing: set[str], notes: Path
) -> Iterator[_Line]:
    """Reads lines from `position` on until nothing is missing, and notes each."""
    described = next((entry for entry in repository.files if entry.path == file), None)
    if described is None:
        raise DataError(f"{_REPOSITORY} at {_REVISION[:12]} has no file {file}; was the source changed?")
    if described.size is not None and position >= described.size:
        return
    missing = set(missing)
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("ab") as log:
        blocks = access.fetcher.stream(repository.url(file), position, name=f"LiveCodeBench {file}")
        for text in _lines(blocks):
            stop = position + len(text)
            if text.strip():
                problem = _decoded(text, file, position)
                keep = problem if problem.question_id in missing else None
                line = _Line(problem.question_id, file, position, stop, keep)
                log.write(msgspec.json.encode(line) + b"\n")
                log.flush()
                yield line
                missing.discard(problem.question_id)
                if not missing:
                    blocks.close()
                    return
            position = stop


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines with their ends."""
    pieces: list[bytes] = []
    for block in blocks:
        start = 0
        while (end := block.find(b"\n", start)) >= 0:
            yield b"".join([*pieces, block[start : end + 1]])
            pieces = []
            start = end + 1
        pieces.append(block[start:])
    if any(pieces):
        yield b"".join(pieces)


def _problem(access: Access, repository: Repository, line: _Line) -> Problem:
    if line.problem is not None:
        return line.problem
    data = access.cache.range(access.fetcher, repository.url(line.file), line.start, line.stop)
    return _decoded(data, line.file, line.start)


def _decoded(line: bytes, file: str, position: int) -> Problem:
    try:
        return msgspec.json.decode(line, type=Problem)
    except msgspec.MsgspecError as error:
        raise DataError(f"{_REPOSITORY} {file}: the line at byte {position} holds no problem ({error})") from error


def _noted(path: Path) -> list[_Line]:
    """Lines noted by earlier runs. A note cut short by the end of a run is dropped, and its line read again."""
    if not path.exists():
        return []
    data = path.read_bytes()
    complete, _, rest = data.rpartition(b"\n")
    if rest:
        path.write_bytes(complete + b"\n" if complete else b"")
    return [msgspec.json.decode(note, type=_Line) for note in complete.split(b"\n") if note]


def _note_use(access: Access, repository: Repository, file: str) -> None:
    sha256: Any = next((entry.sha256 for entry in repository.files if entry.path == file), None)
    access.used.add(Origin(_REPOSITORY, repository.sha, file, sha256))


SOURCE = Source(marker=_REPOSITORY, load=load)
