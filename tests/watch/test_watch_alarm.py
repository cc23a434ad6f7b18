"""When an acceptance length is too low."""

from __future__ import annotations

import pytest

from nemo_skills_specdec.watch.alarm import Alarm, Breach, RecentRounds, breach_of
from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.session import Round


def figures(drafts: int, low: int, high: int | None = None) -> WatchFigures:
    return WatchFigures(
        source="counters", num_drafts=drafts, accepted_low=low, accepted_high=low if high is None else high
    )


def rounds(*accepted: int) -> list[Round]:
    """A round every 10 seconds from 0 on, with 100 steps each but the first."""
    totals = [WatchFigures(), *(figures(100, one) for one in accepted)]
    return [Round(at=10.0 * i, intervals=[], events=[], total=total) for i, total in enumerate(totals)]


def test_an_acceptance_length_below_the_limit_is_a_breach() -> None:
    told = breach_of(Alarm(min_al=2.2), figures(100, 110), 60.0)
    assert told == Breach(min_al=2.2, acceptance_length=2.1, seconds=60.0, num_drafts=100)


@pytest.mark.parametrize("enough", [figures(100, 120), figures(100, 110, 130), figures(0, 0), WatchFigures()])
def test_what_reaches_the_limit_or_may_reach_it_is_no_breach(enough: WatchFigures) -> None:
    assert breach_of(Alarm(min_al=2.2), enough, 60.0) is None


def test_the_last_minutes_are_judged_once_there_are_as_many() -> None:
    recent = RecentRounds(Alarm(min_al=2.0, within=20.0), started_at=0.0)
    assert [recent.take(one) is not None for one in rounds(0, 50, 200)] == [False, False, True, False]


def test_what_is_older_than_the_window_does_not_count() -> None:
    recent = RecentRounds(Alarm(min_al=2.0, within=20.0), started_at=0.0)
    told = [recent.take(one) for one in rounds(300, 300, 90, 90)][-1]
    assert told == Breach(min_al=2.0, acceptance_length=1.9, seconds=20.0, num_drafts=200)


def test_a_round_without_figures_leaves_the_others_to_judge_by() -> None:
    recent = RecentRounds(Alarm(min_al=2.0, within=20.0), started_at=0.0)
    lost = Round(at=20.0, intervals=[], events=[], total=WatchFigures())
    assert [recent.take(one) is not None for one in [*rounds(50), lost]] == [False, False, True]
