"""Programming problems from livecodebench/code_generation_lite: gigabytes of tests around a few lines of text.

The files are read as a stream and only until the problems are found. Every problem passed is noted, so that a later run
neither starts again nor reads a line twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import msgspec

from nemo_skills_specdec.errors import JSON_ERRORS, DataError
from nemo_skills_specdec.prompts.hub.access import Access, Origin
from nemo_skills_specdec.prompts.hub.http import ChangedError
from nemo_skills_specdec.prompts.hub.repository import Repository
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, record_of
from nemo_skills_specdec.prompts.speed_bench.templates import filled

_REPOSITORY = "livecodebench/code_generation_lite"
_REVISION = "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
_FILES = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
_NOTES = f"problems of {_REPOSITORY} {_REVISION}"


class Problem(msgspec.Struct):
    """What is needed of a problem. The tests, which are nearly all of its size, are skipped while it is decoded."""

    question_id: str
    question_content: str
    starter_code: str


class _Passed(msgspec.Struct, array_like=True):
    """A problem that was read, and where its line ends in its file."""

    file: str
    stop: int
    problem: Problem


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Finds the problems by their id."""
    problems = find_problems(access, {row.src_id for row in rows})

    def turns(row: RawRow) -> list[str]:
        problem = record_of(row, problems, row.src_id, _REPOSITORY)
        return [filled(row.template, question=problem.question_content, starter_code=problem.starter_code)]

    return turns


def find_problems(access: Access, wanted: set[str]) -> dict[str, Problem]:
    """The first problem of each id, in the order of the files; ids not found are absent."""
    repository = access.repository(_REPOSITORY, _REVISION)
    with access.cache.lock(_NOTES):
        passed = _noted(access)
        for file in _FILES:
            missing = wanted - {entry.problem.question_id for entry in passed}
            if missing:
                position = max((entry.stop for entry in passed if entry.file == file), default=0)
                passed.extend(_scan(access, repository, file, position, missing))
    found: dict[str, _Passed] = {}
    for entry in sorted(passed, key=lambda entry: (_FILES.index(entry.file), entry.stop)):
        if entry.problem.question_id in wanted:
            found.setdefault(entry.problem.question_id, entry)
    for file in sorted({entry.file for entry in found.values()}):
        access.used.add(Origin(_REPOSITORY, repository.sha, file, repository.file(file).sha256))
    return {key: entry.problem for key, entry in found.items()}


def _scan(access: Access, repository: Repository, file: str, position: int, missing: set[str]) -> Iterator[_Passed]:
    """Reads problems from `position` on until nothing is missing, and notes each."""
    described = repository.file(file)
    if described.size is not None and position >= described.size:
        return
    url, notes = repository.url(file), access.cache.document(_NOTES)
    blocks = access.cache.stream(access.fetcher, url, position, None, size=described.size, name=f"LiveCodeBench {file}")
    try:
        with notes.open("ab") as log, closing(blocks):
            for text in _lines(blocks):
                position += len(text)
                if not text.strip():
                    continue
                try:
                    passed = _Passed(file, position, msgspec.json.decode(text, type=Problem))
                except JSON_ERRORS as error:
                    raise DataError(f"{url}: the line before byte {position} holds no problem ({error})") from error
                log.write(msgspec.json.encode(passed) + b"\n")
                log.flush()
                yield passed
                missing.discard(passed.problem.question_id)
                if not missing:
                    return
    except ChangedError as error:
        notes.unlink()
        raise ChangedError(f"{error}; its cache entry {notes} was removed") from error


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends."""
    pieces: list[bytes] = []
    for block in blocks:
        *complete, rest = block.split(b"\n")
        for line in complete:
            yield b"".join([*pieces, line, b"\n"])
            pieces = []
        pieces.append(rest)
    if any(pieces):
        yield b"".join(pieces)


def _noted(access: Access) -> list[_Passed]:
    """Problems noted by earlier runs. A note cut short by the end of a run is dropped, and its line read again."""
    path = access.cache.document(_NOTES)
    if not path.exists():
        return []
    complete, end, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        path.write_bytes(complete + end)
    return [msgspec.json.decode(note, type=_Passed) for note in complete.split(b"\n") if note]


SOURCE = Source(marker=_REPOSITORY, load=load)
