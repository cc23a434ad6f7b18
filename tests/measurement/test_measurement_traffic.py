import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import CounterReading, Traffic
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.measurement.snapshots import take_settled_snapshots
from nemo_skills_specdec.measurement.steps import describe_steps, tokens_cut_off
from nemo_skills_specdec.measurement.traffic import (
    ClientAccount,
    account_of,
    check_counts,
    check_sources,
    check_traffic,
)
from nemo_skills_specdec.records import RequestRecord
from nemo_skills_specdec.statistics import Interval

# A real vLLM 0.32.0 run with n-gram speculation, K = 4, 30 requests.
COUNTS = AcceptanceCounts(
    num_drafts=768, num_draft_tokens=3006, num_accepted_tokens=1594, accepted_per_position=(533, 442, 321, 298)
)
TRAFFIC = Traffic(
    requests=30,
    prompt_tokens=566,
    generation_tokens=2880,
    first_tokens=30,
    decode_steps=1298,
    busy_before=0,
    busy_after=0,
)
READING = CounterReading(engine="vllm", source="counters", counts=COUNTS, traffic=TRAFFIC)
SENT = ClientAccount(requests=30, prompt_tokens=566, completion_tokens=2880)


def reading(**traffic):
    fields = {name: getattr(TRAFFIC, name) for name in TRAFFIC.__struct_fields__}
    return CounterReading(engine="vllm", source="counters", counts=COUNTS, traffic=Traffic(**{**fields, **traffic}))


def codes(findings):
    return [finding.code for finding in findings]


def test_own_traffic_alone_gives_no_finding():
    assert check_traffic(READING, SENT, relied_on=True) == []


def test_more_requests_than_ours_are_foreign_traffic():
    (finding,) = check_traffic(reading(requests=35, generation_tokens=3100), SENT, relied_on=True)
    assert (finding.code, finding.severity) == ("foreign_traffic", "invalid")
    assert finding.numbers == {"server_requests": 35, "own_requests": 30}


def test_more_tokens_than_ours_are_foreign_traffic_even_if_requests_are_not_counted():
    (finding,) = check_traffic(reading(requests=None, generation_tokens=3000), SENT, relied_on=True)
    assert finding.code == "foreign_traffic"
    assert finding.numbers == {"server_generation_tokens": 3000, "own_generation_tokens": 2880}


def test_foreign_traffic_is_only_a_warning_where_the_responses_say_it_themselves():
    (finding,) = check_traffic(reading(requests=35, generation_tokens=3100), SENT, relied_on=False)
    assert finding.severity == "warning"


def test_fewer_requests_than_ours_mean_that_another_server_was_asked():
    (finding,) = check_traffic(reading(requests=15), SENT, relied_on=True)
    assert (finding.code, finding.severity) == ("requests_missing", "invalid")
    assert "--metrics-url" in finding.message


def test_failed_requests_may_or_may_not_have_been_counted():
    sent = ClientAccount(requests=28, uncertain=2, prompt_tokens=520, completion_tokens=2700)
    assert check_traffic(reading(requests=28), sent, relied_on=True) == []
    assert check_traffic(reading(requests=30), sent, relied_on=True) == []
    assert codes(check_traffic(reading(requests=31), sent, relied_on=True)) == ["foreign_traffic"]


def test_a_few_requests_too_many_after_a_warm_up_have_leaked():
    assert codes(
        check_traffic(reading(requests=32, generation_tokens=2900), SENT, relied_on=True, warmup_requests=4)
    ) == ["warmup_leaked"]
    assert codes(
        check_traffic(reading(requests=35, generation_tokens=3100), SENT, relied_on=True, warmup_requests=4)
    ) == ["foreign_traffic"]


def test_a_server_that_is_busy_at_either_end_is_reported():
    assert codes(check_traffic(reading(busy_before=2), SENT, relied_on=True)) == ["server_busy_at_start"]
    assert codes(check_traffic(reading(busy_after=1), SENT, relied_on=True)) == ["server_busy_at_end"]


def test_cut_off_tokens_follow_from_the_engines_identity():
    assert tokens_cut_off(READING) == 42
    assert tokens_cut_off(reading(first_tokens=None)) is None


def test_steps_without_drafts_varying_drafts_and_cut_off_tokens_are_told():
    findings = {finding.code: finding for finding in describe_steps(READING)}
    assert set(findings) == {"steps_without_drafts", "variable_draft_length", "tokens_cut_off"}
    assert findings["steps_without_drafts"].message.startswith("530 of 1298 decode steps carried no draft")
    assert "AL 3.08, but 2.20 tokens per step" in findings["steps_without_drafts"].message
    assert findings["tokens_cut_off"].numbers == {"tokens_cut_off": 42, "num_drafts": 768}


