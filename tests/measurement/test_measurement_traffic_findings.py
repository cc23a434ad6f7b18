"""Every finding on traffic as a user gets it: code, severity, sentence and numbers."""

import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import CounterReading, Traffic
from nemo_skills_specdec.measurement.steps import describe_steps, tokens_cut_off
from nemo_skills_specdec.measurement.traffic import (
    ClientAccount,
    account_of,
    check_counts,
    check_sources,
    check_traffic,
)
from nemo_skills_specdec.records import Finding, RequestRecord
from nemo_skills_specdec.statistics import Interval

SENT = ClientAccount(requests=30, prompt_tokens=566, completion_tokens=2880)
FOREIGN = (
    "Another client used the server during the window (it counted {}), and counters mix both; measure on a server of "
    "your own, or with per-request statistics."
)
ELSEWHERE = (
    "{}: the metrics are those of another server, or of one replica of several; pass --metrics-url for every replica."
)
REQUESTS = {"server_requests": 31, "own_requests": 30}


def counted(requests=30, generation_tokens=2880, **more):
    traffic = Traffic(requests=requests, generation_tokens=generation_tokens, **more)
    return CounterReading(engine="vllm", source="counters", traffic=traffic)


def finding(code, severity, message, numbers):
    return Finding(code=code, severity=severity, message=message, numbers=numbers)


@pytest.mark.parametrize(
    ("reading", "warmup_requests", "expected"),
    [
        (
            counted(busy_before=2),
            0,
            finding(
                "server_busy_at_start",
                "invalid",
                "2 requests were running or waiting when the window opened, so the counters hold steps of others; "
                "measure on an idle server.",
                {"busy_before": 2},
            ),
        ),
        (
            counted(busy_after=1),
            0,
            finding(
                "server_busy_at_end",
                "warning",
                "1 request was still running when the window closed, though all of ours had ended; another client "
                "uses the server, or requests that failed here go on there.",
                {"busy_after": 1},
            ),
        ),
        (
            counted(requests=31, generation_tokens=2881),
            0,
            finding("foreign_traffic", "invalid", FOREIGN.format("31 requests, 30 were ours"), REQUESTS),
        ),
        (
            counted(requests=31, generation_tokens=2881),
            1,
            finding(
                "warmup_leaked",
                "invalid",
                "The server counted 1 request more than were sent in the window, and 1 were sent to warm it up: some "
                "of those were counted late, and their steps are in the counters.",
                REQUESTS,
            ),
        ),
        (
            counted(requests=31),
            4,
            finding(
                "requests_counted_twice",
                "info",
                "The server counted 31 requests, 30 were ours, but not a token more than our answers held: some were "
                "counted more than once, as by prefill and decode instances.",
                REQUESTS,
            ),
        ),
        (
            counted(requests=29),
            0,
            finding(
                "requests_missing",
                "invalid",
                ELSEWHERE.format("The server counted 29 requests, 30 were answered"),
                {"server_requests": 29, "own_requests": 30},
            ),
        ),
        (
            counted(requests=None, generation_tokens=2881),
            0,
            finding(
                "foreign_traffic",
                "invalid",
                FOREIGN.format("2881 generated tokens, 2880 were ours"),
                {"server_generation_tokens": 2881, "own_generation_tokens": 2880},
            ),
        ),
        (
            counted(requests=None, generation_tokens=2879),
            0,
            finding(
                "requests_missing",
                "invalid",
                ELSEWHERE.format("The server counted 2879 generated tokens, the answers held 2880"),
                {"server_generation_tokens": 2879, "own_generation_tokens": 2880},
            ),
        ),
        (
            counted(requests=None, generation_tokens=None),
            0,
            finding(
                "traffic_not_checked",
                "warning",
                "Whether anything else used the server could not be checked, because the metrics count neither "
                "requests nor generated tokens; make sure that it was idle.",
                {},
            ),
        ),
    ],
)
def test_what_the_server_counted_besides_our_own_is_said_in_full(reading, warmup_requests, expected):
    assert check_traffic(reading, SENT, relied_on=True, warmup_requests=warmup_requests) == [expected]


