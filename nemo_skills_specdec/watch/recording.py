"""The recording of a watch: a file of JSON lines that grows, written as things happen and read back whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import JSON_ERRORS, DataError, WriteError
from nemo_skills_specdec.files import LineLog
from nemo_skills_specdec.watch.replica import WatchEvent, WatchInterval


class WatchStart(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """The first line of each watch in a recording.

    Attributes:
        at: seconds since the epoch.
        urls: what is watched, without credentials.
    """

    at: float
    version: str
    interval_seconds: float
    urls: list[str]


class WatchEnd(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The last line of a watch that ended in order; a killed one has none.

    Attributes:
        at: seconds since the epoch.
    """

    at: float


Line = WatchStart | WatchInterval | WatchEvent | WatchEnd


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording read back; it may hold several watches, one after the other.

    Attributes:
        torn: lines that a killed watch left half written.
    """

    starts: list[WatchStart]
    intervals: list[WatchInterval]
    events: list[WatchEvent]
    torn: int = 0


def open_recording(path: Path) -> LineLog:
    """Opens a recording to add to; a line that a killed watch left half written is closed first.

    Raises:
        WriteError: it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; choose another file") from error
    return LineLog(path)


def encoded(line: Line) -> bytes:
    """A line of the file, without its end."""
    return msgspec.json.encode(line)


def read_recording(path: Path) -> Recording:
    """Reads a recording.

    A line that cannot be read is torn where nothing of the same watch follows it, and left out.

    Raises:
        DataError: the file cannot be read, or is no recording.
    """
    try:
        raw = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    decoder = msgspec.json.Decoder(Line)
    lines: list[Line] = []
    torn = 0
    broken: str | None = None
    for number, text in enumerate(raw, 1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
        except JSON_ERRORS as error:
            torn, broken = torn + 1, f"{path}:{number} is not a line of a recording ({error})"
            continue
        if (broken is not None or not lines) and not isinstance(line, WatchStart):
            raise DataError(broken or f"{path} is not a recording of `watch`: its first line does not start one")
        broken = None
        lines.append(line)
    if not lines:
        raise DataError(broken or f"{path} holds no recording")
    return Recording(
        starts=[line for line in lines if isinstance(line, WatchStart)],
        intervals=[line for line in lines if isinstance(line, WatchInterval)],
        events=[line for line in lines if isinstance(line, WatchEvent)],
        torn=torn,
    )
