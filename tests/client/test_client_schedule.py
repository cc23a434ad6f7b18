from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.client.exchange import LoadOptions
from nemo_skills_specdec.client.schedule import Start, arrivals, round_robin, schedule
from nemo_skills_specdec.errors import UsageError


def test_without_a_rate_everything_may_start_at_once_in_the_given_order():
    assert schedule(["a", "b", "a"], LoadOptions()) == [Start(0, None), Start(1, None), Start(2, None)]


def test_a_constant_rate_spaces_starts_evenly():
    load = LoadOptions(request_rate=4.0, arrival="constant")
    assert [start.offset for start in schedule(["a"] * 4, load)] == [0.0, 0.25, 0.5, 0.75]


def test_poisson_arrivals_are_the_same_for_the_same_seed_and_differ_for_another():
    assert arrivals(50, 3.0, poisson=True, seed=1) == arrivals(50, 3.0, poisson=True, seed=1)
    assert arrivals(50, 3.0, poisson=True, seed=1) != arrivals(50, 3.0, poisson=True, seed=2)


def test_poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential():
    times = arrivals(20_001, 5.0, poisson=True, seed=0)
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert times[0] == 0.0
    assert mean == pytest.approx(0.2, rel=0.03)
    assert deviation == pytest.approx(0.2, rel=0.03)


def test_no_conversation_has_no_arrival():
    assert arrivals(0, 1.0, poisson=True) == []
    assert schedule([], LoadOptions(request_rate=1.0)) == []


def test_round_robin_takes_one_of_each_category_in_turn():
    assert round_robin(["a", "a", "a", "b", "c", "c"]) == [0, 3, 4, 1, 5, 2]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd")), st.integers(0, 12))
def test_any_beginning_of_a_round_robin_holds_the_categories_evenly(categories, length):
    order = round_robin(categories)
    assert sorted(order) == list(range(len(categories)))
    taken = [categories[i] for i in order[:length]]
    for category in set(categories):
        others = max((taken.count(other) for other in set(categories)), default=0)
        assert taken.count(category) >= min(others - 1, categories.count(category))


def test_the_order_follows_the_option():
    load = LoadOptions(order="round_robin", request_rate=1.0, arrival="constant")
    assert schedule(["a", "a", "b"], load) == [Start(0, 0.0), Start(2, 1.0), Start(1, 2.0)]


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (LoadOptions(concurrency=0), "concurrency is 0"),
        (LoadOptions(request_rate=-1.0), "request rate is -1"),
        (LoadOptions(timeout_seconds=0), "time-out is 0"),
        (LoadOptions(max_seconds=float("nan")), "time limit is nan"),
    ],
)
def test_limits_must_be_above_zero(load, says):
    with pytest.raises(UsageError, match=says):
        schedule(["a"], load)
