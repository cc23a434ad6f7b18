"""Every condition of a measurement reaches the figure that rests on it."""

import pytest

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, counts_from_histogram
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.measurement.conclude import check_parts, conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.measurement.request_statistics import with_stepless_answers
from nemo_skills_specdec.measurement.result import Measured, evaluation_of, headline
from nemo_skills_specdec.measurement.snapshots import Window
from nemo_skills_specdec.measurement.speed_options import Slo, SpeedOptions
from nemo_skills_specdec.records import Acceptance, Finding, RequestRecord

COUNTS = counts_from_histogram((5, 3, 2), num_draft_tokens=20)
METRICS = """vllm:spec_decode_num_drafts_total{{model_name="m"}} {drafts}
vllm:spec_decode_num_draft_tokens_total{{model_name="m"}} {drafts}
vllm:spec_decode_num_accepted_tokens_total{{model_name="m"}} {accepted}
vllm:generation_tokens_total{{model_name="m"}} {generated}
vllm:prompt_tokens_total{{model_name="m"}} {generated}
vllm:request_success_total{{model_name="m",finished_reason="stop"}} {requests}
vllm:num_requests_running{{model_name="m"}} 0
vllm:inter_token_latency_seconds_count{{model_name="m"}} {steps}
vllm:time_to_first_token_seconds_count{{model_name="m"}} {requests}
vllm:prefix_cache_hits_total{{model_name="m"}} {cached}
"""
NOTHING = {"drafts": 0, "accepted": 0, "generated": 0, "requests": 0, "steps": 0, "cached": 0}


def window(**after):
    ends = (NOTHING, NOTHING | after)
    before, last = (
        [Snapshot(url="http://a/metrics", taken_at=0.0, status=200, text=METRICS.format(**end))] for end in ends
    )
    return Window(before=before, after=last)


def answer(number, category="x", counts=None, start=0.0, end=2.0, **more):
    return RequestRecord(
        question_id=f"q{number}",
        category=category,
        turn=0,
        prompt_tokens=3,
        completion_tokens=10,
        counts=counts,
        counts_source="response" if counts is not None else None,
        start_time=start,
        end_time=end,
        **more,
    )


def concluded(records, taken=None, categories=None, **conditions):
    conditions.setdefault("request", RequestOptions(model="m", temperature=0.0, max_tokens=64))
    return conclude(
        Evidence(
            conditions=Conditions(benchmark="b", prompts_planned=len(records), **conditions),
            server=ServerInfo(engine="vllm", base_url="http://a", version="0.32.0", draft_length=1),
            records=records,
            window=taken,
            categories=categories or {},
        )
    )


def counters(counts):
    return CounterReading(engine="vllm", source="counters", counts=counts)


def codes(evaluation):
    return {finding.code for finding in evaluation.overall.acceptance.findings}


def test_request_files_and_wall_time_reach_the_result():
    found = concluded([answer(0)], request_file=COUNTS, wall_seconds=4.0)
    assert found.sources["request_file"].num_drafts == 10
    assert found.overall.acceptance.source == "request_file"
    assert (found.overall.speed.wall_seconds, found.overall.speed.output_tokens_per_second) == (4.0, 2.5)


def test_every_category_takes_its_own_window_and_time():
    records = [answer(0, "x"), answer(1, "y")]
    one = window(drafts=5, accepted=4, generated=10, requests=1, steps=5)
    two = window(drafts=5, accepted=1, generated=10, requests=1, steps=8)
    both = window(drafts=10, accepted=5, generated=20, requests=2, steps=13)
    found = concluded(records, both, {"x": one, "y": two}, category_wall_seconds={"x": 4.0})
    assert {name: part.acceptance.acceptance_length for name, part in found.categories.items()} == {"x": 1.8, "y": 1.2}
    assert {name: part.speed.wall_seconds for name, part in found.categories.items()} == {"x": 4.0, "y": 0.0}


def test_samples_of_a_request_are_counted_each():
    taken = window(drafts=5, accepted=4, generated=10, requests=2, steps=5)
    twice = RequestOptions(model="m", temperature=0.0, max_tokens=64, n=2)
    assert "requests_counted_twice" in codes(concluded([answer(0)], taken))
    assert "requests_counted_twice" not in codes(concluded([answer(0)], taken, request=twice))


def test_warm_up_requests_may_have_leaked():
    taken = window(drafts=5, accepted=4, generated=12, requests=2, steps=6)
    assert "warmup_leaked" in codes(concluded([answer(0)], taken, warmup_requests=1))
    assert "foreign_traffic" in codes(concluded([answer(0)], taken))


@pytest.mark.parametrize("cut_off", [1, None])
def test_requests_that_were_cut_off_may_have_been_counted(cut_off):
    taken = window(drafts=5, accepted=4, generated=12, requests=2, steps=6)
    assert not codes(concluded([answer(0)], taken, cut_off=cut_off)) & {"foreign_traffic", "warmup_leaked"}


