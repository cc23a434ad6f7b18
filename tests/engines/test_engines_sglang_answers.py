"""SGLang's statistics of one request, under all the names they have had."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.sglang import request_counts, request_extras
from nemo_skills_specdec.errors import IdentityError

EXPECTED = AcceptanceCounts(
    num_drafts=25, num_draft_tokens=75, num_accepted_tokens=28, accepted_per_position=(13, 8, 7)
)
HISTOGRAM = [12, 5, 1, 7]


def server(version: str | None = None, topk: int = 1, **settings: Any) -> ServerInfo:
    return ServerInfo(engine="sglang", base_url="", version=version, speculation="on", topk=topk, settings=settings)


def native(**meta: Any) -> dict[str, Any]:
    return {"meta_info": {"completion_tokens": 54, "spec_verify_ct": 25, **meta}}


@pytest.mark.parametrize(
    "meta",
    [
        {"spec_accept_token_num": 28, "spec_draft_token_num": 75, "spec_accept_histogram": HISTOGRAM},
        {"spec_accepted_drafts": 28, "spec_proposed_drafts": 75, "spec_accept_histogram": HISTOGRAM},
        {
            "spec_num_correct_drafts": 28,
            "spec_num_proposed_drafts": 75,
            "spec_correct_drafts_histogram": HISTOGRAM,
            "spec_accepted_drafts": 1,
            "spec_proposed_drafts": 1,
            "spec_accept_histogram": [1],
        },
        {"spec_num_correct_drafts": 28, "spec_num_proposed_drafts": 75, "spec_correct_drafts_histogram": HISTOGRAM},
    ],
)
def test_the_names_of_every_version_give_the_same_counts(meta: dict[str, Any]) -> None:
    assert request_counts(native(**meta), None) == EXPECTED


def test_before_the_histogram_there_are_counts_without_positions() -> None:
    found = request_counts(native(spec_accept_token_num=28, spec_draft_token_num=75), None)
    assert found == AcceptanceCounts(num_drafts=25, num_draft_tokens=75, num_accepted_tokens=28)


@pytest.mark.parametrize("histogram", [[], [0, 0]])
def test_an_unfilled_histogram_gives_counts_without_positions(histogram: list[int]) -> None:
    meta = {"spec_num_correct_drafts": 28, "spec_num_proposed_drafts": 75, "spec_correct_drafts_histogram": histogram}
    found = request_counts(native(**meta), None)
    assert found == AcceptanceCounts(num_drafts=25, num_draft_tokens=75, num_accepted_tokens=28)


@pytest.mark.parametrize("meta", [{}, {"spec_accept_rate": 0.4, "spec_accept_length": 2.1}])
def test_steps_alone_give_no_counts(meta: dict[str, Any]) -> None:
    assert request_counts(native(**meta), None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"spec_verify_ct": 26},
        {"spec_num_correct_drafts": 27},
        {"spec_num_proposed_drafts": 20},
        {"spec_correct_drafts_histogram": [12, 5, 1, 7, 1]},
        {"spec_correct_drafts_histogram": "many"},
        {"spec_num_correct_drafts": "many"},
        {"spec_verify_ct": 2.5},
    ],
)
def test_statistics_that_contradict_themselves_are_refused(change: dict[str, Any]) -> None:
    good = {"spec_num_correct_drafts": 28, "spec_num_proposed_drafts": 75, "spec_correct_drafts_histogram": HISTOGRAM}
    with pytest.raises(IdentityError):
        request_counts(native(**{**good, **change}), None)


def test_trailing_zeros_of_the_histogram_may_be_missing() -> None:
    meta = {"spec_num_correct_drafts": 2, "spec_num_proposed_drafts": 51, "spec_correct_drafts_histogram": [15, 2]}
    found = request_counts({"meta_info": {"spec_verify_ct": 17, **meta}}, None)
    assert found is not None
    assert found.conditional_acceptance_rates == (2 / 17, 0.0, None)


def test_the_extension_wins_over_meta_info() -> None:
    details = {
        "spec_verify_ct": 25,
        "spec_num_correct_drafts": 28,
        "spec_num_proposed_drafts": 75,
        "spec_correct_drafts_histogram": HISTOGRAM,
    }
    body = {"sglext": {"spec_tokens_details": details}, "choices": [{"meta_info": {"spec_verify_ct": 1}}]}
    assert request_counts(body, None) == EXPECTED


def test_several_samples_are_summed() -> None:
    details = {
        "spec_verify_ct": 25,
        "spec_num_correct_drafts": 28,
        "spec_num_proposed_drafts": 75,
        "spec_correct_drafts_histogram": HISTOGRAM,
    }
    listed = request_counts({"sglext": {"spec_tokens_details": [details, details]}}, None)
    choices = request_counts({"choices": [{"meta_info": details}, {"meta_info": details}]}, None)
    assert listed == choices == EXPECTED + EXPECTED


def test_a_sample_without_a_step_beside_one_with_steps_adds_nothing() -> None:
    with_steps = {"spec_verify_ct": 1, "spec_num_correct_drafts": 1, "spec_num_proposed_drafts": 3}
    body = {"choices": [{"meta_info": with_steps}, {"meta_info": {"completion_tokens": 1}}]}
    found = request_counts(body, None)
    assert found is not None
    assert found.num_drafts == 1


def test_a_tree_has_no_more_positions_than_its_depth() -> None:
    meta = {"spec_num_correct_drafts": 3, "spec_num_proposed_drafts": 14, "spec_correct_drafts_histogram": [1, 0, 0, 1]}
    tree = server(topk=4, speculative_num_steps=3)
    found = request_counts({"meta_info": {"spec_verify_ct": 2, **meta}}, tree)
    assert found is not None
    assert (found.accepted_per_position, found.num_draft_tokens) == ((1, 1, 1), 14)


@pytest.mark.parametrize(
    ("meta", "info"),
    [({"spec_cap_lens_histogram": [0, 0, 2]}, None), ({}, server(speculative_adaptive=True))],
)
def test_varying_widths_have_no_draft_tokens(meta: dict[str, Any], info: ServerInfo | None) -> None:
    good = {"spec_num_correct_drafts": 28, "spec_num_proposed_drafts": 75, "spec_correct_drafts_histogram": HISTOGRAM}
    found = request_counts(native(**good, **meta), info)
    assert found is not None
    assert (found.num_draft_tokens, found.acceptance_rate, found.acceptance_length) == (None, None, 53 / 25)


@pytest.mark.parametrize(
    "body", [{}, {"sglext": None}, {"choices": []}, {"choices": [{"message": {}}]}, {"meta_info": {}}]
)
def test_an_answer_without_statistics_gives_none(body: dict[str, Any]) -> None:
    assert request_counts(body, None) is None
    assert request_counts(body, server()) is None


def test_an_answer_of_one_token_by_a_speculating_server_had_no_step() -> None:
    assert request_counts({"usage": {"completion_tokens": 1}}, server()) == NO_STEPS
    assert request_counts({"usage": {"completion_tokens": 2}}, server()) is None
    assert request_counts({"usage": {"completion_tokens": 1}}, None) is None


@pytest.mark.parametrize(
    ("stream", "version", "extras"),
    [
        (True, "0.5.23", {"return_spec_tokens_details": True}),
        (False, "0.5.23", {"return_spec_tokens_details": True}),
        (True, "0.5.17", {"return_spec_tokens_details": True}),
        (False, "0.5.17", {"return_spec_tokens_details": True, "return_meta_info": True}),
        (True, None, {"return_spec_tokens_details": True}),
        (False, None, {"return_spec_tokens_details": True, "return_meta_info": True}),
    ],
)
def test_a_stream_is_never_asked_for_meta_info(stream: bool, version: str | None, extras: dict[str, Any]) -> None:
    assert request_extras(stream=stream, info=server(version)) == extras


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 3))
def test_any_histogram_gives_back_its_steps_and_its_accepted_tokens(histogram: list[int], more: int) -> None:
    steps, accepted = sum(histogram), sum(k * n for k, n in enumerate(histogram))
    width = len(histogram) - 1 + more
    meta = {
        "spec_verify_ct": steps,
        "spec_num_correct_drafts": accepted,
        "spec_num_proposed_drafts": steps * width,
        "spec_correct_drafts_histogram": histogram,
    }
    found = request_counts({"meta_info": meta}, None)
    assert found is not None
    assert (found.num_drafts, found.num_accepted_tokens, found.num_draft_tokens) == (steps, accepted, steps * width)
    assert sum(found.accepted_per_position or ()) == accepted
