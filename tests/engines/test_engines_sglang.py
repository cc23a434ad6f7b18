"""SGLang's counters, bounds and gauges: every rule on literal data."""

from typing import Any

import pytest
from server_recordings import acceptance, codes, snapshot

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import CounterReading, ServerInfo
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.sglang.metrics import accept_rate_from_gauge
from nemo_skills_specdec.statistics import Interval

RANK = 'tp_rank="0",pp_rank="0",moe_ep_rank="0"'


def metrics(
    verify: int | None = 100,
    generated: int = 200,
    requests: int = 10,
    decoded: int | None = 195,
    nodes: int = 4,
    steps: int = 3,
    length: float = 1.9,
    extra: str = "",
) -> str:
    lines = [
        f'sglang:generation_tokens_total{{is_streaming="false"}} {generated}',
        f'sglang:num_requests_total{{is_streaming="false"}} {requests}',
        f"sglang:spec_num_draft_tokens{{{RANK}}} {nodes}",
        f"sglang:spec_num_steps{{{RANK}}} {steps}",
        f"sglang:spec_accept_length{{{RANK}}} {length}",
    ]
    if verify is not None:
        lines.append(f"sglang:spec_verify_calls_total {verify}")
    if decoded is not None:
        lines.append(f'sglang:realtime_tokens_total{{mode="decode",{RANK}}} {decoded}')
        lines.append(f'sglang:realtime_tokens_total{{mode="prefill_compute",{RANK}}} 5000')
    return "\n".join([*lines, extra]) + "\n"


def read(after: str, info: ServerInfo | None = None, before: str = "") -> CounterReading:
    return read_window([snapshot(before)], [snapshot(after)], info)


def server(speculation: Any = "on", nodes: int | None = 4, topk: int | None = 1, **settings: Any) -> ServerInfo:
    return ServerInfo(
        engine="sglang", base_url="", speculation=speculation, tree_nodes=nodes, topk=topk, settings=settings
    )


SYNCHRONOUS = server(disable_overlap_schedule=True)


def test_a_small_excess_alone_proves_nothing() -> None:
    # EAGLE3 on a GPU with the overlapped scheduler on: the answers said 1.0212 where R / D is 1.0268.
    reading = read(metrics(verify=3100, generated=3209, requests=44, decoded=3183), server(nodes=4))
    assert (reading.source, codes(reading)) == ("bounds", ["bounds"])
    assert reading.acceptance_length_bounds is not None
    assert reading.acceptance_length_bounds.low <= 1.0212 <= reading.acceptance_length_bounds.high


def test_counters_that_only_bracket_give_their_midpoint() -> None:
    result = acceptance(read(metrics(decoded=200)))
    assert (result.source, result.num_drafts, result.num_accepted_tokens) == ("bounds", 100, None)
    assert result.acceptance_length_bounds is not None
    assert (result.acceptance_length_bounds.low, result.acceptance_length_bounds.high) == (1.9, 2.0)
    assert result.acceptance_length == 1.95
    assert result.acceptance_rate_bounds is not None
    assert result.acceptance_rate_bounds.high == pytest.approx(1 / 3)


def test_the_width_of_bounds_is_told() -> None:
    (finding,) = read(metrics(decoded=200)).findings
    assert finding.code == "bounds"
    assert finding.numbers["width"] == pytest.approx(0.1)


def test_a_server_that_says_it_is_synchronous_is_exact_whatever_the_excess() -> None:
    reading = read(metrics(decoded=215), server(disable_overlap_schedule=True))
    assert reading.counts == AcceptanceCounts(num_drafts=100, num_draft_tokens=300, num_accepted_tokens=115)
    assert codes(reading) == ["no_positions"]


def test_a_synchronous_server_that_decoded_more_than_its_requests_can_hold_is_a_bound() -> None:
    reading = read(metrics(decoded=231), server(disable_overlap_schedule=True))
    assert reading.source == "bounds"


def test_a_server_that_says_it_overlaps_is_a_bound_whatever_the_excess() -> None:
    assert read(metrics(decoded=195), server(disable_overlap_schedule=False)).source == "bounds"


