"""Times without a year."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reliability.faults import fault

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.logs.times import between, moments
from nemo_skills_specdec.logs.vllm_log import LogInterval


def printed(*times: str | None, server: str = "") -> list[LogInterval]:
    return [
        LogInterval(
            line=number, time=time, server=server, num_draft_tokens=3, num_accepted_tokens=1, length="2.00",
            rates=("0.500",),
        )
        for number, time in enumerate(times, start=1)
    ]  # fmt: skip


NEW_YEAR = printed("12-31 23:59:40", "12-31 23:59:50", "01-01 00:00:00", "01-01 00:00:10")
OCTOBER = printed("10-05 08:00:00", "10-05 09:00:00")


def lines(intervals: list[LogInterval], since: str | None, until: str | None = None) -> list[int]:
    return [line.line for line in between(intervals, since, until)]


@fault(
    4, "a log across New Year, with `--since` and `--until`", "the intervals asked for", 0, "the intervals asked for"
)
@pytest.mark.parametrize(
    ("since", "until", "kept"),
    [
        ("12-31 23:59:50", None, [2, 3, 4]),
        ("01-01 00:00:00", None, [3, 4]),
        ("12-31 23:59:50", "01-01 00:00:00", [2, 3]),
        (None, "12-31 23:59:50", [1, 2]),
        (None, "01-01 00:00:00", [1, 2, 3]),
        ("12-24 00:00:00", "01-06 00:00:00", [1, 2, 3, 4]),
        ("01-01 00:00:11", None, []),
        (None, "12-31 23:59:39", []),
    ],
)
def test_a_log_across_new_year_is_cut_in_its_own_order(since, until, kept):
    assert lines(NEW_YEAR, since, until) == kept


@pytest.mark.parametrize(
    ("since", "until", "kept"),
    [
        ("10-05 08:30:00", None, [2]),
        (None, "10-05 08:30:00", [1]),
        ("10-05 08:00:00", "10-05 09:00:00", [1, 2]),
        ("12-31 00:00:00", None, []),
        ("05-01 00:00:00", "12-31 00:00:00", [1, 2]),
    ],
)
def test_a_log_within_a_year_is_cut_as_the_times_read(since, until, kept):
    assert lines(OCTOBER, since, until) == kept


def test_a_log_that_begins_after_new_year_is_whole_since_the_year_before():
    assert lines(printed("01-01 00:10:00"), "12-31 23:00:00", "01-01 01:00:00") == [1]


def test_a_leap_day_is_a_time():
    assert lines(printed("02-28 12:00:00", "02-29 12:00:00", "03-01 12:00:00"), "02-29 00:00:00", "02-29 23:00:00") == [
        2
    ]


def test_a_line_without_a_time_is_kept_only_where_there_is_no_bound():
    some = printed("10-05 08:00:00", None)
    assert lines(some, None) == [1, 2]
    assert lines(some, "10-01 00:00:00") == [1]


def test_each_server_crosses_new_year_by_itself():
    both = [*NEW_YEAR, *printed("12-31 23:59:45", "01-01 00:00:05", server="b")]
    found = moments(both)
    assert found[2] - found[1] == 10
    assert found[4] - found[0] == 5
    assert found[5] - found[4] == 20


@given(st.lists(st.integers(0, 40_000_000), min_size=1, max_size=6))
def test_steps_below_half_a_year_never_run_backwards(steps):
    seconds, times = 0, []
    for step in steps:
        seconds = (seconds + step % 15_000_000) % (12 * 31 * 86_400)
        day, rest = divmod(seconds, 86_400)
        times.append(f"{day // 31 + 1:02d}-{day % 31 + 1:02d} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}")
    found = moments(printed(*times))
    assert found == sorted(found)


@fault(4, "a `--since` that is no time", "why it is none", 2, "-")
@pytest.mark.parametrize("text", ["2026-11-22 19:16:20", "19:16:20", "11-22", "13-01 00:00:00", "", "11-22 24:00:00"])
def test_a_bound_that_is_no_such_time_is_refused(text):
    with pytest.raises(UsageError, match=r"--until is .* write month-day"):
        between(OCTOBER, None, text)
