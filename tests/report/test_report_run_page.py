"""What stands in the report on one run."""

import numpy as np
import pytest
from report_runs import record, usual_records, write_run

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.measurement.run import load_result
from nemo_skills_specdec.report.run_page import run_page


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", usual_records())


def plot_of(page, name):
    return next(plot for plot in page.plots if plot.name == name)


def test_categories_stand_in_the_order_of_their_acceptance_length_with_the_stored_intervals(run):
    rows = plot_of(run_page(run), "acceptance-length-by-category").rows
    stored = load_result(run)[1].categories
    assert [row["name"] for row in rows] == ["coding", "math", "writing"]
    for row in rows:
        acceptance = stored[row["name"]].acceptance
        assert row["acceptance_length"] == acceptance.acceptance_length
        ends = acceptance.intervals.acceptance_length
        assert (row["acceptance_length_low"], row["acceptance_length_high"]) == (ends.low, ends.high)


def test_what_is_shown_on_hover_has_every_figure_of_the_point(run):
    row = plot_of(run_page(run), "acceptance-length-by-category").rows[0]
    lines = row["tip"].splitlines()
    assert lines[0] == "category: coding"
    assert lines[1] == (
        f"acceptance length: {row['acceptance_length']:.3f} "
        f"({row['acceptance_length_low']:.3f} to {row['acceptance_length_high']:.3f})"
    )
    assert lines[3:] == ["verification steps: 50", "prompts: 10"]


def test_the_steps_by_accepted_tokens_are_the_differences_of_the_positions(tmp_path):
    run = write_run(tmp_path / "run", [record(i, "qa", accepted=[3, 3, 1, 0]) for i in range(4)])
    rows = plot_of(run_page(run), "accepted-tokens-per-step").rows
    assert [(row["accepted"], row["num_drafts"], row["share"]) for row in rows] == [
        (0, 4, 0.25),
        (1, 4, 0.25),
        (2, 0, 0.0),
        (3, 8, 0.5),
    ]


def test_the_percentiles_of_a_distribution_are_those_of_the_metrics(run):
    rows = plot_of(run_page(run), "end-to-end").rows
    stored = load_result(run)[1].overall.speed.end_to_end_seconds
    marked = {row["percentile"]: row["value"] for row in rows if "percentile" in row}
    assert marked == {"p50": stored.p50, "p90": stored.p90, "p99": stored.p99}


def test_five_requests_that_overlap_are_five_in_flight(tmp_path):
    run = write_run(tmp_path / "run", [record(i, "qa") for i in range(30)])
    rows = plot_of(run_page(run), "requests-in-flight").rows
    middle = [row["in_flight"] for row in rows if 1.0 < row["time"] < 2.0]
    assert middle == pytest.approx([5.0] * len(middle))


def test_the_tokens_of_the_throughput_plot_are_those_of_the_answers(run):
    rows = plot_of(run_page(run), "throughput-over-the-run").rows
    seconds = rows[1]["time"] - rows[0]["time"]
    assert sum(row["tokens_per_second"] for row in rows[:-1]) * seconds == pytest.approx(30 * 11)


def test_a_run_without_speculation_has_no_plots_of_acceptance(tmp_path):
    run = write_run(tmp_path / "run", [record(i, "qa", accepted=None) for i in range(9)], speculation="off")
    names = [plot.name for plot in run_page(run).plots]
    assert names == ["ttft", "tpot", "user-speed", "end-to-end", "requests-in-flight", "throughput-over-the-run"]


def test_answers_without_their_steps_have_no_plot_along_the_answer(tmp_path):
    run = write_run(tmp_path / "run", [record(i, "qa", steps=None) for i in range(9)])
    assert "acceptance-length-along-the-answer" not in [plot.name for plot in run_page(run).plots]


def test_failed_requests_are_counted_and_left_out_of_latencies(tmp_path):
    failed = record(9, "qa", accepted=None, error="gone", completion_tokens=None, ttft_seconds=None, tpot_seconds=None)
    run = write_run(tmp_path / "run", [*(record(i, "qa") for i in range(9)), failed])
    page = run_page(run)
    assert next(item.detail for item in page.headlines if item.name == "prompts") == "10 requests, 1 failed"
    assert max(row["share"] for row in plot_of(page, "ttft").rows) == 1.0


def test_every_plot_has_words_for_those_who_cannot_see_it(run):
    for plot in run_page(run).plots:
        assert plot.alt.endswith(".")
        assert plot.rows


def test_a_folder_without_a_run_is_refused_with_its_name(tmp_path):
    with pytest.raises(DataError, match=r"is not a finished run: it holds no metrics.json"):
        run_page(tmp_path)


def test_tokens_arrive_when_their_chunks_do(tmp_path):
    chunks = np.array([100_000, 100_000, 200_000, 100_000], dtype="<u4").tobytes()
    answers = [record(10 * i, "qa", num_chunks=4, completion_tokens=8, chunk_microseconds=chunks) for i in range(10)]
    rows = plot_of(run_page(write_run(tmp_path / "run", answers)), "throughput-over-the-run").rows
    seconds = rows[1]["time"] - rows[0]["time"]
    arrived = [row["tokens_per_second"] * seconds for row in rows[:-1]]
    assert sum(arrived) == pytest.approx(80)
    assert 0.4 < seconds < 0.5
    assert arrived[:2] == pytest.approx([6, 2])


def test_the_gaps_between_chunks_leave_out_the_time_to_the_first(tmp_path):
    chunks = np.array([900_000, 20_000, 40_000], dtype="<u4").tobytes()
    answers = [record(i, "qa", num_chunks=3, chunk_microseconds=chunks) for i in range(5)]
    rows = plot_of(run_page(write_run(tmp_path / "run", answers)), "between-chunks").rows
    assert [row["value"] for row in rows if row.get("percentile") == "p50"] == [pytest.approx(0.03)]
    assert max(row["value"] for row in rows) == pytest.approx(0.04)


def test_the_table_of_latencies_has_every_percentile_that_was_asked_for(run):
    table = next(t for section in run_page(run).sections for t in section.tables if t.title == "Speed of one answer")
    stored = load_result(run)[1].overall.speed.end_to_end_seconds
    row = next(row for row in table.rows if row[0] == "end-to-end")
    assert table.head == ["figure", "mean", "SD", "p50", "p90", "p95", "p99", "values"]
    assert row[3] == f"{1000 * stored.p50:.3g} ms"
    assert row[-1] == "30"


def test_a_step_counts_where_its_first_token_stands(tmp_path):
    # The first token needs no step, so 31 steps of one token lead to token 32, counted from 0.
    answers = [record(i, "qa", accepted=[0] * 31 + [3] * 5, completion_tokens=52) for i in range(4)]
    rows = plot_of(run_page(write_run(tmp_path / "run", answers)), "acceptance-length-along-the-answer").rows
    assert [(row["name"], row["acceptance_length"], row["num_drafts"]) for row in rows] == [
        ("0 to 31", 1.0, 4 * 31),
        ("32 to 127", 4.0, 4 * 5),
    ]


def test_of_many_categories_the_highest_and_the_lowest_are_drawn(tmp_path):
    answers = [record(i, f"c{i}", accepted=[3] * i + [0] * (70 - i)) for i in range(70)]
    plot = plot_of(run_page(write_run(tmp_path / "run", answers)), "acceptance-length-by-category")
    names = [row["name"] for row in plot.rows]
    assert (len(names), names[0], names[29], names[30], names[-1]) == (60, "c69", "c40", "c29", "c0")
    assert plot.caption.endswith("10 categories in the middle are left out.")