@pytest.mark.parametrize("name", ["sglang:num_aborted_requests_total", "sglang:num_retracted_requests_total"])
def test_aborted_or_retracted_requests_make_it_a_bound(name: str) -> None:
    reading = read(metrics(decoded=195, extra=f"{name} 1"), server(disable_overlap_schedule=True))
    assert reading.source == "bounds"
    assert codes(reading) == ["bounds", "aborted_or_retracted"]


def test_retracted_requests_are_taken_from_the_lower_bound() -> None:
    reading = read(metrics(decoded=200, extra="sglang:num_retracted_requests_total 5"))
    assert reading.acceptance_length_bounds is not None
    assert reading.acceptance_length_bounds.low == 1.85


def test_requests_in_flight_make_it_a_bound_with_a_warning() -> None:
    reading = read(metrics(decoded=195, extra="sglang:num_running_reqs 2"))
    assert (reading.source, reading.traffic.busy_after) == ("bounds", 2)
    assert reading.findings[0].severity == "warning"


def test_requests_in_flight_before_are_bracketed_by_what_their_last_steps_may_have_cut_off() -> None:
    before = metrics(verify=100, generated=200, requests=10, decoded=400, extra="sglang:num_running_reqs 2")
    after = metrics(verify=200, generated=410, requests=20, decoded=500, extra="sglang:num_running_reqs 3")
    reading = read(after, before=before)
    assert (reading.source, reading.findings[0].severity) == ("bounds", "info")
    # (210 - 10) / 100, and 10 requests that cut off 3 tokens each at most; 100 tokens decoded in the window say less.
    assert reading.acceptance_length_bounds == Interval(2.0, 2.3)


def test_a_lower_bound_is_never_below_one() -> None:
    reading = read(metrics(verify=100, generated=100, requests=20, decoded=130))
    assert reading.acceptance_length_bounds is not None
    assert reading.acceptance_length_bounds.low == 1.0


def test_fewer_decoded_tokens_than_the_requests_hold_are_a_contradiction() -> None:
    reading = read(metrics(decoded=150))
    assert (reading.source, reading.counts, codes(reading)) == (None, None, ["identity_broken"])
    assert reading.findings[0].numbers["realtime_decode_tokens"] == 150


def test_more_accepted_than_drafted_is_a_contradiction() -> None:
    reading = read(metrics(verify=20, generated=200, requests=10, decoded=195), SYNCHRONOUS)
    assert (reading.source, codes(reading)) == (None, ["identity_broken"])


def test_without_the_decoded_tokens_there_is_no_upper_bound() -> None:
    reading = read(metrics(decoded=None))
    assert (reading.source, reading.acceptance_length, codes(reading)) == (None, None, ["no_upper_bound"])


def test_without_the_draft_length_there_is_no_rate() -> None:
    reading = read(metrics(decoded=195, nodes=0), server(nodes=None, disable_overlap_schedule=True))
    assert reading.counts == AcceptanceCounts(num_drafts=100, num_draft_tokens=None, num_accepted_tokens=95)
    assert reading.acceptance_rate is None


def test_the_draft_length_comes_from_the_nodes_and_not_from_the_steps() -> None:
    counts = read(metrics(decoded=195, nodes=0, steps=7), server(nodes=5, disable_overlap_schedule=True)).counts
    assert counts is not None
    assert counts.num_draft_tokens == 400


def test_adaptive_draft_lengths_have_no_rate() -> None:
    reading = read(metrics(decoded=195), server(speculative_adaptive=True, disable_overlap_schedule=True))
    assert (reading.acceptance_length, reading.acceptance_rate) == (1.95, None)


def test_only_one_rank_per_data_parallel_rank_is_counted() -> None:
    ranks = "\n".join(
        f'sglang:realtime_tokens_total{{mode="decode",tp_rank="{tp}",pp_rank="{pp}",dp_rank="{dp}"}} {100 + dp}'
        for tp in (0, 1)
        for pp in (0, 1)
        for dp in (0, 1)
    )
    counts = read(metrics(verify=100, generated=210, requests=10, decoded=None, extra=ranks), SYNCHRONOUS).counts
    assert counts is not None
    assert counts.num_accepted_tokens == 101


def test_streamed_and_plain_requests_are_summed() -> None:
    extra = 'sglang:generation_tokens_total{is_streaming="true"} 50\nsglang:num_requests_total{is_streaming="true"} 5'
    reading = read(metrics(verify=130, decoded=238, extra=extra), SYNCHRONOUS)
    assert (reading.traffic.generation_tokens, reading.traffic.requests) == (250, 15)
    assert reading.source == "counters"


