"""Physical bounds: what may be true passes, what cannot be true is found, whatever the source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_recordings import json_lines_of, json_of

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_steps
from nemo_skills_specdec.engines import llamacpp, sglang, vllm
from nemo_skills_specdec.engines.limits import Figures, check_answer, impossible
from nemo_skills_specdec.errors import IdentityError

ANSWERS = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted), max_size=8), min_size=1, max_size=6
)


@given(ANSWERS, st.data())
def test_figures_of_real_answers_are_always_possible(answers: list[list[list[int]]], data: st.DataObject) -> None:
    cut_off = sum(data.draw(st.integers(0, steps[-1][0])) for steps in answers if steps)
    steps = [step for answer in answers for step in answer]
    counts = counts_from_steps([accepted for accepted, _ in steps], [drafted for _, drafted in steps])
    figures = Figures(
        num_drafts=counts.num_drafts,
        num_draft_tokens=counts.num_draft_tokens,
        num_accepted_tokens=counts.num_accepted_tokens,
        acceptance_length=counts.acceptance_length,
        draft_length=5,
        first_tokens=len(answers),
        decode_steps=len(steps),
        generated_tokens=len(answers) + len(steps) + counts.num_accepted_tokens - cut_off,
    )
    assert impossible(figures) == []


WINDOW = {
    "num_drafts": 10,
    "num_draft_tokens": 30,
    "num_accepted_tokens": 15,
    "acceptance_length": 2.5,
    "draft_length": 3,
    "first_tokens": 2,
    "decode_steps": 12,
    "generated_tokens": 26,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"acceptance_length": 0.9}, "below 1"),
        ({"acceptance_length": 4.1}, "4.1000 with drafts of at most 3"),
        ({"num_draft_tokens": 31}, "31 draft tokens in 10 steps"),
        ({"decode_steps": 7, "generated_tokens": 24}, "10 drafts in 7 decode steps"),
        ({"generated_tokens": 30}, "30 generated tokens"),
        ({"generated_tokens": 22}, "22 generated tokens"),
        ({"acceptance_length": float("inf")}, "inf with drafts"),
    ],
)
def test_figures_beyond_a_bound_are_found(change: dict[str, float], told: str) -> None:
    assert impossible(Figures(**WINDOW)) == []  # type: ignore[arg-type]
    (finding,) = impossible(Figures(**{**WINDOW, **change}), "category coding")  # type: ignore[arg-type]
    assert (finding.code, finding.severity) == ("impossible_figures", "invalid")
    assert told in finding.message
    assert "category coding" in finding.message


def test_what_is_unknown_is_no_violation() -> None:
    assert impossible(Figures()) == []
    assert impossible(Figures(**{**WINDOW, "generated_tokens": 99, "settled": False})) == []  # type: ignore[arg-type]


def test_a_tree_may_propose_more_than_it_is_deep() -> None:
    tree = Figures(num_drafts=10, num_draft_tokens=70, acceptance_length=3.9, draft_length=3, proposed_per_step=7)
    assert impossible(tree) == []


@pytest.mark.parametrize("steps", [3, 50])
def test_statistics_that_do_not_fit_the_answer_are_refused(steps: int) -> None:
    counts = AcceptanceCounts(num_drafts=steps, num_draft_tokens=3 * steps, num_accepted_tokens=steps)
    check_answer(counts, completion_tokens=2 * steps, draft_length=3, drafts_in_every_step=True)
    for tokens in (2 * steps - 4, 2 * steps + 6):
        with pytest.raises(IdentityError, match=f"{2 * steps} tokens in its steps, {tokens} in the answer"):
            check_answer(counts, completion_tokens=tokens, draft_length=3, drafts_in_every_step=True)


HUGE = 10**40


@pytest.mark.parametrize("tokens", [20, None])
def test_a_vllm_answer_of_ten_to_the_fortieth_steps_is_refused(tokens: int | None) -> None:
    statistics = {
        "num_spec_steps": HUGE,
        "num_accepted_draft_tokens": 0,
        "num_draft_tokens": HUGE,
        "num_spec_tokens": 3,
    }
    body = {"metrics": {"speculative_decoding": statistics}, "usage": {"completion_tokens": tokens}}
    with pytest.raises(IdentityError):
        vllm.request_counts(body, None)


def test_a_draft_of_ten_million_tokens_is_refused_at_once() -> None:
    statistics = {"num_spec_steps": 1, "num_accepted_draft_tokens": 1, "num_draft_tokens": 1, "num_spec_tokens": 10**7}
    body = {"metrics": {"speculative_decoding": {**statistics, "acceptance_histogram": [0, 1]}}}
    with pytest.raises(IdentityError, match="no draft has the length"):
        vllm.request_counts(body, None)
    with pytest.raises(IdentityError, match="no draft has the length"):
        vllm.reached_per_position(
            {"metrics": {"speculative_decoding": {**statistics, "per_step_accepted": [1], "per_step_drafted": [1]}}}
        )
    details = {"spec_verify_ct": 1, "spec_num_correct_drafts": 1, "spec_num_proposed_drafts": 10**7}
    with pytest.raises(IdentityError, match="no draft has the length"):
        sglang.request_counts(
            {"sglext": {"spec_tokens_details": {**details, "spec_correct_drafts_histogram": [0, 1]}}}, None
        )


@pytest.mark.parametrize("value", [float("inf"), float("nan"), HUGE, -1, 1.5, "9" * 5000, "\ud800"])
def test_no_number_of_an_answer_raises_anything_but_its_own_error(value: object) -> None:
    details = {"spec_verify_ct": value, "spec_num_correct_drafts": value, "spec_num_proposed_drafts": value}
    usage = {"usage": {"completion_tokens": 5}}
    timings = {"timings": {"draft_n": value, "draft_n_accepted": value}}
    vllm_body = {"num_spec_steps": value, "num_accepted_draft_tokens": value, "num_draft_tokens": value}
    for read, body in [
        (sglang.request_counts, {"sglext": {"spec_tokens_details": details}}),
        (llamacpp.request_counts, timings),
        (vllm.request_counts, {"metrics": {"speculative_decoding": vllm_body}}),
    ]:
        with pytest.raises(IdentityError):
            read({**body, **usage}, None)


@pytest.mark.parametrize(
    ("read", "bodies"),
    [
        (vllm.request_counts, "vllm/ngram/responses.jsonl"),
        (vllm.request_counts, "vllm/eagle3/responses.jsonl"),
        (sglang.request_counts, "sglang-gpu/sgl_ngram/T0_c32_responses.jsonl"),
        (sglang.request_counts, "sglang-gpu/sgl_standalone_tree/T1_c32_responses.jsonl"),
    ],
)
def test_every_recorded_answer_fits_its_statistics(read: object, bodies: str) -> None:
    answers = [row["response"] for row in json_lines_of(bodies)]
    # An answer of one token has no step, so it may come without statistics.
    assert sum(read(answer, None) is not None for answer in answers) > 0.9 * len(answers)  # type: ignore[operator]
    assert llamacpp.request_counts(json_of("llamacpp/ngram-k3/response_0.json"), None) is not None
