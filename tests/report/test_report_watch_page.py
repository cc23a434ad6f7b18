"""The report on a recording of `watch`."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.report.files import report_on
from nemo_skills_specdec.report.watch_page import watch_page
from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.recording import WatchStart, encoded
from nemo_skills_specdec.watch.replica import WatchEvent, WatchInterval


def interval(at: float, replica: str = "a", low: int = 12, high: int = 12) -> WatchInterval:
    figures = WatchFigures(
        source="counters" if low == high else "bounds",
        num_drafts=10,
        num_draft_tokens=20,
        accepted_low=low,
        accepted_high=high,
        accepted_per_position=(8, 4) if low == high else None,
        requests=2,
        generation_tokens=50,
    )
    return WatchInterval(at=1000 + at, seconds=5.0, replica=replica, engine="vllm", figures=figures, in_flight=3)


def recording(path: Path, *lines: WatchInterval | WatchEvent) -> Path:
    start = WatchStart(at=1000.0, version="1", interval_seconds=5.0, urls=["http://a"])
    path.write_bytes(b"".join(encoded(line) + b"\n" for line in (start, *lines)))
    return path


def plot_rows(path: Path, name: str) -> list[tuple[str, float, float | None]]:
    plot = next(plot for plot in watch_page(path).plots if plot.name == name)
    key = plot.columns[-1].key
    return [(row["replica"], row["time"], row[key]) for row in plot.rows]


def test_the_figures_are_those_of_all_intervals_added_up(tmp_path: Path) -> None:
    page = watch_page(recording(tmp_path / "r", interval(5), interval(10)))
    assert page.verdict == "On average 2.200 tokens come out of a verification step, over 20 steps of all traffic."
    row = page.sections[1].tables[0].rows[-1]
    assert list(row) == ["total", "2.200", "60.0 %", "0.800 0.400", "-", "4", "10.0", "-", "20", "40"]


def test_a_restart_breaks_the_line_of_its_replica(tmp_path: Path) -> None:
    restart = WatchEvent(at=1010.0, replica="a", kind="restarted", message="5 s are not counted")
    path = recording(tmp_path / "r", interval(5), interval(5, "b"), restart, interval(15), interval(15, "b"))
    rows = plot_rows(path, "acceptance-length-over-time")
    assert [row for row in rows if row[0] == "a"] == [("a", 5.0, 2.2), ("a", 10.0, None), ("a", 15.0, 2.2)]
    assert [row for row in rows if row[0] == "b"] == [("b", 5.0, 2.2), ("b", 15.0, 2.2)]
    assert watch_page(path).sections[2].tables[0].rows == [["10.0 s", "a", "restarted", "5 s are not counted"]]


def test_bounds_are_drawn_as_a_band(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", interval(5, low=10, high=14))
    (row,) = next(plot for plot in watch_page(path).plots if plot.name == "acceptance-length-over-time").rows
    assert (row["al"], row["al_low"], row["al_high"]) == (2.2, 2.0, 2.4)


def test_a_long_recording_is_added_up_into_few_points_and_none_is_lost(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", *(interval(5.0 * number) for number in range(1, 2401)))
    assert len(plot_rows(path, "throughput-over-time")) == 240
    assert watch_page(path).sections[1].tables[0].rows[-1][8] == "24,000"


def test_the_files_lie_beside_the_recording(tmp_path: Path) -> None:
    path = report_on([recording(tmp_path / "monday.jsonl", interval(5))])
    assert path == tmp_path / "monday-report" / "report.html"
    assert (tmp_path / "monday-report" / "summary.csv").read_text().splitlines()[1].startswith("1005.0,5.0,a,vllm,3,")
