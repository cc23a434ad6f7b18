"""Which runs are repeats of one configuration."""

import pytest
from compared_runs import make_run, record, row, write

from nemo_skills_specdec.compare.repeats import group_runs, runs_in
from nemo_skills_specdec.compare.selection import select
from nemo_skills_specdec.errors import DataError, UsageError

ROWS = [row(record("a", accepted=12))]


def test_runs_that_differ_in_draft_length_are_two_configurations():
    runs = [
        make_run(ROWS, directory="1"),
        make_run(ROWS, directory="2", draft_length=5),
        make_run(ROWS, directory="3", load={"seed": 7}, base_url="http://y", command=["--port", "2"]),
    ]
    groups = group_runs(runs)
    assert [[run.directory.name for run in group.runs] for group in groups] == [["1", "3"], ["2"]]
    assert groups[1].label == "vllm 0.30.0, eagle3 k5, concurrency 4"


def test_a_directory_given_twice_is_one_run():
    run = make_run(ROWS)
    assert len(group_runs([run, run])[0].runs) == 1


def test_a_study_and_a_folder_of_runs_are_their_runs(tmp_path):
    write(make_run(ROWS), tmp_path / "study" / "runs" / "1")
    write(make_run(ROWS), tmp_path / "study" / "runs" / "2")
    write(make_run(ROWS), tmp_path / "folder" / "x")
    assert len(runs_in(tmp_path / "study")) == 2
    assert len(runs_in(tmp_path / "folder")) == 1
    assert len(runs_in(tmp_path)) == 3
    with pytest.raises(DataError, match="neither a run nor a study"):
        runs_in(tmp_path / "study" / "runs" / "1" / "nothing")


def test_one_study_is_its_own_baseline_and_its_runs(tmp_path):
    for name, speculation in (("b1", "off"), ("b2", "off"), ("s1", "on"), ("s2", "on")):
        write(make_run(ROWS, speculation=speculation), tmp_path / "runs" / name)
    (chosen,) = select([tmp_path], [tmp_path])
    assert [run.directory.name for run in chosen.baseline.runs] == ["b1", "b2"]
    assert [run.directory.name for run in chosen.run.runs] == ["s1", "s2"]


def test_the_baseline_of_the_same_load_is_found(tmp_path):
    for concurrency in (1, 8):
        load = {"concurrency": concurrency}
        write(make_run(ROWS, speculation="off", load=load), tmp_path / "runs" / f"b{concurrency}")
        write(make_run(ROWS, load=load), tmp_path / "runs" / f"s{concurrency}")
    chosen = select([tmp_path], [tmp_path])
    assert [(one.baseline.runs[0].directory.name, one.run.runs[0].directory.name) for one in chosen] == [
        ("b1", "s1"),
        ("b8", "s8"),
    ]


def test_a_difference_is_refused_by_name_unless_it_is_allowed(tmp_path):
    baseline = write(make_run(ROWS, speculation="off"), tmp_path / "b")
    run = write(make_run(ROWS, load={"concurrency": 8}), tmp_path / "s")
    with pytest.raises(UsageError, match=r"load.concurrency \(4 and 8\).*--allow concurrency"):
        select([baseline], [run])
    (chosen,) = select([baseline], [run], ["concurrency"])
    assert [str(difference) for difference in chosen.accepted] == ["load.concurrency (4 and 8)"]


def test_a_run_is_not_compared_with_itself(tmp_path):
    run = write(make_run(ROWS), tmp_path / "s")
    with pytest.raises(UsageError, match="those of the baseline"):
        select([run], [run])
