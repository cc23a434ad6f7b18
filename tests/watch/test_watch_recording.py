"""The file of a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.recording import Line, WatchEnd, WatchStart, encoded, open_recording, read_recording
from nemo_skills_specdec.watch.replica import WatchEvent, WatchInterval

START = WatchStart(at=1.0, version="1", interval_seconds=5.0, urls=["http://a"])
EVENT = WatchEvent(at=1.0, replica="a", kind="joined", message="vllm")
INTERVAL = WatchInterval(
    at=6.0,
    seconds=5.0,
    replica="a",
    engine="vllm",
    figures=WatchFigures(
        source="counters", num_drafts=2, accepted_low=1, accepted_high=1, accepted_per_position=(1, 0)
    ),
)


def write(path: Path, *lines: Line) -> None:
    log = open_recording(path)
    for line in lines:
        log.append(encoded(line))
    log.close()


def test_a_recording_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "new" / "r.jsonl", START, EVENT, INTERVAL, WatchEnd(at=6.0))
    told = read_recording(tmp_path / "new" / "r.jsonl")
    assert (told.starts, told.events, told.intervals, told.torn) == ([START], [EVENT], [INTERVAL], 0)


def test_a_second_watch_is_added_to_the_file(tmp_path: Path) -> None:
    write(tmp_path / "r", START, INTERVAL)
    write(tmp_path / "r", START, INTERVAL)
    assert len(read_recording(tmp_path / "r").intervals) == 2


def test_a_torn_last_line_is_left_out_also_when_another_watch_follows(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(encoded(START) + b"\n" + encoded(INTERVAL) + b"\n" + encoded(INTERVAL)[:40])
    assert read_recording(path).torn == 1
    write(path, START, INTERVAL)
    told = read_recording(path)
    assert (len(told.intervals), told.torn) == (2, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no recording"),
        (b"not json\n", "is not a line of a recording"),
        (encoded(INTERVAL), "its first line does not start one"),
        (encoded(START) + b"\nbroken\n" + encoded(INTERVAL) + b"\n", ":2 is not a line of a recording"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_recording(tmp_path / "r")
