"""What is printed and written: sums, never means of means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.evaluator.attempts import Attempts, JobAttempt
from nemo_skills_specdec.evaluator.summary import (
    as_figure,
    as_interval,
    as_percentages,
    as_source,
    busy_seconds,
    columns,
    evaluate_seeds,
    line_of,
    told_in_words,
)
from nemo_skills_specdec.records import RequestRecord


def counts(drafts, *accepted):
    return AcceptanceCounts(
        num_drafts=drafts,
        num_draft_tokens=drafts * len(accepted),
        num_accepted_tokens=sum(accepted),
        accepted_per_position=accepted,
    )


def record(question, found, category="math", start=0.0, end=1.0, **more):
    return RequestRecord(
        question_id=question,
        category=category,
        turn=0,
        response_id=f"r-{question}-{start}",
        completion_tokens=9,
        start_time=start,
        end_time=end,
        counts=found,
        counts_source="response",
        **more,
    )


SHORT, LONG = counts(1, 1, 1, 1), counts(9, 3, 0, 0)


def line(seeds, kept=(), whole=True):
    return line_of(evaluate_seeds("b", seeds, kept), seeds, whole=whole)


def test_the_table_begins_with_the_columns_that_users_know():
    assert list(columns())[:5] == [
        "num_entries",
        "avg_tokens",
        "gen_seconds",
        "spec_acceptance_length",
        "spec_acceptance_rate",
    ]


def test_the_headline_is_pooled_and_the_other_averages_stand_beside_it():
    found = line([[record("a", SHORT), record("b", LONG, "code")]])
    assert found["spec_acceptance_length"] == pytest.approx(1 + 6 / 10)
    assert found["spec_acceptance_rate"] == pytest.approx(100 * 6 / 30)
    assert found["spec_al_request_mean"] == pytest.approx((4 + 1 + 3 / 9) / 2)
    assert found["spec_al_category_macro"] == pytest.approx((4 + 1 + 3 / 9) / 2)
    assert found["spec_per_position_rates"] == [0.4, 0.1, 0.1]
    assert found["spec_conditional_rates"] == [0.4, 0.25, 1.0]
    assert (found["spec_num_drafts"], found["spec_draft_tokens"], found["spec_accepted_tokens"]) == (10, 30, 6)
    assert found["specdec"]["averages"]["pooled"]["acceptance_length"] == pytest.approx(1.6)


def test_seeds_are_added_and_their_spread_stands_beside_the_figure():
    seeds = [[record("a", SHORT)], [record("a", LONG, start=5.0, end=6.0)]]
    found = line(seeds)
    assert found["spec_acceptance_length"] == pytest.approx(1.6)
    spread = found["spec_acceptance_length_statistics"]
    assert spread["avg"] == pytest.approx((4 + 4 / 3) / 2)
    assert spread["std_dev_across_runs"] == pytest.approx((4 - 4 / 3) / 2**0.5)
    assert as_figure("spec_acceptance_length", found["spec_acceptance_length"], found) == "1.60 ± 1.89"


def test_the_spread_is_the_sample_standard_deviation_over_seeds_and_within_prompts():
    # AL of the seeds 1.15, 1.30, 1.75; of prompt a 1.1, 1.4, 1.7, of prompt b 1.2, 1.2, 1.8. Divided by n - 1.
    seeds = [
        [record("a", counts(10, a), start=number), record("b", counts(10, b), start=number)]
        for number, (a, b) in enumerate([(1, 2), (4, 2), (7, 8)])
    ]
    spread = line(seeds)["spec_acceptance_length_statistics"]
    assert spread["avg"] == pytest.approx(1.4)
    assert spread["std_dev_across_runs"] == pytest.approx((0.195 / 2) ** 0.5)
    assert spread["std_err_across_runs"] == pytest.approx((0.195 / 2) ** 0.5 / 3**0.5)
    assert spread["avg_sample_std_dev"] == pytest.approx((0.3 + 0.12**0.5) / 2)


def test_the_seeds_of_one_prompt_are_one_prompt_for_the_interval():
    # One prompt, however often it is sampled, says nothing about other prompts.
    assert "spec_al_interval" not in line([[record("a", SHORT)], [record("a", LONG, start=5.0)]])


accepted = st.lists(st.integers(0, 5), min_size=3, max_size=3).map(lambda found: sorted(found, reverse=True))


@given(st.lists(accepted, min_size=1, max_size=12), st.randoms())
def test_however_rows_are_dealt_to_seeds_and_chunks_the_sums_are_the_same(rows, random):
    records = [record(str(number), counts(5, *found)) for number, found in enumerate(rows)]
    random.shuffle(records)
    cut = random.randint(0, len(records))
    found = evaluate_seeds("b", [records[:cut], records[cut:]]).overall.acceptance
    whole = total(item.counts for item in records)
    assert (found.num_drafts, found.num_accepted_tokens) == (whole.num_drafts, whole.num_accepted_tokens)
    assert found.acceptance_length == whole.acceptance_length


def test_what_is_unknown_has_no_column():
    found = line([[record("a", None)]])
    assert not {"spec_acceptance_length", "spec_acceptance_rate", "spec_source", "spec_num_drafts"} & set(found)


def test_a_category_has_no_macro_average_and_no_copy_of_everything():
    found = line([[record("a", SHORT)]], whole=False)
    assert not {"spec_al_category_macro", "specdec", "spec_findings"} & set(found)


def scrape(at, drafts, requests):
    text = (
        "# TYPE vllm:spec_decode_num_drafts counter\n"
        f"vllm:spec_decode_num_drafts_total {drafts}\n"
        f"vllm:spec_decode_num_draft_tokens_total {3 * drafts}\n"
        f"vllm:spec_decode_num_accepted_tokens_total {drafts}\n"
        f'vllm:request_success_total{{finished_reason="stop"}} {requests}\n'
    )
    return Snapshot(url="http://a/metrics", taken_at=at, status=200, text=text)


def kept(before, after, **more):
    options = {"planned_rows": 1, "longest_row": 1, "concurrency": 1, "status": "complete", **more}
    attempt = JobAttempt(
        started_at=0.0,
        before=[scrape(0.0, *before)],
        after=[scrape(9.0, *after)],
        responses={"r-a-0.0": None},
        **options,
    )
    return Attempts(server=ServerInfo(engine="vllm", base_url="http://a"), attempts=[attempt])


def test_without_statistics_in_the_answers_the_counters_tell():
    found = line([[record("a", None)]], [kept((100, 7), (110, 8))])
    assert (found["spec_source"], found["spec_num_drafts"]) == ("counters", 10)
    assert as_source("spec_source", found["spec_source"], found) == "counters"


def test_foreign_traffic_makes_counters_invalid_and_the_table_says_so():
    found = line([[record("a", None)]], [kept((100, 7), (150, 12))])
    assert as_source("spec_source", found["spec_source"], found) == "counters (INVALID: foreign_traffic)"


def test_foreign_traffic_does_not_touch_what_the_answers_say():
    found = line([[record("a", SHORT)]], [kept((100, 7), (150, 12))])
    assert (found["spec_num_drafts"], found["spec_source"]) == (1, "response")
    assert {f["code"]: f["severity"] for f in found["spec_findings"]}["foreign_traffic"] == "warning"
    assert "INVALID" not in as_source("spec_source", found["spec_source"], found)


def test_requests_cut_off_by_an_interruption_are_not_foreign_traffic():
    found = line(
        [[record("a", None)]],
        [kept((100, 7), (112, 9), status="cut_off", planned_rows=2, finished_rows=1)],
    )
    assert [f["code"] for f in found["spec_findings"] if f["severity"] != "info"] == ["attempt_cut_off"]


def test_time_without_a_request_on_its_way_does_not_count():
    records = [record("a", SHORT, start=0.0, end=2.0), record("b", SHORT, start=1.0, end=3.0)]
    assert busy_seconds([*records, record("c", SHORT, start=100.0, end=101.0)]) == 4.0


def test_an_undefined_conditional_rate_is_a_dash():
    assert as_percentages("", [0.5, 0.0, None], {}) == "50.0 0.0 -"
    assert as_interval("", [1.234, 2.0], {}) == "[1.23, 2.00]"


def test_the_job_says_result_averages_and_remarks_in_words():
    result, averages, *remarks = told_in_words(evaluate_seeds("b", [[record("a", SHORT), record("b", LONG, "code")]]))
    assert "from response: acceptance length 1.60" in result
    assert "per position 40.0 10.0 10.0 %; conditional 40.0 25.0 100.0 %" in result
    assert "pooled 1.60, request mean 2.67, category macro 2.67" in averages
    assert [remark.partition(":")[0] for remark in remarks] == ["warning"]
