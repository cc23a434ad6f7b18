"""A run while it goes on, as lines and as a view."""

import io

import pytest
from report_runs import record
from rich.console import Console

from nemo_skills_specdec.measurement.measure import ALL_PROMPTS
from nemo_skills_specdec.report.live import begin, in_flight, length_interval_so_far, line, new_run, take, view
from nemo_skills_specdec.statistics import intervals


def started(number=6, *, turns=1, starts=(), places=2):
    categories = ("coding", "math")
    run = new_run(
        {f"{categories[i % 2]}-{i}": (categories[i % 2], turns) for i in range(number)}, starts=starts, places=places
    )
    begin(run, ALL_PROMPTS, 100.0)
    return run


def ended(i, **more):
    return record(i, ("coding", "math")[i % 2], **more)


def drawn(run, now=110.0, *, width=80, height=30):
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(view(run, now, height))
    return console.file.getvalue().splitlines()


def test_a_line_tells_length_speed_load_failures_and_time_left():
    run = started()
    take(run, ended(0, accepted=[3, 3]))
    take(run, ended(1, accepted=[0, 1]))
    take(run, ended(2, accepted=None, error="gone", completion_tokens=None))
    assert line(run, 111.0) == "3 of 6 requests, AL 2.75, 2 tok/s, 2 in flight, 1 failed, 11 s left"


def test_before_anything_is_known_nothing_is_guessed():
    assert line(started(), 100.5) == "0 of 6 requests, 2 in flight, 0 failed"


def test_the_interval_is_over_prompts_and_close_to_that_of_the_result():
    run = started(200)
    records = [ended(i, accepted=[i % 4, (i * 7) % 4, 1]) for i in range(200)]
    for one in records:
        take(run, one)
    final = intervals([one.counts for one in records]).acceptance_length
    so_far = length_interval_so_far(run)
    assert (so_far.low, so_far.high) == pytest.approx((final.low, final.high), abs=0.01)


def test_a_conversation_is_one_prompt_in_flight_until_its_last_turn():
    run = started(2, turns=2)
    take(run, ended(0))
    assert in_flight(run, 101.0) == 2
    take(run, ended(0, turn=1))
    assert in_flight(run, 101.0) == 1


def test_with_a_request_rate_only_what_is_due_is_in_flight():
    run = started(4, starts=(0.0, 1.0, 2.0, 3.0), places=100)
    assert [in_flight(run, 100.0 + t) for t in (0.5, 1.5, 9.0)] == [1, 2, 4]
    take(run, ended(0))
    assert in_flight(run, 101.5) == 1


def test_where_every_category_has_a_window_only_its_own_prompts_are_in_flight():
    run = started(6, places=100)
    begin(run, "math", 200.0)
    assert in_flight(run, 201.0) == 3


def test_the_view_has_a_line_for_every_category_and_fits_the_width():
    run = started()
    take(run, ended(0))
    lines = drawn(run)
    assert lines[0].split() == ["coding", "━━━━━━╸", "1/3", "AL", "2.50"]
    assert lines[1].split()[-1] == "0/3"
    assert lines[2].split()[:2] == ["all", "prompts"]
    assert max(map(len, drawn(run, width=40))) <= 40


def test_more_categories_than_lines_leave_out_those_that_are_finished():
    run = new_run({f"p{i}": (f"category-{i}", 1) for i in range(30)}, starts=(), places=1)
    begin(run, ALL_PROMPTS, 100.0)
    for i in range(20):
        take(run, record(i, f"category-{i}", question_id=f"p{i}"))
    lines = drawn(run, height=12)
    assert len(lines) <= 12
    assert lines[0].startswith("category-20")
    assert any(text.startswith("23 more") for text in lines)


def test_hours_and_minutes_are_told_as_such():
    run = started(100)
    take(run, ended(0))
    assert line(run, 100.0 + 60).endswith("1 h 39 min left")