def test_tokens_too_many_are_only_a_warning_where_the_counters_are_not_relied_on():
    reading = counted(requests=None, generation_tokens=2881)
    (told,) = check_traffic(reading, SENT, relied_on=False)
    assert told.severity == "warning"


def test_without_usage_the_reason_is_the_answers():
    sent = ClientAccount(requests=30, prompt_tokens=None, completion_tokens=None)
    assert check_traffic(counted(requests=None), sent, relied_on=True) == [
        finding(
            "traffic_not_checked",
            "warning",
            "Whether anything else used the server could not be checked, because the answers carry no usage; make sure "
            "that it was idle.",
            {},
        )
    ]


def test_every_sample_of_a_request_of_unknown_fate_may_have_been_generated_whole():
    sent = ClientAccount(requests=1, uncertain=1, prompt_tokens=5, completion_tokens=20, samples=2, max_tokens=10)
    assert check_traffic(counted(requests=None, generation_tokens=40), sent, relied_on=True) == []
    (told,) = check_traffic(counted(requests=None, generation_tokens=41), sent, relied_on=True)
    assert told.code == "foreign_traffic"


def test_sources_that_differ_are_told_with_all_numbers():
    one = AcceptanceCounts(num_drafts=700, num_draft_tokens=2100, num_accepted_tokens=1500)
    other = AcceptanceCounts(num_drafts=701, num_draft_tokens=2103, num_accepted_tokens=1500)
    assert check_counts("responses", one, "request files", other) == [
        finding(
            "sources_disagree",
            "warning",
            "The responses and the request files disagree: num_drafts 700 against 701, num_draft_tokens 2100 against "
            "2103; foreign traffic, aborted requests or another server's metrics could explain that, and the responses "
            "are ours alone.",
            {
                "responses_num_drafts": 700,
                "request_files_num_drafts": 701,
                "responses_num_draft_tokens": 2100,
                "request_files_num_draft_tokens": 2103,
            },
        )
    ]


def test_a_value_outside_of_bounds_is_told_with_the_bounds():
    counts = AcceptanceCounts(num_drafts=4, num_draft_tokens=12, num_accepted_tokens=6)
    bounds = CounterReading(engine="sglang", source="bounds", acceptance_length_bounds=Interval(2.75, 3.0))
    assert check_sources(counts, bounds) == [
        finding(
            "sources_disagree",
            "warning",
            "AL 2.5000 from the responses lies outside the counters' bounds [2.7500, 3.0000]; foreign traffic or "
            "another server's metrics could explain that.",
            {"response": 2.5, "bound_low": 2.75, "bound_high": 3.0},
        )
    ]


@pytest.mark.parametrize("bounds", [Interval(2.5, 3.0), Interval(2.0, 2.5)])
def test_a_value_on_a_bound_lies_within_it(bounds):
    counts = AcceptanceCounts(num_drafts=4, num_draft_tokens=12, num_accepted_tokens=6)
    reading = CounterReading(engine="sglang", source="bounds", acceptance_length_bounds=bounds)
    assert check_sources(counts, reading) == []


@pytest.mark.parametrize("bounds", [Interval(2.5001, 3.0), Interval(2.0, 2.4999)])
def test_a_value_beyond_a_bound_does_not(bounds):
    counts = AcceptanceCounts(num_drafts=4, num_draft_tokens=12, num_accepted_tokens=6)
    reading = CounterReading(engine="sglang", source="bounds", acceptance_length_bounds=bounds)
    assert [told.code for told in check_sources(counts, reading)] == ["sources_disagree"]


def test_the_account_keeps_what_was_asked_for():
    account = account_of([], samples=3, max_tokens=64)
    assert (account.samples, account.max_tokens) == (3, 64)


@pytest.mark.parametrize("outcome", [None, "failed", "timed_out", "lost", "interrupted"])
def test_a_server_may_have_worked_on_what_ended_so(outcome):
    record = RequestRecord(question_id="a", category="c", turn=0, error="it broke", outcome=outcome)
    assert account_of([record]).uncertain == 1


def stepping(counts, **traffic):
    return CounterReading(engine="vllm", source="counters", counts=counts, traffic=Traffic(**traffic))


