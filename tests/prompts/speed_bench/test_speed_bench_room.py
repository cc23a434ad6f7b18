from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.speed_bench.room import bytes_of_rows, check_room
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow


def row(*turns: str) -> RawRow:
    return RawRow(question_id="0" * 32, category="c", turns=list(turns), source="s", src_id="s_1")


def test_masked_rows_take_what_their_budget_says() -> None:
    rows = [row("FULL BENCHMARK DATA"), row("FULL BENCHMARK DATA"), row("ä open", "b")]
    assert bytes_of_rows(rows, 2000) == (2 * 10_000 + 8, 2 * 10_000)


def test_folders_on_one_disk_share_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 150_000_000))  # type: ignore[attr-defined]
    check_room({tmp_path / "not" / "there": 100_000_000})
    with pytest.raises(UsageError, match=r"has 150 MB free, about 200 MB are needed; free space, or choose"):
        check_room({tmp_path / "not" / "there": 100_000_000, tmp_path: 100_000_000})