def test_a_chain_of_fixed_length_without_cut_off_tokens_has_nothing_to_tell():
    counts = AcceptanceCounts(
        num_drafts=10, num_draft_tokens=30, num_accepted_tokens=13, accepted_per_position=(7, 4, 2)
    )
    traffic = Traffic(generation_tokens=24, first_tokens=1, decode_steps=10)
    assert describe_steps(CounterReading(engine="vllm", source="counters", counts=counts, traffic=traffic)) == []


def test_sources_that_agree_give_no_finding():
    assert check_sources(COUNTS, READING) == []


def test_sources_that_disagree_are_named_with_both_numbers():
    other = AcceptanceCounts(num_drafts=700, num_draft_tokens=3006, num_accepted_tokens=1594)
    (finding,) = check_sources(other, READING)
    assert finding.code == "sources_disagree"
    assert "num_drafts 700 against 768" in finding.message
    assert finding.numbers == {"responses_num_drafts": 700, "counters_num_drafts": 768}


def test_requests_that_failed_explain_what_the_counters_have_more_than_the_answers():
    answers = AcceptanceCounts(num_drafts=700, num_draft_tokens=2800, num_accepted_tokens=1500)
    account = ClientAccount(requests=28, uncertain=2, prompt_tokens=None, completion_tokens=2300, max_tokens=34)
    (finding,) = check_sources(answers, READING, account)
    assert (finding.code, finding.severity) == ("failed_requests_counted", "info")
    assert finding.numbers == {
        "responses_num_drafts": 700,
        "counters_num_drafts": 768,
        "requests_without_answer": 2,
    }


@pytest.mark.parametrize(
    ("drafts", "uncertain", "max_tokens"),
    [
        (700, 2, 33),  # 68 steps more than 66 tokens
        (700, 0, 1000),  # nothing failed
        (769, 2, 1000),  # the counters hold less
    ],
)
def test_requests_that_failed_explain_no_other_difference(drafts, uncertain, max_tokens):
    answers = AcceptanceCounts(num_drafts=drafts, num_draft_tokens=3000, num_accepted_tokens=1500)
    account = ClientAccount(
        requests=28, uncertain=uncertain, prompt_tokens=None, completion_tokens=2300, max_tokens=max_tokens
    )
    assert codes(check_sources(answers, READING, account)) == ["sources_disagree"]


@pytest.mark.parametrize("field", ["num_drafts", "num_draft_tokens", "num_accepted_tokens"])
def test_each_of_the_three_counts_is_compared_between_sources(field):
    known = {"num_drafts": 700, "num_draft_tokens": 3000, "num_accepted_tokens": 1500}
    one, other = AcceptanceCounts(**known), AcceptanceCounts(**{**known, field: known[field] + 1})
    (finding,) = check_counts("responses", one, "request files", other)
    assert finding.numbers == {f"responses_{field}": known[field], f"request_files_{field}": known[field] + 1}
    assert (finding.code, finding.severity) == ("sources_disagree", "warning")


def test_a_count_that_one_source_does_not_know_is_no_disagreement():
    one = AcceptanceCounts(num_drafts=700, num_draft_tokens=None, num_accepted_tokens=1500)
    other = AcceptanceCounts(num_drafts=None, num_draft_tokens=3000, num_accepted_tokens=1500)
    assert check_counts("responses", one, "counters", other) == []


@pytest.mark.parametrize(("low", "high", "expected"), [(3.0, 3.1, []), (3.1, 3.2, ["sources_disagree"])])
def test_the_exact_value_must_lie_within_the_counters_bounds(low, high, expected):
    bounds = CounterReading(engine="sglang", source="bounds", acceptance_length_bounds=Interval(low, high))
    assert codes(check_sources(COUNTS, bounds)) == expected


def test_the_clients_own_account_counts_failures_apart():
    records = [
        RequestRecord(question_id="a", category="c", turn=0, prompt_tokens=5, completion_tokens=7),
        RequestRecord(question_id="b", category="c", turn=0, error="HTTP 500"),
        RequestRecord(question_id="b", category="c", turn=1, error="not sent: turn 0 failed", sent=False),
    ]
    assert account_of(records) == ClientAccount(requests=1, uncertain=1, prompt_tokens=5, completion_tokens=7)


def test_tokens_are_unknown_if_an_answer_came_without_usage():
    records = [
        RequestRecord(question_id="a", category="c", turn=0, prompt_tokens=5, completion_tokens=7),
        RequestRecord(question_id="b", category="c", turn=0),
    ]
    assert account_of(records).completion_tokens is None


