import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import (
    NO_STEPS,
    AcceptanceCounts,
    counts_from_histogram,
    counts_from_steps,
    reached_conditional_rates,
    reached_per_position,
    total,
)
from nemo_skills_specdec.errors import CountsDecreasedError, IdentityError

# Figures of a real vLLM 0.32.0 run with n-gram speculation, K = 4.
NGRAM = AcceptanceCounts(
    num_drafts=768, num_draft_tokens=3006, num_accepted_tokens=1594, accepted_per_position=(533, 442, 321, 298)
)

histograms = st.lists(st.integers(0, 500), min_size=1, max_size=9)
steps = st.lists(st.integers(0, 8).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d))), max_size=60)


def counts(drafts=10, drafted=30, accepted=13, positions=(7, 4, 2)):
    return AcceptanceCounts(
        num_drafts=drafts, num_draft_tokens=drafted, num_accepted_tokens=accepted, accepted_per_position=positions
    )


def test_rates_follow_their_definitions():
    assert counts().acceptance_length == 2.3
    assert counts().acceptance_rate == 13 / 30
    assert counts().per_position_acceptance_rates == (0.7, 0.4, 0.2)
    assert counts().conditional_acceptance_rates == (7 / 10, 4 / 7, 2 / 4)


def test_rates_of_a_recorded_run_are_exact_fractions():
    assert NGRAM.acceptance_length == 2362 / 768
    assert NGRAM.acceptance_rate == 1594 / 3006
    assert NGRAM.conditional_acceptance_rates == (533 / 768, 442 / 533, 321 / 442, 298 / 321)


def test_a_conditional_rate_is_undefined_where_nothing_reached_its_position():
    assert counts(accepted=7, positions=(7, 0, 0)).conditional_acceptance_rates == (0.7, 0.0, None)
    assert counts(accepted=0, positions=(0, 0, 0)).conditional_acceptance_rates == (0.0, None, None)


def test_without_a_step_every_rate_is_unknown():
    assert NO_STEPS.acceptance_length is None
    assert NO_STEPS.acceptance_rate is None
    assert NO_STEPS.per_position_acceptance_rates is None
    assert NO_STEPS.conditional_acceptance_rates is None


def test_what_a_source_does_not_say_stays_unknown():
    only_tokens = AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=13)
    assert only_tokens.acceptance_length is None
    assert only_tokens.acceptance_rate == 13 / 30
    assert (only_tokens + counts()).num_drafts is None
    assert (only_tokens + counts()).accepted_per_position is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"drafted": 12}, "more tokens accepted than drafted"),
        ({"positions": (7, 4, 1)}, "do not sum"),
        ({"positions": (4, 7, 2)}, "later draft position"),
        ({"drafts": 6}, "first draft position"),
        ({"drafts": -1}, "negative"),
        ({"accepted": 5, "positions": (7, -2, 0)}, "negative"),
        ({"drafts": 0, "accepted": 0, "positions": ()}, "without a verification step"),
    ],
)
def test_counts_that_contradict_each_other_cannot_be_built(fields, message):
    with pytest.raises(IdentityError, match=message):
        counts(**fields)


def test_an_identity_error_shows_the_raw_numbers():
    with pytest.raises(IdentityError, match=r"num_drafts=10, num_draft_tokens=12, num_accepted_tokens=13"):
        counts(drafted=12)


def test_a_window_is_the_difference_of_two_readings():
    assert (NGRAM + counts()) - NGRAM == counts(positions=(7, 4, 2, 0))


def test_a_decreased_counter_is_an_error_that_names_it():
    with pytest.raises(CountsDecreasedError, match="num_drafts decreased from 768 to 10"):
        counts() - NGRAM
    with pytest.raises(CountsDecreasedError, match="accepted_per_position"):
        counts() - counts(accepted=12, positions=(5, 5, 2))


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({"drafts": 9}, "num_drafts decreased from 10 to 9"),
        ({"drafted": 29}, "num_draft_tokens decreased from 30 to 29"),
        ({"accepted": 12, "positions": None}, "num_accepted_tokens decreased from 13 to 12"),
        ({"accepted": 14, "positions": (6, 6, 2)}, r"accepted_per_position decreased from \[7, 4, 2\] to \[6, 6, 2\]"),
    ],
)
def test_the_error_of_a_decreased_counter_names_it_and_both_values(later, message):
    with pytest.raises(CountsDecreasedError, match=f"^{message}$"):
        counts(**later) - counts()


