import msgspec

from nemo_skills_specdec.acceptance import counts_from_histogram
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.measurement.conclude import check_parts, conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.result import Measured
from nemo_skills_specdec.measurement.snapshots import Window
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


TEXT = """vllm:spec_decode_num_drafts_total{{model_name="m"}} {drafts}
vllm:spec_decode_num_draft_tokens_total{{model_name="m"}} {drafts}
vllm:spec_decode_num_accepted_tokens_total{{model_name="m"}} {accepted}
vllm:spec_decode_num_accepted_tokens_per_pos_total{{model_name="m",position="0"}} {accepted}
vllm:generation_tokens_total{{model_name="m"}} {generated}
vllm:prompt_tokens_total{{model_name="m"}} {generated}
vllm:request_success_total{{model_name="m",finished_reason="stop"}} {requests}
vllm:num_requests_running{{model_name="m"}} 0
vllm:num_requests_waiting{{model_name="m"}} 0
vllm:time_to_first_token_seconds_count{{model_name="m"}} {requests}
vllm:inter_token_latency_seconds_count{{model_name="m"}} {steps}
"""


def snapshot(drafts, accepted, generated, requests, steps):
    text = TEXT.format(drafts=drafts, accepted=accepted, generated=generated, requests=requests, steps=steps)
    return Snapshot(url="http://a/metrics", taken_at=0.0, status=200, text=text)


def evidence(after, records, **conditions):
    before = snapshot(0, 0, 0, 0, 0)
    request = conditions.pop("request", RequestOptions(model="m", temperature=0.0, max_tokens=64))
    return Evidence(
        conditions=Conditions(benchmark="b", prompts_planned=len(records), request=request, **conditions),
        server=ServerInfo(engine="vllm", base_url="http://a", version="0.32.0", draft_length=1),
        records=records,
        window=Window(before=[before], after=[after]),
    )


def answers(number):
    return [
        RequestRecord(question_id=f"q{n}", category="x", turn=0, prompt_tokens=3, completion_tokens=10)
        for n in range(number)
    ]


def codes(evaluation):
    return {finding.code for finding in evaluation.overall.acceptance.findings}


def test_counters_that_are_ours_alone_tell_the_tokens_per_step():
    found = conclude(evidence(snapshot(10, 8, 40, 4, 28), answers(4)))
    assert found.overall.acceptance.acceptance_length == 1.8
    assert found.overall.acceptance.tokens_per_step == 36 / 28
    assert not codes(found) & {"foreign_traffic", "requests_missing"}


def test_nothing_more_is_said_from_counters_that_hold_foreign_steps():
    found = conclude(evidence(snapshot(30, 25, 140, 14, 100), answers(4)))
    assert "foreign_traffic" in codes(found)
    assert found.overall.acceptance.tokens_per_step is None
    assert not codes(found) & {"tokens_cut_off", "steps_without_drafts"}


def test_checks_go_by_the_request_as_it_was_sent():
    request = RequestOptions(model="m", temperature=0.0, max_tokens=64, extra_body={"ignore_eos": True})
    assert "ignore_eos" in codes(conclude(evidence(snapshot(10, 8, 40, 4, 28), answers(4), request=request)))


def test_a_baseline_is_not_blamed_for_drafting_nothing():
    def without_drafts(taken):
        lines = [line for line in taken.text.splitlines(keepends=True) if "spec_decode" not in line]
        return msgspec.structs.replace(taken, text="".join(lines))

    for speculates in (True, False):
        one = evidence(snapshot(0, 0, 40, 4, 36), answers(4), speculates=speculates)
        ends = (one.window.before, one.window.after)
        before, after = ([without_drafts(taken) for taken in end] for end in ends)
        one.window = Window(before=before, after=after)
        assert ("speculation_off" in codes(conclude(one))) is speculates


def test_an_average_over_a_part_of_the_categories_says_so():
    with_counts = RequestRecord(
        question_id="a", category="x", turn=0, completion_tokens=10, counts=ONE, counts_source="response"
    )
    without = RequestRecord(question_id="b", category="y", turn=0, completion_tokens=10)
    found = conclude(evidence(snapshot(10, 8, 40, 4, 28), [with_counts, without]))
    (finding,) = [f for f in found.overall.acceptance.findings if f.code == "macro_over_a_part"]
    assert finding.numbers == {"over": 1, "categories": 2}