def exposition(drafts, running):
    return (
        "# TYPE vllm:spec_decode_num_drafts counter\n"
        f'vllm:spec_decode_num_drafts_total{{engine="0",model_name="m"}} {drafts}\n'
        "# TYPE vllm:spec_decode_num_draft_tokens counter\n"
        f'vllm:spec_decode_num_draft_tokens_total{{engine="0",model_name="m"}} {3 * drafts}\n'
        "# TYPE vllm:spec_decode_num_accepted_tokens counter\n"
        f'vllm:spec_decode_num_accepted_tokens_total{{engine="0",model_name="m"}} {drafts}\n'
        "# TYPE vllm:num_requests_running gauge\n"
        f'vllm:num_requests_running{{engine="0",model_name="m"}} {running}\n'
    )


def test_a_window_opens_and_closes_only_when_nothing_runs_and_nothing_more_is_counted(monkeypatch):
    texts = [exposition(5, 1), exposition(5, 1), exposition(7, 0), exposition(7, 0), exposition(9, 0)]
    monkeypatch.setattr("nemo_skills_specdec.measurement.snapshots.SETTLE_SECONDS", 0)
    monkeypatch.setattr(
        "nemo_skills_specdec.measurement.snapshots.take_snapshot",
        lambda url, headers, tls: Snapshot(url=url, taken_at=0.0, status=200, text=texts.pop(0)),
    )
    (settled,) = take_settled_snapshots(["http://h/metrics"], {}, None)
    assert settled.text == exposition(7, 0)
    assert texts == [exposition(9, 0)]


@pytest.mark.parametrize(
    ("counted", "codes"), [(30, []), (20, []), (31, ["foreign_traffic"]), (19, ["requests_missing"])]
)
def test_sglang_may_count_one_request_more_per_prompt_with_several_samples(counted: int, codes: list[str]) -> None:
    reading = CounterReading(engine="sglang", source="bounds", traffic=Traffic(requests=counted))
    sent = ClientAccount(requests=10, prompt_tokens=None, completion_tokens=None, samples=2)
    assert [finding.code for finding in check_traffic(reading, sent, relied_on=True)] == codes


def test_requests_counted_twice_without_a_token_more_are_nobody_elses():
    (finding,) = check_traffic(reading(requests=60), SENT, relied_on=True)
    assert (finding.code, finding.severity) == ("requests_counted_twice", "info")


def test_refused_requests_leave_no_room_for_strangers():
    records = [answered(str(number)) for number in range(20)]
    refused = [
        RequestRecord(question_id=f"r{n}", category="a", turn=0, status=400, error="HTTP 400", outcome="refused")
        for n in range(10)
    ]
    account = account_of(records + refused, max_tokens=64)
    assert account.uncertain == 0
    (finding,) = check_traffic(counted(requests=30, generation_tokens=300), account, relied_on=True)
    assert (finding.code, finding.severity) == ("foreign_traffic", "invalid")


@pytest.mark.parametrize(
    ("outcome", "resends", "uncertain"), [("timed_out", 0, 1), ("lost", 1, 2), ("unreachable", 0, 0)]
)
def test_requests_of_unknown_fate_may_have_been_counted(outcome, resends, uncertain):
    failed = RequestRecord(question_id="f", category="a", turn=0, error="x", outcome=outcome, num_resends=resends)
    assert account_of([answered("q"), failed]).uncertain == uncertain


def test_tokens_of_requests_of_unknown_fate_are_bounded_by_their_limit():
    account = ClientAccount(requests=20, uncertain=1, prompt_tokens=None, completion_tokens=200, max_tokens=64)
    assert check_traffic(counted(requests=21, generation_tokens=264), account, relied_on=True) == []
    assert codes(check_traffic(counted(requests=21, generation_tokens=265), account, relied_on=True)) == [
        "foreign_traffic"
    ]
    assert codes(check_traffic(counted(requests=21, generation_tokens=199), account, relied_on=True)) == [
        "requests_missing"
    ]


def test_where_nothing_can_be_compared_that_is_said_with_the_reason():
    account = ClientAccount(requests=20, prompt_tokens=None, completion_tokens=None)
    (finding,) = check_traffic(counted(generation_tokens=300), account, relied_on=True)
    assert finding.code == "traffic_not_checked"
    assert "because the answers carry no usage" in finding.message
    assert check_traffic(counted(generation_tokens=300), account, relied_on=False) == []


def answered(name):
    return RequestRecord(question_id=name, category="a", turn=0, prompt_tokens=5, completion_tokens=10)


def counted(**traffic):
    return CounterReading(engine="vllm", source="counters", counts=COUNTS, traffic=Traffic(**traffic))
