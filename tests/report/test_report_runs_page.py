"""What stands in the report on several runs."""

import json

import pytest
from report_runs import record, write_run

from nemo_skills_specdec.compare.runs import compare_runs
from nemo_skills_specdec.measurement.run import load_run
from nemo_skills_specdec.report.files import report_on
from nemo_skills_specdec.report.runs_page import runs_page

ACCEPTED = {"coding": [3, 3, 1, 2], "writing": [0, 0, 1, 1]}


def answers(*, tpot, accepted=True, draft_length=3):
    return [
        record(
            i,
            name := list(ACCEPTED)[i % 2],
            accepted=[min(n, draft_length) for n in (*ACCEPTED[name], i % 3)] if accepted else None,
            drafted=draft_length,
            tpot_seconds=tpot * (1 + i % 5 / 20),
        )
        for i in range(20)
    ]


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    for load in (1, 8):
        write_run(folder / f"off-{load}", answers(tpot=0.05, accepted=False), speculation="off", concurrency=load)
        for k in (1, 3):
            runs = answers(tpot=0.04 - 0.005 * k, draft_length=k)
            write_run(folder / f"k{k}-{load}", runs, draft_length=k, concurrency=load)
    return folder


def page_of(*folders):
    return runs_page([load_run(folder) for folder in folders], "several")


def plot_of(page, name):
    return next(plot for plot in page.plots if plot.name == name)


def all_of(study):
    return page_of(*sorted(path for path in study.iterdir() if path.is_dir()))


def test_configurations_are_named_by_what_differs_and_stand_in_order(study):
    rows = plot_of(all_of(study), "acceptance-length-by-configuration").rows
    assert [row["configuration"] for row in rows] == [
        "eagle3, k=1, c=1",
        "eagle3, k=1, c=8",
        "eagle3, k=3, c=1",
        "eagle3, k=3, c=8",
    ]


def test_the_speedups_are_those_of_compare(study):
    rows = plot_of(all_of(study), "speedup").rows
    wanted = compare_runs(study / "off-8", study / "k3-8").figure("user_tokens_per_second")
    row = next(r for r in rows if r["configuration"] == "eagle3, k=3, c=8" and r["figure"] == "of one user")
    ends = wanted.ratio_interval
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (wanted.ratio, ends.low, ends.high)
    assert row["verdict"] == wanted.verdict


def test_each_load_has_a_line_over_the_draft_length_that_begins_at_its_baseline(study):
    rows = plot_of(all_of(study), "user-speed-by-draft-length").rows
    assert [(row["series"], row["draft_length"]) for row in rows] == [
        ("eagle3, c=1", 0),
        ("eagle3, c=8", 0),
        ("eagle3, c=1", 1),
        ("eagle3, c=8", 1),
        ("eagle3, c=1", 3),
        ("eagle3, c=8", 3),
    ]


def test_cells_of_the_heat_map_hold_the_stored_figures_of_their_category(study):
    rows = plot_of(all_of(study), "acceptance-length-heat-map").rows
    stored = json.loads((study / "k3-1" / "metrics.json").read_text())["categories"]["coding"]["acceptance"]
    row = next(r for r in rows if (r["configuration"], r["category"]) == ("eagle3, k=3, c=1", "coding"))
    assert row["acceptance_length"] == stored["acceptance_length"]
    assert [row["acceptance_length_low"], row["acceptance_length_high"]] == stored["intervals"]["acceptance_length"]


def test_the_pareto_front_holds_what_no_other_configuration_beats(study):
    rows = plot_of(all_of(study), "pareto").rows
    best = {row["configuration"]: row["user_tokens_per_second"] for row in rows if row["front"].startswith("on")}
    assert max(row["user_tokens_per_second"] for row in rows) in best.values()
    assert not any(name.startswith("no speculation") for name in best)


def test_repeats_are_one_configuration_with_their_mean_and_range(tmp_path):
    runs = [write_run(tmp_path / f"r{i}", answers(tpot=0.02 + i / 100)) for i in range(2)]
    other = write_run(tmp_path / "off", answers(tpot=0.05, accepted=False), speculation="off")
    row = next(r for r in plot_of(page_of(*runs, other), "pareto").rows if r["configuration"] == "eagle3, k=3")
    speeds = [load_run(run).evaluation.overall.speed.user_tokens_per_second.p50 for run in runs]
    assert row["user_tokens_per_second"] == pytest.approx(sum(speeds) / 2)


def test_runs_that_were_not_measured_alike_are_shown_and_the_reason_is_told(tmp_path):
    one = write_run(tmp_path / "one", answers(tpot=0.02))
    other = write_run(tmp_path / "other", answers(tpot=0.02), concurrency=16)
    page = page_of(one, other)
    assert "speedup" not in [plot.name for plot in page.plots]
    text = next(section.text for section in page.sections if section.title == "Differences from the baseline")
    assert "is not compared" in text
    assert "load.concurrency (4 and 16)" in text


def test_a_folder_of_runs_is_reported_on_as_one_page(study):
    page = report_on([study])
    assert page == study / "report.html"
    assert (study / "summary.csv").read_text().count("overall") == 6


def test_the_summary_of_a_study_is_left_as_it_is(study):
    (study / "summary.json").write_text("{}")
    (study / "summary.csv").write_text("its own\n")
    report_on([study])
    assert (study / "summary.csv").read_text() == "its own\n"


def test_runs_of_a_study_without_a_result_are_named_with_the_reason(study):
    for name, error in (("broken", "no GPU\nmore"), ("killed", None)):
        (study / name).mkdir()
        (study / name / "config.yaml").touch()
        if error:
            (study / name / "failed.json").write_text(json.dumps({"error": error, "config_hash": "x", "at": "now"}))
    text = (report_on([study]).parent / "report.md").read_text()
    assert "2 more were not finished" in text
    assert "broken | no GPU |" in text
    assert "killed | it ended without a result |" in text


def test_a_run_that_failed_and_was_made_again_is_not_missing(study):
    manifest = json.loads((study / "k3-1" / "manifest.json").read_text())
    manifest["arguments"]["config_hash"] = "abc"
    (study / "k3-1" / "manifest.json").write_text(json.dumps(manifest))
    (study / "broken").mkdir()
    (study / "broken" / "config.yaml").touch()
    (study / "broken" / "failed.json").write_text(json.dumps({"error": "no GPU", "config_hash": "abc", "at": "now"}))
    assert "not finished" not in (report_on([study]).parent / "report.md").read_text()
