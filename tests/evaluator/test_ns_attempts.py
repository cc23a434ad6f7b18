"""Windows and attempts: what is joined, what is closed late, what is left out."""

import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.evaluator.attempts import (
    Attempts,
    JobAttempt,
    attempts_of_output,
    book_responses,
    close_late,
    joined_windows,
    read_attempts,
    side_file,
    taking_part,
    write_attempts,
)
from nemo_skills_specdec.measurement.attempts import check_attempts, cut_off_requests
from nemo_skills_specdec.measurement.snapshots import reading_of

VLLM = ServerInfo(engine="vllm", base_url="http://a")


def scrape(at, drafts, url="http://a/metrics"):
    """Two draft tokens a step, one of them accepted."""
    names = {"num_drafts": drafts, "num_draft_tokens": 2 * drafts, "num_accepted_tokens": drafts}
    text = "".join(
        f'# TYPE vllm:spec_decode_{name} counter\nvllm:spec_decode_{name}_total{{engine="0"}} {value}\n'
        for name, value in names.items()
    )
    return Snapshot(url=url, taken_at=at, status=200, text=text)


def attempt(start, end, *drafts, url="http://a/metrics", **more):
    options = {"planned_rows": 10, "longest_row": 1, "concurrency": 4, "status": "complete", **more}
    return JobAttempt(
        started_at=start, before=[scrape(start, drafts[0], url)], after=[scrape(end, drafts[1], url)], **options
    )


def drafts_in(*attempts):
    return reading_of(joined_windows(attempts), VLLM).counts.num_drafts


def test_windows_one_after_the_other_are_added():
    assert drafts_in(attempt(0, 1, 5, 8), attempt(2, 3, 100, 110)) == 3 + 10


def test_windows_of_jobs_side_by_side_on_one_server_are_joined_so_that_no_step_counts_twice():
    assert drafts_in(attempt(0, 5, 0, 40), attempt(1, 7, 10, 60)) == 60


def test_a_window_inside_another_adds_nothing():
    assert drafts_in(attempt(0, 9, 0, 90), attempt(2, 3, 20, 30)) == 90


def test_windows_of_two_servers_are_never_joined():
    assert drafts_in(attempt(0, 5, 0, 40), attempt(1, 6, 0, 7, url="http://b/metrics")) == 47


def test_a_window_that_begins_where_the_last_one_ended_stays_apart():
    assert len(joined_windows([attempt(0, 5, 0, 40), attempt(5, 6, 40, 50)]).before) == 2


def test_an_attempt_that_was_killed_is_closed_by_the_snapshot_that_opens_the_next():
    killed = attempt(0, 0, 0, 0, status="open")
    killed.after = []
    close_late(killed, [scrape(9, 33)], now=9.0)
    assert (killed.status, killed.closed_late, killed.ended_at) == ("cut_off", True, 9.0)
    assert drafts_in(killed) == 33


def test_snapshots_of_another_server_do_not_close_a_window():
    killed = attempt(0, 0, 0, 0, status="open")
    killed.after = []
    close_late(killed, [scrape(9, 33, "http://b/metrics")], now=9.0)
    assert killed.after == []
    assert [f.code for f in check_attempts([killed], relied_on=True) if f.severity == "invalid"] == [
        "window_not_closed"
    ]


def test_an_attempt_without_an_answer_in_the_rows_is_of_another_run():
    stale, ours = attempt(0, 1, 0, 9, responses={"x": None}), attempt(2, 3, 9, 12, responses={"a": None, "b": None})
    assert taking_part([stale, ours], {"b"}) == [ours]


def test_rows_in_progress_when_an_attempt_ends_may_leave_steps_in_the_counters():
    cut = attempt(0, 1, 0, 9, status="cut_off", longest_row=3, finished_rows=8)
    assert cut_off_requests(cut) == 2 * 3
    assert cut_off_requests(attempt(0, 1, 0, 9, finished_rows=8)) == 0
    assert [(f.code, f.severity) for f in check_attempts([cut], relied_on=True)] == [("attempt_cut_off", "warning")]
    assert [(f.code, f.severity) for f in check_attempts([cut], relied_on=False)] == [("attempt_cut_off", "info")]


def test_answers_belong_to_the_attempt_that_got_them():
    counts = AcceptanceCounts(num_drafts=1, num_draft_tokens=2, num_accepted_tokens=1)
    kept = Attempts(
        server=VLLM, attempts=[attempt(0, 1, 0, 1, responses={"a": counts}, finished_rows=1), attempt(2, 3, 1, 2)]
    )
    book_responses(kept, {"a": counts, "b": None}, finished_rows=2)
    assert kept.attempts[1].responses == {"b": None}
    assert kept.attempts[1].finished_rows == 1


def test_the_file_beside_an_output_is_never_taken_for_a_seed(tmp_path):
    assert side_file(tmp_path / "output-rs3.jsonl").name == "output-rs3.jsonl.specdec.json"


def test_an_output_is_known_with_its_own_attempts_and_those_of_its_chunks(tmp_path):
    for name in ("output.jsonl", "output_chunk_0.jsonl", "output_chunk_11.jsonl", "output-rs0.jsonl"):
        write_attempts(side_file(tmp_path / name), Attempts(server=VLLM, attempts=[], arguments={"name": name}))
    found = [kept.arguments["name"] for kept in attempts_of_output(tmp_path / "output.jsonl")]
    assert found == ["output.jsonl", "output_chunk_0.jsonl", "output_chunk_11.jsonl"]


def test_what_is_written_is_read_again_and_a_broken_file_is_named(tmp_path):
    path = side_file(tmp_path / "output.jsonl")
    assert read_attempts(path) is None
    kept = Attempts(server=VLLM, attempts=[attempt(0, 1, 0, 9, responses={"x": None})])
    write_attempts(path, kept)
    assert read_attempts(path) == kept
    path.write_text("{")
    with pytest.raises(DataError, match=r"output\.jsonl\.specdec\.json cannot be read"):
        read_attempts(path)
