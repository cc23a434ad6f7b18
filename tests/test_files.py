"""Files are whole or not there."""

import os
from pathlib import Path

import pytest

from nemo_skills_specdec.errors import WriteError
from nemo_skills_specdec.files import LineLog, atomic_file, write_atomically


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(WriteError, match=r"cannot write .*choose another folder"):
        write_atomically(tmp_path / "f" / "g", b"x")


def test_what_a_killed_run_left_half_written_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".f.1.tmp", tmp_path / ".f.2.tmp"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1, 1))
    write_atomically(tmp_path / "f", b"data")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".f.2.tmp", "f"]


def test_lines_that_a_full_disk_does_not_take_are_still_read(tmp_path, monkeypatch):
    log = LineLog(tmp_path / "log")
    log.append(b"one")
    log._write()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    log.append(b"two")
    log._write()
    log.append(b"three")
    assert log.failure == f"cannot write {tmp_path / 'log'}: No space left on device"
    assert [line for _, line in log.lines()] == [b"one", b"two", b"three"]
    assert [log.read(start, start + len(line)) for start, line in log.lines()] == [b"one", b"two", b"three"]
    monkeypatch.undo()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\n"


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_lines_are_read_whole_from_any_place(tmp_path, monkeypatch, block):
    monkeypatch.setattr("nemo_skills_specdec.files._BLOCK", block)
    log = LineLog(tmp_path / "log")
    for line in (b"a", b"", b"long line"):
        log.append(line)
    assert list(log.lines()) == [(0, b"a"), (2, b""), (3, b"long line")]
    assert list(log.lines(3)) == [(3, b"long line")]
    log.close()