def test_a_difference_of_something_unknown_on_either_side_is_unknown():
    unknown = counts(drafts=None, drafted=None, positions=None)
    for difference in (counts() - unknown, unknown - counts()):
        assert (difference.num_drafts, difference.num_draft_tokens, difference.accepted_per_position) == (None,) * 3
        assert difference.num_accepted_tokens == 0


def test_a_sum_knows_only_what_all_its_parts_know():
    unknown = counts(drafts=None, drafted=None, positions=None)
    for parts in ([counts(), unknown, counts()], [unknown, counts(), counts()]):
        whole = total(parts)
        assert (whole.num_drafts, whole.num_draft_tokens, whole.accepted_per_position) == (None,) * 3
        assert whole.num_accepted_tokens == 39


def test_a_histogram_of_steps_that_accepted_nothing_has_no_position():
    assert counts_from_histogram([5], num_draft_tokens=15).accepted_per_position == ()
    assert counts_from_histogram([], num_draft_tokens=0).accepted_per_position == ()


def test_a_histogram_gives_steps_and_positions():
    # An SGLang response with trailing zeros missing, draft length 3.
    assert counts_from_histogram([15, 2], num_draft_tokens=51, draft_length=3) == AcceptanceCounts(
        num_drafts=17, num_draft_tokens=51, num_accepted_tokens=2, accepted_per_position=(2, 0, 0)
    )


def test_a_histogram_above_the_draft_length_is_refused():
    with pytest.raises(IdentityError, match="more than 2 draft tokens"):
        counts_from_histogram([1, 0, 0, 4], num_draft_tokens=15, draft_length=2)
    with pytest.raises(IdentityError, match="negative"):
        counts_from_histogram([1, -1], num_draft_tokens=0)


def test_steps_without_a_draft_do_not_count():
    assert counts_from_steps([2, 0, 0, 1], [3, 0, 3, 1]) == AcceptanceCounts(
        num_drafts=3, num_draft_tokens=7, num_accepted_tokens=3, accepted_per_position=(2, 1, 0)
    )


def test_a_step_cannot_accept_more_than_it_drafted():
    with pytest.raises(IdentityError, match="contradict"):
        counts_from_steps([4], [3])
    with pytest.raises(IdentityError, match="contradict"):
        counts_from_steps([1, 1], [3])


@given(histograms)
def test_acceptance_length_is_one_plus_the_sum_of_the_per_position_rates(histogram):
    result = counts_from_histogram(histogram, num_draft_tokens=None)
    if result.num_drafts:
        assert result.acceptance_length == pytest.approx(1 + sum(result.per_position_acceptance_rates))


@given(histograms)
def test_the_product_of_the_conditional_rates_is_the_per_position_rate(histogram):
    result = counts_from_histogram(histogram, num_draft_tokens=None)
    product = 1.0
    if result.num_drafts:
        for joint, conditional in zip(
            result.per_position_acceptance_rates, result.conditional_acceptance_rates, strict=True
        ):
            product *= 0 if conditional is None else conditional
            assert joint == pytest.approx(product)


@given(steps)
def test_histogram_and_step_list_give_the_same_counts(pairs):
    accepted, drafted = [a for a, _ in pairs], [d for _, d in pairs]
    longest = max(drafted, default=0)
    histogram = [sum(a == j for a, d in pairs if d) for j in range(longest + 1)]
    from_steps = counts_from_steps(accepted, drafted)
    assert from_steps == counts_from_histogram(histogram, num_draft_tokens=sum(drafted), draft_length=longest)


@given(st.lists(steps, max_size=5), st.randoms())
def test_a_sum_does_not_depend_on_the_order_or_on_the_split(parts, random):
    per_part = [counts_from_steps([a for a, _ in p], [d for _, d in p]) for p in parts]
    shuffled = random.sample(per_part, len(per_part))
    flat = [pair for part in parts for pair in part]
    whole = counts_from_steps([a for a, _ in flat], [d for _, d in flat])
    assert total(per_part) == total(shuffled) == whole


