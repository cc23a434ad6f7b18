import pytest

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_histogram
from nemo_skills_specdec.statistics import Interval, Prompt, averages, mean, uncertainty


def request(*histogram):
    return counts_from_histogram(histogram, num_draft_tokens=sum(histogram) * (len(histogram) - 1))


LONG = request(10, 10, 10, 70)  # 100 steps, AL 3.4
SHORT = request(8, 2, 0, 0)  # 10 steps, AL 1.2
PROMPTS = [
    Prompt(category="coding", requests=(LONG,)),
    Prompt(category="writing", requests=(SHORT,)),
    Prompt(category="writing", requests=(SHORT, NO_STEPS)),
]


def test_the_three_averages_differ_and_are_named():
    result = averages(PROMPTS)
    assert result.pooled.acceptance_length == 1 + (240 + 2 + 2) / 120
    assert result.request_mean.acceptance_length == pytest.approx((3.4 + 1.2 + 1.2) / 3)
    assert result.category_macro.acceptance_length == pytest.approx((3.4 + 1.2) / 2)


# A published SPEED-Bench run: Llama-3.3-70B with EAGLE-3, K = 3, TensorRT-LLM. Steps by tokens a step, 1 to 4, over
# everything, and the acceptance length of every category.
PUBLISHED_STEPS = (57385, 36968, 24441, 61182)
PUBLISHED_LENGTHS = {
    "coding": 3.0001,
    "humanities": 2.3699,
    "math": 2.4710,
    "multilingual": 1.7277,
    "qa": 2.3184,
    "rag": 2.7502,
    "reasoning": 2.6142,
    "roleplay": 2.0407,
    "stem": 2.4306,
    "summarization": 2.6026,
    "writing": 2.6364,
}


def with_length(length, steps=10_000):
    """A request whose acceptance length is exact to four decimals."""
    accepted = round((length - 1) * steps)
    return AcceptanceCounts(num_drafts=steps, num_draft_tokens=3 * steps, num_accepted_tokens=accepted)


def test_a_published_run_has_the_pooled_average_that_was_published():
    result = averages([Prompt(category="all", requests=(request(*PUBLISHED_STEPS),))])
    assert result.pooled.acceptance_length == pytest.approx(2.496844, abs=5e-7)
    assert result.pooled.over == 179_976


def test_a_published_run_has_the_macro_average_that_was_published():
    prompts = [Prompt(category=name, requests=(with_length(length),)) for name, length in PUBLISHED_LENGTHS.items()]
    assert averages(prompts).category_macro.acceptance_length == pytest.approx(2.451073, abs=5e-7)


def test_requests_of_equal_weight_differ_from_steps_of_equal_weight():
    # Short answers that go well and a long one that does not, as where published request means exceed the pooled value.
    prompts = [Prompt(category="a", requests=(with_length(3.0, 1_000), with_length(2.0, 9_000)))]
    assert averages(prompts).request_mean.acceptance_length == pytest.approx(2.5)
    assert averages(prompts).pooled.acceptance_length == pytest.approx(2.1)


def test_every_average_says_over_how_many_things_it_was_taken():
    result = averages(PROMPTS)
    assert (result.pooled.over, result.request_mean.over, result.category_macro.over) == (120, 3, 2)


def test_the_acceptance_rate_has_the_same_three_averages():
    result = averages(PROMPTS)
    assert result.pooled.acceptance_rate == 244 / 360
    assert result.request_mean.acceptance_rate == pytest.approx((0.8 + 2 / 30 + 2 / 30) / 3)
    assert result.category_macro.acceptance_rate == pytest.approx((0.8 + 2 / 30) / 2)


def test_nothing_measured_gives_no_average():
    for prompts in ([Prompt(category="coding", requests=(NO_STEPS,))], []):
        result = averages(prompts)
        assert result.pooled.acceptance_length is None
        assert result.request_mean.acceptance_length is None
        assert result.category_macro.acceptance_length is None
    assert mean([]) is None