def test_what_the_steps_say_is_said_in_full():
    counts = AcceptanceCounts(
        num_drafts=100, num_draft_tokens=280, num_accepted_tokens=130, accepted_per_position=(70, 40, 20)
    )
    assert describe_steps(stepping(counts, generation_tokens=277, first_tokens=10, decode_steps=150)) == [
        finding(
            "steps_without_drafts",
            "info",
            "50 of 150 decode steps carried no draft and are not in AL: AL 2.30, but 1.78 tokens per step; compare "
            "tokens per step across drafters.",
            {"decode_steps": 150, "num_drafts": 100, "tokens_per_step": 1.78},
        ),
        finding(
            "variable_draft_length",
            "info",
            "280 tokens were drafted in 100 steps of up to 3: drafts vary in length, so a conditional rate counts "
            "steps that never drafted its position as rejections.",
            {"num_draft_tokens": 280, "num_drafts": 100, "longest_draft": 3},
        ),
        finding(
            "tokens_cut_off",
            "info",
            "13 accepted tokens were cut off after a stop or at max_tokens, but the engine counts them as accepted: "
            "without them AL would be 0.130 lower.",
            {"tokens_cut_off": 13, "num_drafts": 100},
        ),
    ]


def test_undrafted_steps_are_told_without_the_tokens_too():
    counts = AcceptanceCounts(num_drafts=100, num_draft_tokens=300, num_accepted_tokens=130)
    assert describe_steps(stepping(counts, decode_steps=101)) == [
        finding(
            "steps_without_drafts",
            "info",
            "1 of 101 decode steps carried no draft and are not in AL (2.30).",
            {"decode_steps": 101, "num_drafts": 100, "tokens_per_step": None},
        )
    ]


def more(drafts=0, drafted=0, accepted=0):
    """Counters that hold so much more than the answers of `FEW`."""
    counts = AcceptanceCounts(num_drafts=4 + drafts, num_draft_tokens=12 + drafted, num_accepted_tokens=6 + accepted)
    return stepping(counts)


FEW = AcceptanceCounts(num_drafts=4, num_draft_tokens=12, num_accepted_tokens=6)


def with_failures(**fields):
    defaults = {"uncertain": 2, "samples": 1, "max_tokens": 3}
    return ClientAccount(requests=3, prompt_tokens=9, completion_tokens=13, **{**defaults, **fields})


def test_steps_of_requests_that_failed_are_said_to_be_theirs():
    assert check_sources(FEW, more(drafts=6, drafted=18), with_failures()) == [
        finding(
            "failed_requests_counted",
            "info",
            "The counters hold 10 drafts and the answers 4: the server also counted steps of up to 2 requests that "
            "failed; the figures are those of the answers.",
            {"responses_num_drafts": 4, "counters_num_drafts": 10, "requests_without_answer": 2},
        )
    ]


@pytest.mark.parametrize(
    ("reading", "account", "code"),
    [
        (more(drafts=7, drafted=21), with_failures(), "sources_disagree"),
        (more(drafts=12, drafted=36), with_failures(samples=2), "failed_requests_counted"),
        (more(drafts=13, drafted=39), with_failures(samples=2), "sources_disagree"),
        (more(drafts=90, drafted=270), with_failures(max_tokens=None), "failed_requests_counted"),
        (more(drafted=3), with_failures(), "failed_requests_counted"),
        (more(drafts=1, drafted=-3), with_failures(), "sources_disagree"),
        (more(drafts=1, drafted=3), with_failures(uncertain=0), "sources_disagree"),
    ],
)
def test_failures_explain_no_more_steps_than_they_can_have_had(reading, account, code):
    assert [told.code for told in check_sources(FEW, reading, account)] == [code]


def test_failures_need_not_have_been_counted():
    assert check_sources(FEW, more(), with_failures()) == []


def test_without_step_counts_failures_may_explain_any_number_of_tokens():
    stepless = AcceptanceCounts(num_drafts=None, num_draft_tokens=12, num_accepted_tokens=6)
    (told,) = check_sources(stepless, more(drafts=90, drafted=270), with_failures())
    assert told.code == "failed_requests_counted"


def test_tokens_cut_off_are_unknown_where_nothing_was_counted():
    reading = CounterReading(
        engine="vllm", source=None, traffic=Traffic(generation_tokens=9, first_tokens=1, decode_steps=8)
    )
    assert tokens_cut_off(reading) is None
