"""vLLM's counters and per-request statistics: every rule on literal data."""

from typing import Any

import pytest
from server_recordings import codes, snapshot

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines import vllm
from nemo_skills_specdec.engines.base import CounterReading
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.records import StepCount

P = "vllm:spec_decode_num_"


def metrics(
    drafts: int, tokens: int, accepted: int, positions: tuple[int, ...], engine: str = "0", generated: int = 0
) -> str:
    labels = f'engine="{engine}",model_name="m"'
    lines = [
        f"{P}drafts_total{{{labels}}} {drafts}",
        f"{P}draft_tokens_total{{{labels}}} {tokens}",
        f"{P}accepted_tokens_total{{{labels}}} {accepted}",
        *(f'{P}accepted_tokens_per_pos_total{{{labels},position="{i}"}} {n}' for i, n in enumerate(positions)),
        f"vllm:generation_tokens_total{{{labels}}} {generated}",
    ]
    return "\n".join(lines) + "\n"


def read(before: str, after: str) -> CounterReading:
    return read_window([snapshot(before)], [snapshot(after)])


def test_counters_at_zero_mean_on_and_idle() -> None:
    idle = metrics(0, 0, 0, (0, 0))
    reading = read(idle, idle)
    assert reading.source == "counters"
    assert reading.counts == AcceptanceCounts(
        num_drafts=0, num_draft_tokens=0, num_accepted_tokens=0, accepted_per_position=(0, 0)
    )
    assert (reading.acceptance_length, reading.acceptance_rate, codes(reading)) == (None, None, [])


def test_text_generated_without_a_draft_is_remarked() -> None:
    reading = read(metrics(0, 0, 0, (0,)), metrics(0, 0, 0, (0,), generated=9))
    assert codes(reading) == ["nothing_drafted"]


def test_engines_are_summed_per_position() -> None:
    after = metrics(10, 20, 9, (6, 3)) + metrics(4, 8, 3, (2, 1), engine="1")
    assert read("", after).counts == AcceptanceCounts(
        num_drafts=14, num_draft_tokens=28, num_accepted_tokens=12, accepted_per_position=(8, 4)
    )


