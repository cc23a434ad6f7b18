from nemo_skills_specdec.acceptance import NO_STEPS, counts_from_histogram
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.measurement.request_statistics import (
    contradictions,
    count_answer,
    has_statistics,
    reached_in,
    with_stepless_answers,
)
from nemo_skills_specdec.measurement.result import Measured, sources_of
from nemo_skills_specdec.records import RequestRecord

COUNTS = counts_from_histogram((8, 2, 0, 0), num_draft_tokens=30)
VLLM = ServerInfo(engine="vllm", base_url="http://a")


def record(counts=None, **fields):
    return RequestRecord(
        question_id="a", category="x", turn=0, counts=counts, counts_source="response" if counts else None, **fields
    )


def test_an_answer_of_one_token_had_no_verification_step():
    one, two = with_stepless_answers([record(COUNTS, completion_tokens=20), record(completion_tokens=1)])
    assert one.counts == COUNTS
    assert (two.counts, two.counts_source) == (NO_STEPS, "response")


def test_a_longer_answer_without_statistics_stays_without():
    assert with_stepless_answers([record(COUNTS), record(completion_tokens=2)])[1].counts is None


def test_a_failed_request_gets_no_steps():
    assert with_stepless_answers([record(COUNTS), record(completion_tokens=0, error="gone")])[1].counts is None


def test_where_no_answer_carries_statistics_short_ones_are_unknown_too():
    assert with_stepless_answers([record(completion_tokens=1)]) == [record(completion_tokens=1)]


def test_statistics_are_complete_only_if_every_answer_that_came_has_them():
    assert has_statistics([record(COUNTS), record(error="gone")])
    assert not has_statistics([record(COUNTS), record()])
    assert not has_statistics([record(error="gone")])


STATISTICS = {
    "num_spec_steps": 3,
    "num_accepted_draft_tokens": 3,
    "num_draft_tokens": 5,
    "acceptance_histogram": [1, 1, 1],
}


def test_an_answer_gives_its_record_the_counts_that_it_carries():
    found = record()
    assert count_answer(found, {"metrics": {"speculative_decoding": STATISTICS}}, VLLM) is None
    assert (found.counts.num_drafts, found.counts.num_accepted_tokens, found.counts_source) == (3, 3, "response")


def test_statistics_that_contradict_themselves_give_a_reason_and_no_counts():
    found = record()
    problem = count_answer(found, {"metrics": {"speculative_decoding": STATISTICS | {"num_draft_tokens": 2}}}, VLLM)
    assert problem is not None
    assert (found.counts, found.counts_source) == (None, None)


def test_statistics_of_an_unknown_engine_are_not_guessed():
    found = record()
    assert count_answer(found, {"metrics": {}}, ServerInfo(engine=None, base_url="http://a")) is None
    assert found.counts is None


def test_contradictions_are_one_finding_with_their_number_and_an_example():
    (finding,) = contradictions(["A > T", "A_1 > A_0"])
    assert (finding.code, finding.severity, finding.numbers) == ("identity_broken", "invalid", {"answers": 2})
    assert "2 answers carry statistics that contradict themselves, e.g. A > T" in finding.message
    assert contradictions([]) == []


def steps(*pairs):
    return {
        **STATISTICS,
        "num_spec_steps": len(pairs),
        "num_draft_tokens": sum(drafted for drafted, _ in pairs),
        "num_accepted_draft_tokens": sum(accepted for _, accepted in pairs),
        "num_spec_tokens": 3,
        "acceptance_histogram": [sum(accepted == i for _, accepted in pairs) for i in range(4)],
        "per_step_drafted": [drafted for drafted, _ in pairs],
        "per_step_accepted": [accepted for _, accepted in pairs],
    }


def counted(*pairs):
    found = record(completion_tokens=9)
    assert count_answer(found, {"metrics": {"speculative_decoding": steps(*pairs)}}, VLLM) is None
    return found


def test_a_step_that_never_drafted_a_position_did_not_reject_it():
    one, two = counted((3, 3), (1, 1)), counted((2, 1), (1, 0))
    assert one.reached_per_position == (2, 1, 1)
    assert reached_in([one, two]) == (4, 2, 1)
    found = sources_of(Measured(records=[one, two]))["response"]
    assert found.conditional_acceptance_rates == (3 / 4, 1 / 3, 1.0)
    assert found.reached_conditional_acceptance_rates == (3 / 4, 1 / 2, 1.0)


def test_where_an_answer_lists_no_steps_the_reached_rates_are_unknown():
    assert reached_in([counted((3, 3)), record(COUNTS)]) is None
    assert reached_in([counted((3, 3)), record(NO_STEPS)]) == (1, 1, 1)
