"""Rounds of readings: what is counted, and what restarts, gaps and new replicas cost."""

from __future__ import annotations

import pytest
from fleet import look, no_answer, session, sglang, vllm
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.session import Round, Session, endpoint_name, observe, replica_figures


def kinds(*rounds: Round) -> list[str]:
    return [event.kind for one in rounds for event in one.events]


def so_far(watched: Session) -> dict[str, WatchFigures]:
    return {name: figures for name, (_, figures) in replica_figures(watched).items()}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("localhost:8000", "localhost:8000"),
        ("http://host:8000/v1", "host:8000"),
        ("https://user:secret@host/engine-1/metrics?key=secret", "host/engine-1"),
        ("http://router:8080/metrics?model=small", "router:8080 small"),
    ],
)
def test_a_replica_is_named_by_its_place_and_by_no_secret(url: str, name: str) -> None:
    assert endpoint_name(url) == name


def test_the_first_look_counts_nothing_and_the_second_what_came_since() -> None:
    watched = session()
    first = observe(watched, look(100.0, vllm(50, 60, tokens=500)))
    second = observe(watched, look(105.0, vllm(60, 72, tokens=520)))
    assert (first.intervals, kinds(first, second)) == ([], ["joined"])
    (interval,) = second.intervals
    assert (interval.seconds, interval.replica, interval.in_flight) == (5.0, "host:8000 engine 0", 3)
    assert (interval.figures.num_drafts, interval.figures.accepted_low, interval.figures.accepted_high) == (10, 12, 12)
    assert interval.figures.acceptance_length == Interval(2.2, 2.2)
    assert interval.figures.acceptance_rate == Interval(0.6, 0.6)
    assert interval.figures.per_position_acceptance_rates == (1.0, 0.2)
    assert (interval.figures.generation_tokens, interval.figures.cache_hit_rate) == (20, 0.25)


def test_a_restart_costs_the_interval_it_happened_in_and_nothing_else() -> None:
    watched = session()
    texts = [vllm(0, 0), vllm(100, 120), vllm(7, 9, started=1010.0), vllm(57, 59, started=1010.0)]
    rounds = [observe(watched, look(10.0 * i, text)) for i, text in enumerate(texts)]
    assert kinds(*rounds) == ["joined", "restarted"]
    assert [len(one.intervals) for one in rounds] == [0, 1, 0, 1]
    ((state, figures),) = replica_figures(watched).values()
    assert (figures.num_drafts, figures.accepted_low, state.seconds) == (150, 170, 20.0)


def test_counters_that_go_back_are_a_restart_where_no_start_time_is_told() -> None:
    watched = session()
    texts = [vllm(100, 120, started=None), vllm(7, 9, started=None)]
    assert kinds(*(observe(watched, look(i, text)) for i, text in enumerate(texts))) == ["joined", "restarted"]


def test_an_older_process_is_another_one_behind_the_same_url() -> None:
    watched = session()
    texts = [vllm(100, 120, started=2000.0), vllm(500, 600, started=1000.0)]
    assert kinds(*(observe(watched, look(i, text)) for i, text in enumerate(texts))) == ["joined", "replaced"]
    assert so_far(watched)["host:8000 engine 0"].num_drafts is None


def test_a_gap_without_a_restart_loses_nothing() -> None:
    watched = session()
    rounds = [
        observe(watched, look(0.0, vllm(0, 0))),
        observe(watched, no_answer(5.0)),
        observe(watched, no_answer(10.0)),
        observe(watched, look(15.0, vllm(30, 30))),
    ]
    assert kinds(*rounds) == ["joined", "unreachable", "back"]
    assert rounds[3].events[0].message == "after 10 s"
    assert rounds[3].intervals[0].seconds == 15.0
    assert so_far(watched)["host:8000 engine 0"].num_drafts == 30


def test_a_new_replica_is_counted_from_when_it_was_first_seen() -> None:
    watched = session()
    two = vllm(20, 20) + vllm(500, 900, engine="1", started=None)
    later = vllm(30, 30) + vllm(510, 910, engine="1", started=None)
    rounds = [observe(watched, look(i, text)) for i, text in enumerate([vllm(10, 10), two, later])]
    assert kinds(*rounds) == ["joined", "joined"]
    assert {name: one.num_drafts for name, one in so_far(watched).items()} == {
        "host:8000 engine 0": 20,
        "host:8000 engine 1": 10,
    }
    assert rounds[2].total.num_drafts == 20


def test_a_replica_that_leaves_keeps_what_it_counted() -> None:
    watched = session()
    both = [vllm(n, n) + vllm(n, n, engine="1", started=None) for n in (10, 20)]
    rounds = [observe(watched, look(i, text)) for i, text in enumerate([*both, vllm(30, 30)])]
    assert kinds(*rounds) == ["joined", "joined", "left"]
    assert so_far(watched)["host:8000 engine 1"].num_drafts == 10


def test_the_restart_of_one_server_does_not_touch_another() -> None:
    watched = session("http://a", "http://b")
    observe(watched, look(0, vllm(100, 100), "http://a") | look(0, vllm(100, 100), "http://b"))
    latest = observe(watched, look(5, vllm(5, 5, started=1002.0), "http://a") | look(5, vllm(140, 150), "http://b"))
    assert kinds(latest) == ["restarted"]
    assert (latest.total.num_drafts, latest.total.accepted_low) == (40, 50)


def test_sglang_gives_bounds_that_add_up_over_servers() -> None:
    watched = session("http://a", "http://b")
    for at, (steps, generated, requests) in enumerate([(100, 220, 10), (200, 430, 20)]):
        text = sglang(steps, generated, requests)
        latest = observe(watched, look(at, text, "http://a") | look(at, text, "http://b"))
    # 210 tokens of 10 requests in 100 steps, of which each request may have cut off three.
    assert latest.intervals[0].figures.acceptance_length == Interval(2.0, 2.3)
    assert (latest.total.source, latest.total.num_drafts) == ("bounds", 200)
    assert latest.total.acceptance_length == Interval(2.0, 2.3)
    assert latest.total.acceptance_rate == Interval(1.0 / 3, 1.3 / 3)
    assert latest.total.tokens_per_step is None


def test_an_error_page_is_a_gap() -> None:
    watched = session()
    rounds = [observe(watched, look(0.0, vllm(0, 0))), observe(watched, look(5.0, "<html>bad gateway</html>"))]
    assert kinds(*rounds) == ["joined", "unreachable"]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8))
def test_without_restarts_the_intervals_add_up_to_the_difference_of_the_ends(steps: list[tuple[int, int]]) -> None:
    watched = session()
    drafts = accepted = 0
    texts = []
    for more, fewer in steps:
        drafts, accepted = drafts + more, accepted + min(more, fewer)
        texts.append(vllm(drafts, accepted))
    rounds = [observe(watched, look(i, text)) for i, text in enumerate(texts)]
    ends = [look(0, text)["http://host:8000"].snapshot for text in (texts[0], texts[-1])]
    reading = read_window([ends[0]], [ends[1]])
    assert reading.counts is not None
    told = so_far(watched)["host:8000 engine 0"]
    sums = [sum(one.total.num_drafts or 0 for one in rounds), sum(one.total.accepted_low or 0 for one in rounds)]
    assert sums == [told.num_drafts, told.accepted_low] == [reading.num_drafts, reading.counts.num_accepted_tokens]