def test_where_steps_are_unknown_only_the_rate_has_averages():
    known = AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=15)
    result = averages([Prompt(category="a", requests=(known,))] * 5)
    assert (result.pooled.acceptance_length, result.pooled.acceptance_rate) == (None, 0.5)
    assert result.pooled.acceptance_length_interval is None
    assert result.category_macro.acceptance_length_interval is None


def test_one_or_two_prompts_have_no_interval():
    result = averages(PROMPTS[:2])
    assert result.pooled.acceptance_length_interval is None
    assert result.request_mean.acceptance_length_interval is None


def test_turns_of_one_prompt_stand_together():
    # Ten prompts of two unlike turns each: between prompts nothing varies, so what is uncertain is only that no other
    # prompt was seen: with 95 % confidence fewer than 1 - 0.05 ** (1 / 10) of them, 0.259, are different.
    alike = [Prompt(category="qa", requests=(LONG, SHORT))] * 10
    interval = averages(alike).request_mean.acceptance_length_interval
    others = 1 - 0.05**0.1
    assert (interval.low, interval.high) == pytest.approx((2.3 - 1.3 * others, 2.3 + 1.7 * others))


def test_the_macro_interval_holds_the_variation_within_categories_only():
    # Between the categories there is a gulf, within them little difference: the macro average is certain.
    near = request(12, 10, 10, 68)
    prompts = [Prompt(category="a", requests=(x,)) for x in (LONG, near) * 10]
    prompts += [Prompt(category="b", requests=(x,)) for x in (request(80, 20, 0, 0), request(78, 22, 0, 0)) * 10]
    result = averages(prompts)
    macro, pooled = result.category_macro.acceptance_length_interval, result.pooled.acceptance_length_interval
    assert macro.high - macro.low < 0.2
    assert pooled.high - pooled.low > 0.5


def test_where_each_category_agrees_with_itself_the_macro_interval_is_the_mean_of_what_bounds_them():
    prompts = [Prompt(category="a", requests=(LONG,))] * 5 + [Prompt(category="b", requests=(SHORT,))] * 5
    interval = averages(prompts).category_macro.acceptance_length_interval
    others = 1 - 0.05**0.2
    low, high = (3.4 + 1.2) / 2 - others * (2.4 + 0.2) / 2, (3.4 + 1.2) / 2 + others * (0.6 + 2.8) / 2
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_a_category_of_one_prompt_leaves_the_macro_average_without_interval():
    prompts = [Prompt(category="a", requests=(x,)) for x in (LONG, SHORT, LONG)]
    assert (
        averages([*prompts, Prompt(category="b", requests=(SHORT,))]).category_macro.acceptance_length_interval is None
    )
    # One without a step is no category at all.
    without = averages([*prompts, Prompt(category="b", requests=(NO_STEPS,))]).category_macro
    assert without.over == 1
    assert without.acceptance_length_interval is not None


def test_rates_and_averages_rest_on_one_draw():
    prompts = [Prompt(category="ab"[n % 2], requests=(request(n % 5 + 1, 3, n % 3, 2),)) for n in range(40)]
    found = uncertainty(prompts, seed=4)
    assert found.averages.pooled.acceptance_length_interval == found.overall.acceptance_length
    # Requests of one turn each, all of one length: every average of them is the same.
    equal = [Prompt(category="x", requests=(request(4 - n % 3, 6 + n % 3, 0, 0),)) for n in range(40)]
    found = uncertainty(equal, seed=4)
    assert found.averages.request_mean.acceptance_length_interval == Interval(
        pytest.approx(found.overall.acceptance_length.low), pytest.approx(found.overall.acceptance_length.high)
    )
    assert found.categories["x"] == found.overall


def test_the_intervals_of_a_category_do_not_depend_on_the_other_categories():
    prompts = [Prompt(category="ab"[n % 2], requests=(request(n % 5 + 1, 3, n % 3, 2),)) for n in range(40)]
    alone = uncertainty([prompt for prompt in prompts if prompt.category == "b"], seed=4)
    assert uncertainty(prompts, seed=4).categories["b"] == alone.overall


