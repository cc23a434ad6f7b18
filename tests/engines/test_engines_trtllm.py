"""TensorRT-LLM's counters, on texts made from the shape that its sources document, not recorded."""

from pathlib import Path

import pytest
from server_recordings import codes, snapshot, tiny_server

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.scrape import take_snapshot

DATA = Path(__file__).parents[1] / "data" / "captures" / "trtllm-documented"
START, BEFORE, AFTER = ((DATA / f"{name}.txt").read_text() for name in ("start", "before", "after"))
DRAFTED = "trtllm_spec_decode_drafted_tokens_total"
ACCEPTED = "trtllm_spec_decode_accepted_tokens_total"


def read(before, after):
    return read_window([snapshot(before)], [snapshot(after)])


def position(place, name=DRAFTED):
    return f'{name}{{engine_type="trtllm",model_name="llama",token_position="{place}"}}'


def test_steps_are_those_that_drafted_the_first_position():
    reading = read(BEFORE, AFTER)
    assert (reading.engine, reading.source, reading.draft_length) == ("trtllm", "counters", 3)
    assert reading.counts == AcceptanceCounts(
        num_drafts=100, num_draft_tokens=290, num_accepted_tokens=101, accepted_per_position=(60, 30, 11)
    )
    assert reading.acceptance_length == 1 + 101 / 100
    assert (reading.traffic.requests, reading.traffic.generation_tokens, reading.traffic.prompt_tokens) == (8, 280, 100)


def test_that_nobody_compared_it_with_a_server_is_said_and_its_own_prefix_is_no_finding():
    assert codes(read(BEFORE, AFTER)) == ["documented_only"]


def test_counters_that_appear_in_the_window_count_from_zero():
    assert read(START, BEFORE).counts == AcceptanceCounts(
        num_drafts=10, num_draft_tokens=29, num_accepted_tokens=8, accepted_per_position=(6, 2, 0)
    )


def test_positions_never_accepted_are_zero():
    text = "\n".join(line for line in BEFORE.splitlines() if ACCEPTED not in line) + "\n"
    assert read(START, text).counts.accepted_per_position == (0, 0, 0)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (f"{position(1)} 110", f"{position(1)} 111", "identity_broken"),
        (f"{position(2, ACCEPTED)} 11", f"{position(2, ACCEPTED)} 100", "identity_broken"),
        (f"{position(0)} 110", f"{position(0)} 9", "counters_decreased"),
        (f"{position(2)} 99", f"{position('last')} 99", "missing_label_set"),
    ],
)
def test_counters_that_contradict_themselves_give_no_rate(old, new, code):
    reading = read(BEFORE, AFTER.replace(old, new))
    assert reading.counts is None
    assert code in codes(reading)


def test_the_first_position_alone_of_longer_drafts_gives_no_rate():
    kept = [line for line in AFTER.splitlines() if 'token_position="' not in line or 'token_position="0"' in line]
    reading = read(START, "\n".join(kept) + "\n")
    assert (reading.counts, codes(reading)[-1]) == (None, "spec_counters_incomplete")
    single = "\n".join(kept).replace('spec_num_tokens="3"', 'spec_num_tokens="1"') + "\n"
    assert read(START, single).counts.num_drafts == 110


def test_drafts_that_were_not_counted_before_have_an_unknown_part_from_before():
    before = "\n".join(line for line in BEFORE.splitlines() if "spec_decode" not in line) + "\n"
    reading = read(before, AFTER)
    assert (reading.counts, codes(reading)[0]) == (None, "missing_before")


@pytest.mark.parametrize("label", ['model_name="llama"', 'token_position="many"', 'token_position="99999"'])
def test_counters_without_a_position_give_no_rate(label):
    reading = read(START, f"{START}{DRAFTED}{{{label}}} 0\n")
    assert (reading.counts, codes(reading)[-1]) == (None, "identity_broken")


def test_without_speculation_there_is_no_acceptance():
    off = "\n".join(line for line in START.splitlines() if "speculative_config" not in line) + "\n"
    assert codes(read(off, off))[-1] == "speculation_off"


def test_a_release_without_counters_by_position_tells_nothing():
    old = 'trtllm_request_success_total{finished_reason="stop",model_name="llama"} 4\n'
    assert codes(read(old, old.replace("4", "9")))[-1] == "no_acceptance_metrics"


def test_a_server_is_recognised_and_its_metrics_are_found_where_they_are():
    routes = {
        "/v1/models": {"data": [{"id": "llama", "owned_by": "tensorrt_llm"}]},
        "/version": {"version": "1.3.0"},
        "/metrics": (200, (DATA / "iterations.json").read_text(), {"content-type": "application/json"}),
        "/prometheus/metrics": AFTER,
    }
    with tiny_server(routes) as server:
        info = detect(server.url)
        taken = take_snapshot(server.url)
    assert (info.engine, info.version, info.speculation, info.method) == ("trtllm", "1.3.0", "on", "Eagle3")
    assert info.draft_length == 3
    assert [(item.source, item.available) for item in info.offers] == [("counters", True)]
    assert (taken.error, taken.url.endswith("/prometheus/metrics")) == (None, True)


def test_through_dynamo_the_series_stand_beside_those_of_dynamo():
    def passed(text):
        return text.replace('engine_type="trtllm"', 'dynamo_component="backend",engine_type="trtllm"') + (
            'dynamo_component_requests_total{dynamo_component="backend"} 9\n'
        )

    assert read(passed(BEFORE), passed(AFTER)).counts == read(BEFORE, AFTER).counts
