"""Files are whole or not there."""

import os
from pathlib import Path

import pytest

from nemo_skills_specdec.errors import WriteError
from nemo_skills_specdec.files import atomic_file, write_atomically


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