def test_seed_and_resamples_of_the_averages_are_those_asked_for():
    prompts = [Prompt(category="ab"[n % 2], requests=(request(n % 5 + 1, 3, n % 3, 2),)) for n in range(40)]
    asked = averages(prompts, seed=5, resamples=300)
    assert asked == uncertainty(prompts, seed=5, resamples=300).averages
    assert asked != averages(prompts, seed=6, resamples=300)
    assert asked != averages(prompts, seed=5, resamples=301)
    assert averages(prompts) == averages(prompts, seed=0, resamples=10_000)


def test_turns_without_a_step_change_no_interval():
    plain = [Prompt(category="ab"[n % 2], requests=(request(n % 5 + 1, 3, n % 3, 2), SHORT)) for n in range(12)]
    padded = [Prompt(category=p.category, requests=(NO_STEPS, *p.requests, NO_STEPS)) for p in plain]
    assert uncertainty(padded, seed=1) == uncertainty(plain, seed=1)


def test_a_turn_of_a_single_step_counts_in_the_request_mean():
    one = AcceptanceCounts(num_drafts=1, num_draft_tokens=1, num_accepted_tokens=1, accepted_per_position=(1,))
    result = averages([Prompt(category="a", requests=(one, SHORT))] * 3)
    assert result.request_mean.over == 6
    assert result.request_mean.acceptance_length == pytest.approx((2.0 + 1.2) / 2)
    assert result.request_mean.acceptance_rate == pytest.approx((1.0 + 2 / 30) / 2)
    # Three prompts that agree: a share of 1 - 0.05 ** (1 / 3) of all may be others, with an AL of 1 at least.
    assert result.request_mean.acceptance_length_interval.low == pytest.approx(1.6 - (1 - 0.05 ** (1 / 3)) * 0.6)


def test_three_prompts_are_enough_for_every_average():
    result = averages([Prompt(category="a", requests=(x,)) for x in (LONG, SHORT, request(5, 5, 0, 0))], seed=3)
    pooled = result.pooled.acceptance_length_interval
    assert result.request_mean.acceptance_length_interval is not None
    assert result.category_macro.acceptance_length_interval is not None
    # The ratios of the resamples reach as far as a prompt alone, LONG's 3.4 or SHORT's 1.2.
    assert pooled.low <= 1.2
    assert pooled.high >= 3.4


@pytest.mark.parametrize(("prompts", "drawn"), [(1000, True), (1001, False)])
def test_above_a_thousand_prompts_nothing_is_drawn(prompts, drawn):
    many = [Prompt(category="a", requests=(request(n % 5 + 1, 3, n % 3, 2),)) for n in range(prompts)]
    assert (uncertainty(many, seed=1, resamples=50) != uncertainty(many, seed=2, resamples=50)) is drawn


def test_without_a_seed_the_intervals_are_those_of_seed_0():
    prompts = [Prompt(category="a", requests=(request(n % 5 + 1, 3, n % 3, 2),)) for n in range(40)]
    assert uncertainty(prompts) == uncertainty(prompts, seed=0)


def test_the_macro_interval_of_two_categories_stays_within_what_is_possible():
    low = [Prompt(category="a", requests=(x,)) for x in (request(30, 0), request(29, 1))]
    high = [Prompt(category="b", requests=(x,)) for x in (request(30, 0), request(28, 2))]
    interval = averages(low + high).category_macro.acceptance_length_interval
    assert 1.0 <= interval.low < 1.05 < interval.high < 2.0


def test_undefined_resamples_of_a_category_give_no_warning_and_are_left_out(recwarn):
    sparse = [Prompt(category="a", requests=(x,)) for x in (request(3, 2), request(1, 4), NO_STEPS, NO_STEPS)]
    whole = [Prompt(category="b", requests=(x,)) for x in (request(3, 2), request(1, 4), request(2, 2))]
    assert averages(sparse + whole).category_macro.acceptance_length_interval is not None
    assert not recwarn