def test_counters_are_differenced_over_the_window() -> None:
    before = metrics(verify=50, generated=90, requests=4, decoded=88)
    after = metrics(verify=150, generated=290, requests=14, decoded=283)
    assert read(after, SYNCHRONOUS, before=before).counts == AcceptanceCounts(
        num_drafts=100, num_draft_tokens=300, num_accepted_tokens=95
    )


def test_a_restart_gives_no_rate() -> None:
    reading = read(metrics(), before=metrics(verify=5000, generated=9000, requests=400, decoded=8900))
    assert (reading.source, codes(reading)) == (None, ["counters_decreased"])


def test_no_verification_step_in_the_window_is_no_steps() -> None:
    reading = read(metrics(), before=metrics())
    assert (reading.source, reading.num_drafts, reading.acceptance_length) == ("counters", 0, None)


def test_gauges_at_zero_without_a_verification_step_mean_off() -> None:
    reading = read(metrics(verify=None, nodes=0, steps=0, length=0.0))
    assert (reading.source, reading.acceptance_length, codes(reading)) == (None, None, ["speculation_off"])


def test_a_server_that_says_it_does_not_speculate_is_off() -> None:
    assert codes(read(metrics(verify=None), server(speculation="off", nodes=None))) == ["speculation_off"]


def test_without_counters_the_gauge_at_the_end_is_a_loud_estimate() -> None:
    reading = read(metrics(verify=None, length=2.5), before=metrics(verify=None, requests=5, generated=90, length=1.5))
    assert (reading.source, reading.acceptance_length, reading.counts) == ("gauge_estimate", 2.5, None)
    assert reading.acceptance_rate == 0.5
    (finding,) = reading.findings
    assert (finding.code, finding.severity) == ("gauge_estimate", "warning")
    assert finding.numbers == {"gauge_before": 1.5, "gauge_after": 2.5}


def test_a_gauge_is_never_differenced() -> None:
    before = metrics(verify=None, requests=300, generated=6000, decoded=5000, length=1.937)
    after = metrics(verify=None, requests=360, generated=7485, decoded=7704, length=3.725)
    assert read(after, before=before).acceptance_length == 3.725


def test_gauges_of_data_parallel_ranks_are_weighted_by_decoded_tokens() -> None:
    text = (
        'sglang:spec_accept_length{dp_rank="0"} 2.0\nsglang:spec_accept_length{dp_rank="1"} 3.0\n'
        'sglang:realtime_tokens_total{mode="decode",dp_rank="0"} 300\n'
        'sglang:realtime_tokens_total{mode="decode",dp_rank="1"} 100\n'
        "sglang:generation_tokens_total 410\nsglang:num_requests_total 10\n"
    )
    assert read(text).acceptance_length == 2.25


def test_a_speculating_server_without_any_number_gives_none() -> None:
    reading = read(metrics(verify=None, length=0.0), server())
    assert (reading.source, codes(reading)) == (None, ["no_acceptance_metrics"])


@pytest.mark.parametrize(
    ("version", "gauge", "nodes", "steps", "rate"),
    [
        ("0.5.23", 0.592, 4, 3, 0.592),
        ("0.5.11", 0.592, None, None, 0.592),
        ("0.5.10.post1", 2.775 / 4, 4, 3, (2.775 - 1) / 3),
        ("0.5.6", 0.25, 4, 7, 0.0),
        ("0.5.5", 2.775 / 4, None, 3, (2.775 - 1) / 3),
        ("0.5.4", 0.5, 9, None, None),
        ("0.5.3", 0.5, 4, 3, None),
        (None, 0.5, 4, 3, None),
        ("0.5.9", 0.5, None, 3, None),
    ],
)
def test_the_rate_gauge_is_converted_by_version(
    version: str | None, gauge: float, nodes: int | None, steps: int | None, rate: float | None
) -> None:
    found = accept_rate_from_gauge(gauge, version=version, nodes=nodes, num_steps=steps)
    assert found == (None if rate is None else pytest.approx(rate))


def test_trees_are_remarked() -> None:
    reading = read(metrics(decoded=195, nodes=8), server(nodes=8, topk=4, disable_overlap_schedule=True))
    assert codes(reading)[0] == "tree_drafts"