def test_ten_positions_are_in_numeric_order() -> None:
    positions = (12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
    counts = read("", metrics(20, 220, sum(positions), positions)).counts
    assert counts is not None
    assert counts.accepted_per_position == positions


def test_a_restart_of_one_engine_gives_no_rate() -> None:
    before = metrics(10, 20, 9, (6, 3)) + metrics(400, 800, 300, (200, 100), engine="1")
    after = metrics(900, 1800, 900, (600, 300)) + metrics(4, 8, 3, (2, 1), engine="1")
    reading = read(before, after)
    assert (reading.source, reading.counts, reading.acceptance_length) == (None, None, None)
    assert codes(reading) == ["counters_decreased"]


def test_counters_that_contradict_each_other_give_the_raw_numbers_and_no_rate() -> None:
    reading = read("", metrics(10, 20, 9, (6, 4)))
    assert (reading.source, reading.counts) == (None, None)
    (finding,) = reading.findings
    assert (finding.code, finding.severity) == ("identity_broken", "invalid")
    assert finding.numbers == {
        "num_drafts": 10,
        "num_draft_tokens": 20,
        "num_accepted_tokens": 9,
        "accepted_per_position": "[6, 4]",
    }


def test_counters_without_positions_give_no_positions() -> None:
    counts = read("", metrics(10, 20, 9, ())).counts
    assert counts is not None
    assert (counts.acceptance_length, counts.accepted_per_position) == (1.9, None)


def test_incomplete_counters_give_no_rate() -> None:
    reading = read("", f"{P}drafts_total 5\n")
    assert (reading.source, codes(reading)) == (None, ["spec_counters_incomplete"])


def test_diffusion_counters_are_no_speculation() -> None:
    text = "vllm:diffusion_num_denoising_steps_total 5\nvllm:diffusion_num_committed_tokens_total 9\n"
    text += "vllm:generation_tokens_total 9\nvllm:prompt_tokens_total 3\nvllm:request_success_total 1\n"
    assert codes(read("", text)) == ["speculation_off"]


def test_a_vllm_without_counters_of_drafts_is_too_old() -> None:
    assert codes(read("", "vllm:spec_decode_draft_acceptance_rate 0.5\n")) == ["server_too_old"]


def test_two_models_are_remarked() -> None:
    after = metrics(10, 20, 9, (6, 3)) + metrics(4, 8, 3, (2, 1)).replace('"m"', '"other"')
    assert codes(read("", after)) == ["several_models"]


def test_the_extra_for_streams_asks_for_the_usage_chunk() -> None:
    assert vllm.request_extras(stream=True, info=None) == {"stream_options": {"include_usage": True}}
    assert vllm.request_extras(stream=False, info=None) == {}


def response(**statistics: Any) -> dict[str, Any]:
    base = {
        "num_spec_steps": 3,
        "num_accepted_draft_tokens": 3,
        "num_draft_tokens": 5,
        "num_spec_tokens": 2,
        "acceptance_histogram": [1, 1, 1],
        "mean_acceptance_length": 2.0,
        "draft_acceptance_rate": 0.6,
    }
    return {"metrics": {"speculative_decoding": {**base, **statistics}}}


def test_a_response_gives_exact_counts_from_its_histogram() -> None:
    assert vllm.request_counts(response(), None) == AcceptanceCounts(
        num_drafts=3, num_draft_tokens=5, num_accepted_tokens=3, accepted_per_position=(2, 1)
    )


def test_a_response_with_steps_and_unknown_keys_gives_the_same() -> None:
    detailed = response(
        per_step_accepted=[0, 1, 2], per_step_drafted=[2, 1, 2], acceptance_histogram_by_draft_length={"2": [1, 0, 1]}
    )
    assert vllm.request_counts(detailed, None) == vllm.request_counts(response(), None)
    assert vllm.reached_per_position(detailed) == (3, 1)


def test_the_detailed_lists_give_every_step_in_order() -> None:
    detailed = response(per_step_accepted=[0, 1, 2], per_step_drafted=[2, 1, 2])
    assert vllm.request_steps(detailed) == [StepCount(2, 0), StepCount(1, 1), StepCount(2, 2)]
    assert vllm.request_steps(response()) is None


def test_a_response_without_histogram_gives_counts_without_positions() -> None:
    counts = vllm.request_counts(response(acceptance_histogram=None), None)
    assert counts == AcceptanceCounts(num_drafts=3, num_draft_tokens=5, num_accepted_tokens=3)


def test_a_response_without_steps_gives_no_steps() -> None:
    empty = response(num_spec_steps=0, num_accepted_draft_tokens=0, num_draft_tokens=0, acceptance_histogram=[0, 0, 0])
    counts = vllm.request_counts(empty, None)
    assert counts is not None
    assert (counts.num_drafts, counts.acceptance_length) == (0, None)


@pytest.mark.parametrize("body", [{}, {"metrics": None}, {"metrics": {"speculative_decoding": None}}, {"metrics": 5}])
def test_a_response_without_statistics_gives_none(body: dict[str, Any]) -> None:
    assert vllm.request_counts(body, None) is None
    assert vllm.reached_per_position(body) is None


@pytest.mark.parametrize(
    "change",
    [
        {"num_spec_steps": 4},
        {"num_accepted_draft_tokens": 4},
        {"num_draft_tokens": 2},
        {"acceptance_histogram": [1, 1, 0, 1]},
        {"acceptance_histogram": [1, -1, 3]},
        {"per_step_accepted": [0, 1, 2], "per_step_drafted": [2, 1]},
        {"per_step_accepted": [0, 1, 2], "per_step_drafted": [2, 2, 1]},
        {"per_step_accepted": [0, 1, 1], "per_step_drafted": [2, 1, 2]},
        {"num_spec_steps": "many"},
        {"num_spec_steps": None},
    ],
)
def test_a_response_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IdentityError):
        vllm.request_counts(response(**change), None)
