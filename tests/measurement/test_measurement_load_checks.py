from nemo_skills_specdec.measurement.load_checks import check_load
from nemo_skills_specdec.records import RequestRecord


def requests(starts, seconds, waited=0.0):
    return [
        RequestRecord(
            question_id=str(i),
            category="x",
            turn=0,
            start_time=start,
            end_time=start + seconds,
            queue_seconds=waited * i,
        )
        for i, start in enumerate(starts)
    ]


def codes(records, **asked):
    found = check_load([records], **{"concurrency": None, "request_rate": None, **asked})
    return [(finding.code, finding.severity) for finding in found]


def test_fewer_prompts_than_places_cannot_fill_them():
    (finding,) = check_load([requests([0.0] * 44, 1.0)], concurrency=64, request_rate=None)
    assert finding.code == "concurrency_not_reached"
    assert "44 prompts cannot fill 64 places" in finding.message
    assert finding.numbers == {"asked": 64, "mean": 44.0, "peak": 44, "prompts": 44}


def test_places_that_are_filled_for_most_of_the_time_are_no_finding():
    assert codes(requests([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], 1.0), concurrency=2) == []


def test_a_tail_longer_than_the_rest_is_told():
    records = requests([0.0, 0.0, 1.0], 1.0)
    records[-1].end_time = 10.0
    assert codes(records, concurrency=2) == [("concurrency_not_reached", "warning")]


def test_with_a_rate_the_concurrency_is_only_a_limit():
    assert codes(requests([i * 0.25 for i in range(20)], 0.1), concurrency=64, request_rate=4.0) == []


def test_a_rate_is_missed_where_prompts_waited_for_places():
    # One start every 0.4 s, for which the schedule had wanted 0.25 s.
    records = requests([i * 0.4 for i in range(20)], 0.1, waited=0.15)
    assert codes(records, request_rate=4.0) == [("rate_not_reached", "warning")]


def test_a_rate_is_missed_by_chance_where_the_draws_lie_further_apart():
    assert codes(requests([i * 0.32 for i in range(20)], 0.1), request_rate=4.0) == [("rate_not_reached", "info")]


def test_nothing_asked_is_nothing_missed():
    assert codes(requests([0.0] * 5, 1.0)) == []
