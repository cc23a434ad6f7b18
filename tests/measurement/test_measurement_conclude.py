from nemo_skills_specdec.acceptance import counts_from_histogram
from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.measurement.conclude import check_parts
from nemo_skills_specdec.measurement.result import Measured
from nemo_skills_specdec.records import RequestRecord

ONE = counts_from_histogram((5, 3, 2), num_draft_tokens=20)


def record(counts):
    return RequestRecord(question_id="a", category="x", turn=0, counts=counts, counts_source="response")


def window(counts):
    return Measured(records=[], reading=CounterReading(engine="vllm", source="counters", counts=counts))


def test_request_files_that_agree_with_the_responses_need_no_remark():
    assert check_parts(Measured(records=[record(ONE)], request_file=ONE), {}) == []


def test_request_files_that_differ_from_the_responses_are_remarked():
    (finding,) = check_parts(Measured(records=[record(ONE)], request_file=ONE + ONE), {})
    assert finding.code == "sources_disagree"
    assert "responses and the request files disagree: num_drafts 10 against 20" in finding.message


def test_categories_must_add_up_to_the_total():
    windows = {"coding": window(ONE), "math": window(ONE)}
    assert check_parts(window(ONE + ONE), windows) == []
    (finding,) = check_parts(window(ONE + ONE + ONE), windows)
    assert "categories together and the total disagree: num_drafts 20 against 30" in finding.message
