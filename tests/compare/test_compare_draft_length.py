"""AL of shorter drafts from one run, and where that says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram, counts_from_steps
from nemo_skills_specdec.compare.draft_length import acceptance_curve, forecasts, length_points, not_a_chain
from nemo_skills_specdec.engines.base import ServerInfo

# Published run of Llama-3.3-70B with EAGLE-3 (K = 3) on SPEED-Bench: steps by tokens per step, 1 to 4.
PUBLISHED = counts_from_histogram([57385, 36968, 24441, 61182], num_draft_tokens=3 * 179976)


def server(**options):
    return ServerInfo(engine="sglang", base_url="http://x", **options)


def test_the_published_histogram_gives_the_published_rates():
    assert acceptance_curve(PUBLISHED)[3] == pytest.approx(2.496844, abs=1e-6)
    assert PUBLISHED.acceptance_length == pytest.approx(2.496844, abs=1e-6)
    assert PUBLISHED.per_position_acceptance_rates == pytest.approx((0.681152, 0.475747, 0.339945), abs=1e-6)
    assert PUBLISHED.conditional_acceptance_rates == pytest.approx((0.681152, 0.698444, 0.714551), abs=1e-6)


def test_without_the_prefill_chunk_of_every_turn_the_first_rate_is_higher():
    counts = counts_from_histogram([57385 - 1138, 36968, 24441, 61182], num_draft_tokens=3 * 178838)
    assert counts.acceptance_length == pytest.approx(2.506369, abs=1e-6)
    assert counts.conditional_acceptance_rates == pytest.approx((0.685486, 0.698444, 0.714551), abs=1e-6)


def verify(stretches, k):
    """What verification at draft length k accepts, step by step, of a text: stretches of right tokens, each followed
    by a wrong one."""
    right = [token for length in stretches for token in [True] * length + [False]]
    place, accepted = 0, []
    while place < len(right):
        run = next((n for n in range(k) if place + n >= len(right) or not right[place + n]), k)
        accepted.append(run)
        place += run + 1
    return counts_from_steps(accepted, [k] * len(accepted))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_a_run_whose_every_draft_holds_a_wrong_token_tells_what_shorter_drafts_would_give(stretches):
    whole = verify(stretches, 6)
    curve = acceptance_curve(whole)
    for k in range(1, 6):
        cut = 1 + sum(whole.accepted_per_position[:k]) / whole.num_drafts
        assert curve[k] == pytest.approx(max(cut, verify(stretches, k).acceptance_length))


@given(st.lists(st.integers(0, 30), min_size=200, max_size=400), st.integers(2, 7))
def test_long_stretches_are_forecast_within_a_few_percent(stretches, longest):
    curve = acceptance_curve(verify(stretches, longest))
    assert curve[longest] == pytest.approx(verify(stretches, longest).acceptance_length)
    for k in range(1, longest):
        assert curve[k] == pytest.approx(verify(stretches, k).acceptance_length, rel=0.1)


def test_drafts_that_are_always_right_are_so_at_every_length():
    counts = counts_from_steps([4] * 10, [4] * 10)
    assert acceptance_curve(counts) == pytest.approx([1, 2, 3, 4, 5])


def test_drafts_that_are_never_right_add_nothing():
    counts = counts_from_steps([0] * 10, [4] * 10)
    assert acceptance_curve(counts) == pytest.approx([1, 1, 1, 1, 1])


def test_where_later_tokens_are_drafted_worse_the_first_rates_count():
    # 0.8, then 0.6, then 0.4 of those: 100 steps in like places.
    counts = counts_from_histogram([100, 160, 144, 96], num_draft_tokens=1500)
    assert acceptance_curve(counts)[1] == pytest.approx(1.8)


def test_marginal_gain_and_break_even_cost_of_every_length():
    prompts = [counts_from_histogram([4, 2, 4], num_draft_tokens=20)] * 6
    first, second = length_points({2: prompts})
    # c = 4 / 6, x = 1/3 + 2/3 * 0.5 * (4/9) / (5/9) = 0.6, so 10 + 4 - 4 * 0.4 steps of length 1 for 20 tokens.
    assert (first.acceptance_length, first.marginal) == pytest.approx((20 / 12.4, 20 / 12.4 - 1))
    assert first.break_even_cost == pytest.approx(20 / 12.4 - 1)
    assert (second.acceptance_length, second.break_even_cost) == pytest.approx((2.0, 0.24))
    # All prompts alike: the interval has no width.
    assert second.interval.low == pytest.approx(2.0)


def test_every_length_is_taken_from_the_shortest_measured_one_that_has_it():
    short = [counts_from_histogram([5, 5], num_draft_tokens=10)] * 6
    long = [counts_from_histogram([6, 1, 3], num_draft_tokens=20)] * 6
    points = length_points({1: short, 2: long})
    assert [(p.draft_length, p.measured_at, p.acceptance_length) for p in points] == [
        (1, 1, pytest.approx(1.5)),
        (2, 2, pytest.approx(1.7)),
    ]
    (forecast,) = forecasts({1: short, 2: long})
    assert (forecast.forecast, forecast.measured) == (pytest.approx(1.451220, abs=1e-6), pytest.approx(1.5))


def test_positions_that_nobody_told_give_no_curve():
    counts = AcceptanceCounts(num_drafts=10, num_draft_tokens=30, num_accepted_tokens=12)
    assert acceptance_curve(counts) == []
    assert length_points({3: [counts] * 6}) == []


@pytest.mark.parametrize(
    ("info", "counts", "words"),
    [
        (server(topk=4, tree_nodes=16, draft_length=5), PUBLISHED, "trees (4 branches"),
        (server(tree_nodes=16, draft_length=5), PUBLISHED, "trees (16 nodes"),
        (server(method="NGRAM"), PUBLISHED, "n-gram"),
        (server(method="eagle3"), counts_from_steps([1, 0, 3], [3, 1, 3]), "on average 2.33 of 3"),
    ],
)
def test_trees_and_lengths_that_vary_are_no_chain(info, counts, words):
    assert words in not_a_chain(info, counts)


def test_a_chain_is_a_chain_though_the_last_draft_of_an_answer_is_short():
    assert not_a_chain(server(method="eagle3", topk=1, tree_nodes=4, draft_length=3), PUBLISHED) is None
    short = counts_from_steps([1] * 400, [3] * 398 + [1, 2])
    assert not_a_chain(server(method="mtp"), short) is None