@given(steps, steps)
def test_subtraction_undoes_addition(first, second):
    a = counts_from_steps([x for x, _ in first], [d for _, d in first])
    b = counts_from_steps([x for x, _ in second], [d for _, d in second])
    difference = (a + b) - b
    assert (difference.num_drafts, difference.num_draft_tokens, difference.num_accepted_tokens) == (
        a.num_drafts,
        a.num_draft_tokens,
        a.num_accepted_tokens,
    )
    assert difference.accepted_per_position[: len(a.accepted_per_position)] == a.accepted_per_position


def test_a_step_that_never_drafted_a_position_does_not_count_against_it():
    # Drafts of one, one and three tokens, everything accepted: position 1 was reached once and accepted once.
    accepted, drafted = [1, 1, 3], [1, 1, 3]
    found = counts_from_steps(accepted, drafted)
    assert found.conditional_acceptance_rates == (1.0, 1 / 3, 1.0)
    reached = reached_per_position(accepted, drafted)
    assert reached == (3, 1, 1)
    assert reached_conditional_rates(found.accepted_per_position, reached) == (1.0, 1.0, 1.0)


def test_a_position_after_a_rejection_is_not_reached():
    assert reached_per_position([0, 1, 3], [3, 3, 3]) == (3, 2, 1)
    assert reached_conditional_rates((2, 1, 1), (3, 2, 1)) == (2 / 3, 1 / 2, 1.0)


def test_a_position_that_no_step_reached_has_no_rate():
    assert reached_per_position([0, 1], [2, 1], draft_length=3) == (2, 0, 0)
    assert reached_conditional_rates((1,), (2, 0, 0)) == (1 / 2, None, None)
    assert reached_per_position([], []) == ()
    assert reached_conditional_rates((), ()) == ()


def test_steps_without_a_draft_reach_no_position():
    assert reached_per_position([0, 2], [0, 2]) == (1, 1)


def test_contradictory_steps_and_rates_are_refused():
    with pytest.raises(IdentityError, match="contradict"):
        reached_per_position([2], [1])
    with pytest.raises(IdentityError, match="contradict"):
        reached_per_position([1, 1], [1])
    with pytest.raises(IdentityError, match="drafted more than 2"):
        reached_per_position([1], [3], draft_length=2)
    with pytest.raises(IdentityError, match=r"^a draft position was accepted in more steps than reached it \(acc"):
        reached_conditional_rates((3, 2), (3, 1))


@given(steps)
def test_reached_steps_lie_between_those_accepted_here_and_those_accepted_before(pairs):
    accepted, drafted = [a for a, _ in pairs], [d for _, d in pairs]
    found, reached = counts_from_steps(accepted, drafted), reached_per_position(accepted, drafted)
    before = (found.num_drafts, *found.accepted_per_position)
    assert len(reached) == len(found.accepted_per_position)
    assert reached[:1] == before[:1] or not reached
    for here, there, earlier in zip(found.accepted_per_position, reached, before, strict=False):
        assert here <= there <= earlier


@given(st.lists(st.integers(0, 4), max_size=60))
def test_drafts_of_one_length_have_the_same_conditional_rates_either_way(accepted):
    drafted = [4] * len(accepted)
    found = counts_from_steps(accepted, drafted)
    reached = reached_per_position(accepted, drafted)
    rates = reached_conditional_rates(found.accepted_per_position, reached)
    assert rates == (found.conditional_acceptance_rates or ())


@given(
    st.lists(
        st.lists(st.integers(0, 4).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d))), max_size=8), max_size=3
    )
)
def test_reached_steps_of_parts_add_up_to_those_of_the_whole(parts):
    flat = [pair for part in parts for pair in part]
    whole = reached_per_position([a for a, _ in flat], [d for _, d in flat])
    each = [reached_per_position([a for a, _ in part], [d for _, d in part], draft_length=len(whole)) for part in parts]
    assert whole == tuple(sum(column) for column in zip(*each, strict=True))