@pytest.mark.parametrize(("allowed", "valid"), [(0.4, False), (0.5, True)])
def test_the_share_of_failures_that_is_allowed_decides(allowed, valid):
    records = [answer(0), answer(1, error="HTTP 500", outcome="refused")]
    assert concluded(records, max_failed=allowed).valid is valid


def test_a_load_that_was_not_reached_is_told_window_by_window():
    records = [answer(0, "x"), answer(1, "y", start=10.0, end=12.0)]
    (whole,) = [f for f in concluded(records, concurrency=2).overall.acceptance.findings if f.code.startswith("conc")]
    assert whole.numbers == {"asked": 2, "mean": pytest.approx(4 / 12), "peak": 1, "prompts": 2}
    parts = {"x": window(), "y": window()}
    found = concluded(records, window(), parts, concurrency=2).overall.acceptance.findings
    (apart,) = [f for f in found if f.code == "concurrency_not_reached"]
    assert apart.numbers == {"asked": 2, "mean": 1.0, "peak": 1, "prompts": 1}


def test_a_rate_that_was_missed_is_told():
    records = [answer(n, start=float(n), end=n + 0.5) for n in range(12)]
    assert "rate_not_reached" in codes(concluded(records, request_rate=4.0))
    assert "rate_not_reached" not in codes(concluded(records, request_rate=1.0))


@pytest.mark.parametrize(("rate", "steady"), [(None, True), (0.5, False)])
def test_a_steady_state_is_that_of_an_asked_concurrency(rate, steady):
    records = [answer(0, start=0.0, end=4.0), answer(1, start=1.0, end=5.0)]
    found = concluded(records, concurrency=2, request_rate=rate, speed=SpeedOptions(steady_state=True))
    assert (found.overall.steady_state is not None) is steady


def test_a_steady_state_is_given_only_where_it_is_asked_for():
    records = [answer(0, start=0.0, end=4.0), answer(1, start=1.0, end=5.0)]
    assert concluded(records, concurrency=2).overall.steady_state is None
    assert concluded(records, speed=SpeedOptions(steady_state=True)).overall.steady_state is None


def test_a_steady_state_sums_over_the_windows_of_categories():
    records = [
        answer(0, "x", start=0.0, end=4.0),
        answer(1, "x", start=1.0, end=5.0),
        answer(2, "y", start=10.0, end=14.0),
        answer(3, "y", start=11.0, end=15.0),
    ]
    options = SpeedOptions(steady_state=True, slo=Slo(e2e_seconds=3.5))
    parts = {"x": window(), "y": window()}
    steady = concluded(records, window(), parts, concurrency=2, speed=options).overall.steady_state
    assert (steady.concurrency, steady.seconds) == (2, 6.0)
    assert steady.speed.goodput.requests == 0


def test_objectives_hold_for_the_whole_and_for_every_category():
    records = [answer(0, "x", end=2.0), answer(1, "y", end=4.0)]
    found = concluded(records, speed=SpeedOptions(slo=Slo(e2e_seconds=3.0)))
    assert found.overall.speed.goodput.requests == 1
    assert {name: part.speed.goodput.requests for name, part in found.categories.items()} == {"x": 1, "y": 0}


def varied(number):
    histogram = (number % 7 + 1, number % 3, 20 - number % 11, number % 5)
    return answer(number, counts=counts_from_histogram(histogram, num_draft_tokens=3 * sum(histogram)))


VARIED = [varied(number) for number in range(60)]


def test_the_seed_of_the_intervals_is_the_one_that_was_asked_for():
    def interval(**seed):
        return concluded(VARIED, **seed).overall.acceptance.intervals.acceptance_length

    assert interval(seed=7) == interval(seed=7)
    assert interval(seed=7) != interval(seed=0)
    assert interval() == interval(seed=0)


def test_a_result_without_a_seed_has_the_intervals_of_seed_0():
    without, zero = (
        evaluation_of("b", Measured(records=VARIED), {}, findings=[], **seed) for seed in ({}, {"seed": 0})
    )
    assert without.overall.acceptance.intervals == zero.overall.acceptance.intervals
    assert without.status == "complete"


def test_a_source_has_the_interval_of_the_rates_that_it_gives():
    found = concluded(VARIED)
    assert found.sources["response"].intervals == found.overall.acceptance.intervals
    assert found.sources["response"].intervals.acceptance_length is not None


def test_a_category_without_a_window_takes_the_time_that_its_answers_took():
    records = [answer(0, start=1.0, end=2.0), answer(1, start=3.0, end=7.0), answer(2, end=90.0, error="gone")]
    assert concluded(records).categories["x"].speed.wall_seconds == 6.0
    assert concluded(records[2:]).categories["x"].speed.wall_seconds == 0.0


