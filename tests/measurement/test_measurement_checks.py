import numpy as np
import pytest

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts
from nemo_skills_specdec.client.exchange import Delays, RequestOptions, Sent
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo, Traffic
from nemo_skills_specdec.engines.sglang.findings import NO_POSITIONS
from nemo_skills_specdec.measurement.checks import (
    check_client,
    check_dispersion,
    check_outcome,
    check_reading,
    check_records,
    check_request,
    server_gone,
)
from nemo_skills_specdec.records import Acceptance, Finding, RequestRecord

GPU = ServerInfo(engine="vllm", base_url="http://h", version="0.32.0")
CPU = ServerInfo(engine="vllm", base_url="http://h", version="0.32.0+cpu")
COUNTS = AcceptanceCounts(num_drafts=10, num_draft_tokens=10, num_accepted_tokens=5, accepted_per_position=(5,))


def codes(findings):
    return [finding.code for finding in findings]


def record(number, category="coding", counts=COUNTS, **rest):
    return RequestRecord(question_id=str(number), category=category, turn=0, counts=counts, **rest)


def test_what_counters_lack_is_told_only_where_answers_do_not_tell_it():
    lacking = CounterReading(engine="sglang", source="counters", traffic=Traffic(), findings=(NO_POSITIONS,))
    assert codes(check_reading(lacking, [record(1)])) == []
    assert codes(check_reading(lacking, [record(1), record(2, counts=None)])) == [
        "no_positions",
        "traffic_not_checked",
    ]


def test_a_plain_greedy_request_needs_no_remark():
    assert check_request(RequestOptions(model="m", temperature=0.0), GPU) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [({"n": 2}, "several_samples"), ({"ignore_eos": True}, "ignore_eos")],
)
def test_options_that_misstate_acceptance_are_remarked(options, code):
    assert codes(check_request(RequestOptions(model="m", temperature=0.0, **options), GPU)) == [code]


@pytest.mark.parametrize("temperature", [0.7, None])
def test_sampling_on_a_cpu_build_of_vllm_is_invalid(temperature):
    (finding,) = check_request(RequestOptions(model="m", temperature=temperature), CPU)
    assert (finding.code, finding.severity) == ("vllm_cpu_sampling", "invalid")
    assert check_request(RequestOptions(model="m", temperature=temperature), GPU) == []


def test_a_cpu_build_is_also_known_by_its_device():
    by_device = ServerInfo(engine="vllm", base_url="http://h", version="0.32.0", settings={"device": "cpu"})
    assert codes(check_request(RequestOptions(model="m", temperature=0.7), by_device)) == ["vllm_cpu_sampling"]


@pytest.mark.parametrize(
    ("temperature", "rate", "expected"),
    [(0.8, 0.0064, ["nothing_accepted_when_sampling"]), (0.8, 0.12, []), (0.0, 0.0064, [])],
)
def test_a_sampling_server_that_accepts_nearly_nothing_is_suspected(temperature, rate, expected):
    acceptance = Acceptance(source="counters", num_drafts=3987, acceptance_rate=rate)
    assert codes(check_outcome(acceptance, RequestOptions(model="m", temperature=temperature), GPU)) == expected


@pytest.mark.parametrize(
    ("drafts", "first", "suspected", "expected"),
    [
        (12, 0, True, "invalid"),
        (12, 0, False, None),
        (30, 0, False, "warning"),
        (60, 1, False, "warning"),
        (60, 4, False, None),
    ],
)
def test_few_steps_show_a_faulty_sampler_fewer_still_where_it_is_suspected(drafts, first, suspected, expected):
    acceptance = Acceptance(
        source="response", num_drafts=drafts, acceptance_rate=first / drafts / 3, accepted_per_position=(first, 0, 0)
    )
    server = ServerInfo(engine="vllm", base_url="http://h", version="0.32.0")
    if suspected:
        server.findings.append(Finding(code="vllm_perhaps_cpu_build", severity="info", message="Perhaps."))
    found = check_outcome(acceptance, RequestOptions(model="m", temperature=0.8), server)
    assert [finding.severity for finding in found] == ([expected] if expected else [])


