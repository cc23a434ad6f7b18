"""Figures from intervals: the arithmetic, and that rounding never excludes the truth."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.logs.figures import conditional, log_acceptance, recover
from nemo_skills_specdec.logs.vllm_log import LogInterval, read_vllm_log

CAPTURES = Path(__file__).parent.parent / "data" / "captures"


def interval(drafts: int, drafted: int, per_position: list[int], *, bonus: int = 1) -> LogInterval:
    """What vLLM prints of these counts."""
    accepted = sum(per_position)
    return LogInterval(
        line=1,
        time=None,
        server="",
        num_draft_tokens=drafted,
        num_accepted_tokens=accepted,
        length=f"{bonus + accepted / drafts:.2f}",
        rates=tuple(f"{count / drafts:.3f}" for count in per_position),
    )


@st.composite
def counts(draw):
    """Steps, drafted tokens and accepted per position, as verification can give them."""
    drafts = draw(st.integers(1, 20_000))
    positions = draw(st.integers(1, 8))
    per_position, before = [], drafts
    for _ in range(positions):
        before = draw(st.integers(0, before))
        per_position.append(before)
    drafted = draw(st.integers(max(drafts, sum(per_position)), drafts * positions))
    return drafts, drafted, per_position


@given(counts())
def test_the_truth_is_always_among_what_a_line_allows(case):
    drafts, drafted, per_position = case
    found = recover(interval(drafts, drafted, per_position))
    assert found.drafts is not None
    assert found.drafts[0] <= drafts <= found.drafts[1]
    assert all(low <= true <= high for true, (low, high) in zip(per_position, found.per_position, strict=True))


@given(counts())
def test_the_bounds_of_the_acceptance_length_hold_the_truth(case):
    drafts, drafted, per_position = case
    result, refused = log_acceptance([interval(drafts, drafted, per_position)] * 2)
    assert refused == []
    assert result.acceptance_length_bounds.low - 1e-12 <= 1 + sum(per_position) / drafts
    assert result.acceptance_length_bounds.high + 1e-12 >= 1 + sum(per_position) / drafts


def test_a_small_interval_is_recovered_exactly():
    found = recover(interval(319, 1240, [213, 160, 110, 98]))
    assert found.drafts == (319, 319)
    assert found.per_position == ((213, 213), (160, 160), (110, 110), (98, 98))


def test_an_interval_without_acceptance_leaves_the_steps_open():
    found = recover(interval(100, 240, [0, 0, 0]))
    assert found.drafts == (80, 240)


def test_a_length_without_the_bonus_token_is_recognised():
    result, _ = log_acceptance([interval(100, 300, [60, 30, 10], bonus=0)])
    assert result.acceptance_length == pytest.approx(2.0)
    assert [finding.code for finding in result.findings] == ["log_length_without_bonus"]


def test_an_interval_that_no_number_of_steps_explains_is_refused():
    good = interval(100, 300, [60, 30, 10])
    bad = LogInterval(**{**{f: getattr(good, f) for f in good.__struct_fields__}, "rates": ("0.600", "0.300", "0.200")})
    result, refused = log_acceptance([good, bad])
    assert refused == [bad]
    assert (result.num_intervals, result.num_accepted_tokens) == (1, 100)


def test_rates_are_weighted_by_steps_and_by_drafted_tokens():
    # 100 steps that drafted 2 each, 100 steps that drafted 1 each: the weights differ.
    result, _ = log_acceptance([interval(100, 200, [50, 20]), interval(100, 101, [80, 1])])
    assert result.num_drafts == 200
    assert result.accepted_per_position == (130, 21)
    assert result.per_position_acceptance_rates == (0.65, 0.105)
    assert result.drafted_weighted_rates[0] == pytest.approx((0.5 * 200 + 0.8 * 101) / 301)
    assert result.drafted_weighted_conditional_rates[0] == result.drafted_weighted_rates[0]
    assert result.acceptance_rate == 151 / 301


def test_an_interval_with_fewer_positions_counts_as_zero_at_the_others():
    result, _ = log_acceptance([interval(100, 200, [50, 20]), interval(100, 100, [40])])
    assert result.accepted_per_position == (90, 20)
    assert result.drafted_weighted_rates == pytest.approx(((0.5 * 200 + 0.4 * 100) / 300, 0.2 * 200 / 300))


def test_conditional_rates_are_null_after_a_zero():
    assert conditional((0.5, 0.0, 0.0)) == (0.5, 0.0, None)
    assert conditional(None) is None


def test_totals_alone_give_the_acceptance_rate_and_nothing_else():
    line = LogInterval(
        line=1, time=None, server="", num_draft_tokens=387, num_accepted_tokens=150, length=None, rates=()
    )
    result, _ = log_acceptance([line])
    assert (result.num_draft_tokens, result.acceptance_rate) == (387, 150 / 387)
    assert (result.num_drafts, result.acceptance_length, result.per_position_acceptance_rates) == (None, None, None)
    assert [finding.code for finding in result.findings] == ["log_without_positions"]


# The counters at the end of these servers' lives count the same steps as their whole logs.
@pytest.mark.parametrize(
    ("capture", "drafts", "drafted", "accepted", "positions"),
    [
        ("vllm-gpu/vllm_draft_model", 29860, 89580, 17150, [8992, 4991, 3167]),
        ("vllm-gpu/vllm_ngram", 7641, 29946, 17181, [5415, 4581, 3759, 3426]),
    ],
)
def test_a_recorded_log_agrees_with_the_counters_of_the_same_steps(capture, drafts, drafted, accepted, positions):
    text = gzip.decompress((CAPTURES / capture / "server.log.gz").read_bytes()).decode()
    result, refused = log_acceptance(read_vllm_log(text).intervals)
    assert refused == []
    assert (result.num_draft_tokens, result.num_accepted_tokens) == (drafted, accepted)
    assert result.num_drafts_bounds[0] <= drafts <= result.num_drafts_bounds[1]
    assert result.num_drafts in {drafts, None}
    assert result.acceptance_length == pytest.approx(1 + accepted / drafts, abs=6e-4)
    assert result.per_position_acceptance_rates == pytest.approx([a / drafts for a in positions], abs=5e-4)


def test_a_recorded_n_gram_log_is_recovered_to_the_integer():
    text = gzip.decompress((CAPTURES / "vllm/ngram/server.log.gz").read_bytes()).decode()
    result, _ = log_acceptance(read_vllm_log(text).intervals)
    assert (result.num_drafts, result.num_drafts_bounds) == (979, (979, 979))
    assert result.accepted_per_position == (648, 534, 407, 380)
    assert result.acceptance_length == 1 + 1969 / 979
    assert not result.draft_length_fixed