def test_decode_steps_and_cached_prompts_of_others_are_in_no_figure():
    ours = window(drafts=5, accepted=4, generated=10, requests=1, steps=5, cached=4)
    found = concluded([answer(0)], ours)
    assert (found.sources["counters"].tokens_per_step, found.overall.prompt_cache.cached_tokens) == (1.8, 4)
    foreign = window(drafts=30, accepted=25, generated=140, requests=14, steps=101, cached=4)
    found = concluded([answer(0)], foreign)
    assert (found.sources["counters"].num_drafts, found.sources["counters"].tokens_per_step) == (30, None)
    assert found.overall.prompt_cache is None


def test_decode_steps_of_others_are_in_no_category_either():
    records = [answer(0, "x"), answer(1, "y")]
    one = window(drafts=5, accepted=4, generated=10, requests=1, steps=5)
    whole = window(drafts=30, accepted=25, generated=140, requests=14, steps=101)
    found = concluded(records, whole, {"x": one, "y": one})
    assert {part.acceptance.num_drafts for part in found.categories.values()} == {5}
    assert {part.acceptance.tokens_per_step for part in found.categories.values()} == {None}


def test_a_macro_average_over_a_part_is_told_in_full():
    records = [answer(0, "x", counts=COUNTS), answer(1, "y")]
    (told,) = [f for f in concluded(records).overall.acceptance.findings if f.code == "macro_over_a_part"]
    assert told == Finding(
        code="macro_over_a_part",
        severity="warning",
        message="The category macro average is over 1 of 2 categories; the acceptance of the others is not known.",
        numbers={"over": 1, "categories": 2},
    )


@pytest.mark.parametrize("counts", [(None, None), (COUNTS, COUNTS)])
def test_a_macro_average_over_all_categories_or_none_needs_no_remark(counts):
    records = [answer(0, "x", counts=counts[0]), answer(1, "y", counts=counts[1])]
    assert "macro_over_a_part" not in codes(concluded(records))


def test_both_ways_of_saying_the_same_twice_are_compared():
    def counted(counts):
        return Measured(records=[], reading=counters(counts))

    whole = Measured(records=[answer(0, counts=COUNTS)], request_file=COUNTS + COUNTS, reading=counters(COUNTS))
    found = check_parts(whole, {"x": counted(COUNTS), "y": counted(COUNTS)})
    assert [told.message.split(" disagree")[0] for told in found] == [
        "The responses and the request files",
        "The categories together and the total",
    ]


def test_the_headline_carries_no_findings_of_its_source():
    told = Finding(code="c", severity="info", message="It is so.")
    assert headline({"counters": Acceptance(source="counters", acceptance_length=2.0, findings=[told])}).findings == []


def test_pooled_figures_of_counters_are_over_their_steps():
    taken = window(drafts=5, accepted=4, generated=10, requests=1, steps=5)
    assert concluded([answer(0)], taken).averages.pooled.over == 5
    assert concluded([answer(0)]).averages.pooled.over == 0


def test_statistics_of_some_answers_are_no_average():
    records = [answer(0, "x", counts=COUNTS), answer(1, "x")]
    assert concluded(records).averages.pooled.acceptance_length is None


def test_answers_of_request_files_are_named_so():
    records = [answer(0, counts=COUNTS)]
    records[0].counts_source = "request_file"
    found = concluded(records, request_file=COUNTS + COUNTS)
    assert list(found.sources) == ["request_file"]
    assert found.sources["request_file"].num_drafts == 10


def test_records_that_do_not_name_their_source_are_responses():
    records = [answer(0, counts=COUNTS)]
    records[0].counts_source = None
    assert list(concluded(records).sources) == ["response"]


def test_an_answer_without_steps_takes_the_source_of_the_others():
    files = answer(0, counts=COUNTS)
    files.counts_source = "request_file"
    short = answer(1)
    short.completion_tokens = 0
    assert with_stepless_answers([files, short])[1].counts_source == "request_file"
    assert with_stepless_answers([files, short])[1].counts == NO_STEPS
    files.counts_source = None
    assert with_stepless_answers([files, short])[1].counts_source == "response"


def test_uncertainty_is_of_prompts_and_not_of_requests():
    counts = [AcceptanceCounts(num_drafts=9, num_draft_tokens=18, num_accepted_tokens=n) for n in range(12)]
    turns = [answer(n // 2, counts=one) for n, one in enumerate(counts)]
    whole = concluded(turns).overall.acceptance.intervals.acceptance_length
    apart = concluded([answer(n, counts=one) for n, one in enumerate(counts)]).overall.acceptance.intervals
    assert whole.high - whole.low > apart.acceptance_length.high - apart.acceptance_length.low