def test_answers_without_statistics_are_no_random_part_where_they_ended_otherwise():
    ended = [record(n, finish_reason="length") for n in range(25)]
    stopped = [record(25 + n, counts=None, finish_reason="stop") for n in range(3)]
    (finding,) = check_records([*ended, *stopped], prompts_planned=28, interrupted=False)
    assert finding.code == "statistics_missing"
    assert "all of them ended by 'stop', so the rest is not a random sample" in finding.message
    (finding,) = check_records(
        [record(99, finish_reason="stop"), *ended, *stopped], prompts_planned=29, interrupted=False
    )
    assert "random" not in finding.message


def test_answers_that_do_not_tell_their_steps_are_counted():
    stepless = AcceptanceCounts(num_drafts=None, num_draft_tokens=10, num_accepted_tokens=5)
    records = [*(record(n) for n in range(25)), record(25, counts=stepless)]
    (finding,) = check_records(records, prompts_planned=26, interrupted=False)
    assert (finding.code, finding.numbers) == ("steps_unknown", {"without_steps": 1, "answered": 26})


def test_a_complete_run_of_enough_prompts_needs_no_remark():
    assert check_records([record(n) for n in range(20)], prompts_planned=20, interrupted=False) == []


def test_few_prompts_are_remarked():
    assert codes(check_records([record(0)], prompts_planned=1, interrupted=False)) == ["few_prompts"]


def test_prompts_without_a_verification_step_are_not_counted_among_them():
    records = [*(record(n) for n in range(19)), *(record(n, counts=NO_STEPS) for n in range(19, 60))]
    (finding,) = check_records(records, prompts_planned=60, interrupted=False)
    assert (finding.code, finding.numbers) == ("few_prompts", {"prompts": 19})


def test_failures_are_counted_and_the_commonest_reason_given():
    records = [*(record(n) for n in range(50)), record(50, counts=None, error="HTTP 503"), record(51, error="HTTP 503")]
    (finding,) = check_records(records, prompts_planned=52, interrupted=False)
    assert (finding.code, finding.severity) == ("requests_failed", "warning")
    assert finding.message == "2 of 52 requests failed, most often (2): HTTP 503"


def test_a_run_in_which_everything_failed_is_invalid():
    records = [record(n, counts=None, error="HTTP 500") for n in range(3)]
    (finding,) = check_records(records, prompts_planned=3, interrupted=False)
    assert finding.severity == "invalid"


def test_an_interrupted_run_says_how_far_it_came():
    findings = check_records([record(n) for n in range(20)], prompts_planned=44, interrupted=True)
    assert codes(findings) == ["interrupted"]
    assert findings[0].numbers == {"prompts_sent": 20, "prompts_planned": 44, "cut_off": 0}


def test_requests_that_an_interrupt_cut_off_are_not_failures():
    records = [*(record(n) for n in range(50)), record(50, counts=None, error="interrupted", outcome="interrupted")]
    (finding,) = check_records(records, prompts_planned=44, interrupted=True)
    assert (finding.code, finding.numbers["cut_off"]) == ("interrupted", 1)


def test_answers_without_statistics_among_others_are_counted():
    records = [*(record(n) for n in range(25)), record(25, counts=None)]
    assert codes(check_records(records, prompts_planned=26, interrupted=False)) == ["statistics_missing"]


def drawn(rates, per_category=10, steps=60, seed=0):
    """Records of requests whose first position is accepted by independent coin flips of the category's rate."""
    rng = np.random.default_rng(seed)
    records = []
    for category, rate in enumerate(rates):
        for number in range(per_category):
            accepted = int(rng.binomial(steps, rate))
            counts = AcceptanceCounts(
                num_drafts=steps,
                num_draft_tokens=steps,
                num_accepted_tokens=accepted,
                accepted_per_position=(accepted,),
            )
            records.append(record(f"{category}-{number}", f"category {category}", counts))
    return records


