import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram
from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.measurement.result import (
    Measured,
    evaluation_of,
    sources_of,
)
from nemo_skills_specdec.records import Finding, RequestRecord
from nemo_skills_specdec.statistics import Interval

LONG = counts_from_histogram((10, 10, 10, 70), num_draft_tokens=300)
SHORT = counts_from_histogram((8, 2, 0, 0), num_draft_tokens=30)


def record(question_id, category, counts=None, **fields):
    defaults = {"turn": 0, "completion_tokens": 100, "prompt_tokens": 10, "start_time": 100.0, "end_time": 102.0}
    return RequestRecord(
        question_id=question_id,
        category=category,
        counts=counts,
        counts_source="response" if counts else None,
        **{**defaults, **fields},
    )


RECORDS = [record("a", "coding", LONG), record("b", "writing", SHORT), record("c", "writing", SHORT)]
COUNTERS = CounterReading(
    engine="vllm",
    source="counters",
    counts=AcceptanceCounts(
        num_drafts=120, num_draft_tokens=360, num_accepted_tokens=244, accepted_per_position=(94, 80, 70)
    ),
)


def test_the_headline_is_the_best_source_that_knows_the_acceptance_length():
    result = evaluation_of("mini", Measured(records=RECORDS, reading=COUNTERS), {}, findings=[])
    assert result.overall.acceptance.source == "response"
    assert list(result.sources) == ["response", "counters"]
    assert result.overall.acceptance.acceptance_length == 1 + 244 / 120


def test_responses_without_step_counts_leave_the_headline_to_the_counters():
    # llama.cpp says how many tokens were drafted in a request, but not in how many steps.
    tokens_only = AcceptanceCounts(num_drafts=None, num_draft_tokens=360, num_accepted_tokens=244)
    result = evaluation_of("mini", Measured(records=[record("a", "x", tokens_only)], reading=COUNTERS), {}, findings=[])
    assert result.overall.acceptance.source == "counters"
    assert result.sources["response"].acceptance_length is None
    assert result.sources["response"].acceptance_rate == 244 / 360


def test_incomplete_statistics_are_no_source():
    records = [*RECORDS, record("d", "writing")]
    assert list(sources_of(Measured(records=records, reading=COUNTERS))) == ["counters"]


def test_a_failed_request_does_not_make_the_statistics_incomplete():
    records = [*RECORDS, record("d", "writing", error="HTTP 500")]
    result = evaluation_of("mini", Measured(records=records), {}, findings=[])
    assert result.overall.acceptance.source == "response"
    assert (result.overall.num_requests, result.overall.num_failed) == (4, 1)


def test_categories_have_their_own_figures_and_intervals():
    records = [*RECORDS, record("d", "writing", SHORT)]
    result = evaluation_of("mini", Measured(records=records), {}, findings=[])
    assert result.categories["coding"].acceptance.acceptance_length == 3.4
    assert result.categories["writing"].acceptance.acceptance_length == 1.2
    # Three prompts that agree: 1 - 0.05 ** (1 / 3) of all prompts may be others, with an AL between 1 and 4.
    others = 1 - 0.05 ** (1 / 3)
    assert result.categories["writing"].acceptance.intervals.acceptance_length == Interval(
        pytest.approx(1.2 - 0.2 * others), pytest.approx(1.2 + 2.8 * others)
    )
    assert result.categories["coding"].acceptance.intervals.acceptance_length is None


def test_categories_measured_one_by_one_take_their_own_counters():
    bare = [record("a", "coding"), record("b", "writing")]
    windows = {
        "coding": Measured(
            records=bare[:1], wall_seconds=4.0, reading=CounterReading(engine="vllm", source="counters", counts=LONG)
        ),
        "writing": Measured(
            records=bare[1:], wall_seconds=6.0, reading=CounterReading(engine="vllm", source="counters", counts=SHORT)
        ),
    }
    whole = Measured(
        records=bare, wall_seconds=10.0, reading=CounterReading(engine="vllm", source="counters", counts=LONG + SHORT)
    )
    result = evaluation_of("mini", whole, windows, findings=[])
    assert result.categories["coding"].acceptance.acceptance_length == 3.4
    assert result.categories["writing"].speed.wall_seconds == 6.0
    assert result.averages.category_macro.acceptance_length == pytest.approx((3.4 + 1.2) / 2)
    assert result.averages.request_mean.acceptance_length is None


def test_nothing_known_about_acceptance_is_null_and_not_one():
    result = evaluation_of("mini", Measured(records=[record("a", "coding")]), {}, findings=[])
    assert result.overall.acceptance.source is None
    assert result.overall.acceptance.acceptance_length is None
    assert result.averages.pooled.acceptance_length is None


def test_an_invalid_finding_makes_the_run_invalid():
    bad = Finding(code="foreign_traffic", severity="invalid", message="m")
    assert not evaluation_of("mini", Measured(records=RECORDS), {}, findings=[bad]).valid
    assert evaluation_of("mini", Measured(records=RECORDS), {}, findings=[]).valid
