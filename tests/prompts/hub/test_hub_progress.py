from __future__ import annotations

import time

import pytest

from nemo_skills_specdec.prompts.hub.progress import amount, progress_bars


@pytest.mark.parametrize(
    ("done", "total", "unit", "expected"),
    [
        (1_500_000, 3_000_000, "bytes", "1.5 of 3.0 MB"),
        (1_500_000, None, "bytes", "1.5 MB"),
        (7, 880, "rows", "7 of 880 rows"),
        (7, None, "rows", "7 rows"),
    ],
)
def test_how_much_is_done_is_told_in_its_unit(done: int, total: int | None, unit: str, expected: str) -> None:
    assert amount(done, total, unit) == expected


def test_bars_are_drawn_on_a_terminal_and_go_when_their_work_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress_bars() as progress, progress("x.parquet", 4_000_000, "bytes") as advance:
        advance(1_000_000)
        # Bars are drawn ten times a second.
        time.sleep(0.4)
    drawn = capsys.readouterr()
    assert "x.parquet" in drawn.err
    assert "1.0 of 4.0 MB" in drawn.err
    assert drawn.out == ""


def test_without_a_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress, progress("x.parquet", None, "bytes") as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")