def test_acceptance_that_is_the_same_coin_everywhere_looks_simulated():
    assert codes(check_dispersion(drawn([0.6] * 11))) == ["acceptance_looks_simulated"]


def test_acceptance_that_differs_between_categories_does_not():
    assert check_dispersion(drawn([0.8, 0.75, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.6, 0.5, 0.7])) == []


def test_text_of_one_kind_is_never_called_simulated():
    assert check_dispersion(drawn([0.6, 0.6])) == []


def sent(lateness=None, dispatch=None, **rest):
    def delays(worst):
        if worst is None:
            return Delays(samples=0)
        return Delays(samples=10, p50_seconds=0.0, p99_seconds=worst / 2, worst_second_p99_seconds=worst)

    fields = {"exchanges": [], "not_sent": [], "interrupted": False, "gave_up": None, "started_at": 0, "ended_at": 1}
    return Sent(lateness=delays(lateness), dispatch=delays(dispatch), **{"kernel_times": True, **fields, **rest})


def test_a_slow_client_is_told_with_how_late_it_was():
    (finding,) = check_client([sent(lateness=0.004), sent(lateness=0.2)])
    assert (finding.code, finding.severity) == ("client_slow", "warning")
    assert finding.numbers == {
        "lag_p99_seconds": 0.2,
        "lateness_p99_seconds": 0.1,
        "dispatch_p99_seconds": 0.0,
    }
    assert "do not hold this delay" in finding.message
    (finding,) = check_client([sent(lateness=0.2, kernel_times=False)])
    assert "hold that much of the client's own delay" in finding.message


def test_a_client_that_sends_late_is_slow():
    assert codes(check_client([sent(lateness=0.001, dispatch=0.06)])) == ["client_slow"]


def test_a_client_in_time_needs_no_remark():
    assert check_client([sent(lateness=0.004, dispatch=0.01), sent()]) == []


def test_a_limit_on_open_files_that_lowered_the_concurrency_is_told():
    (finding,) = check_client([sent(lowered_concurrency=900), sent()])
    assert (finding.code, finding.numbers) == ("concurrency_lowered", {"connections": 900})


def at(end, **fields):
    return RequestRecord(question_id=str(end), category="c", turn=0, end_time=end, **fields)


def test_a_server_that_breaks_off_and_answers_no_more_is_gone():
    broken = [at(10.0 + n, error="connection reset", outcome="lost") for n in range(3)]
    assert server_gone([at(1.0), *broken]) == "connection reset"


@pytest.mark.parametrize(
    "records",
    [
        [at(1.0), at(2.0, error="x", outcome="lost"), at(3.0, error="x", outcome="lost")],
        [at(n, error="x", outcome="unreachable") for n in (1.0, 2.0, 3.0)],
        [*(at(n, error="x", outcome="lost") for n in (1.0, 2.0, 3.0)), at(4.0)],
        [at(1.0), *(at(n, error="HTTP 500", outcome="refused") for n in (2.0, 3.0, 4.0))],
    ],
    ids=["too few", "never there", "back again", "still refusing"],
)
def test_a_server_that_may_still_be_there_is_not_gone(records):
    assert server_gone(records) is None


@pytest.mark.parametrize(("failed", "severity"), [(5, "warning"), (6, "invalid")])
def test_more_than_the_allowed_share_of_failures_is_invalid(failed, severity):
    records = [*(record(n) for n in range(100 - failed)), *(at(float(n), error="HTTP 500") for n in range(failed))]
    findings = check_records(records, prompts_planned=100, interrupted=False)
    assert {f.code: f.severity for f in findings}["requests_failed"] == severity


def test_streams_that_came_in_lumps_and_usages_of_nothing_are_told():
    records = [*(record(n) for n in range(20)), record(20, lumped=True), record(21, usage_rejected=True)]
    found = {f.code: f for f in check_records(records, prompts_planned=22, interrupted=False)}
    assert found["arrived_in_lumps"].numbers == {"lumped": 1, "answered": 22}
    assert found["usage_rejected"].numbers == {"rejected": 1, "answered": 22}
