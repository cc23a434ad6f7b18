"""The same promises on real engines. Each needs a server of its own that nobody else uses: see CONTRIBUTING.md."""

import importlib.util
import os

import pytest

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.measurement.measure import Plan, Workload
from nemo_skills_specdec.measurement.measure import measure as measure_task
from nemo_skills_specdec.prompts.sets.mini import load_mini

VLLM, SGLANG = os.environ.get("SPECDEC_VLLM_URL"), os.environ.get("SPECDEC_SGLANG_URL")


def measure(url, *, max_tokens=32, **plan):
    """Two prompts of each category of `mini`, greedy."""
    rows = [row for number, row in enumerate(load_mini("small")) if number % 4 < 2]
    info = detect(url)
    request = RequestOptions(model=info.models[0], max_tokens=max_tokens, temperature=0.0)
    settings = {"base_url": url, "metrics_urls": (url,), "request": request, "load": LoadOptions(concurrency=4), **plan}
    return info, measure_task(Workload(name="mini", rows=rows), Plan(**settings), info, headers={})


def counts(acceptance):
    return acceptance.num_drafts, acceptance.num_draft_tokens, acceptance.num_accepted_tokens


@pytest.mark.real_vllm
@pytest.mark.skipif(VLLM is None, reason="SPECDEC_VLLM_URL names no vLLM server")
def test_a_real_vllm_agrees_with_itself_in_responses_and_counters():
    info, run = measure(VLLM)
    assert info.engine == "vllm"
    sources = run.evaluation.sources
    assert counts(sources["response"]) == counts(sources["counters"])
    assert sources["response"].accepted_per_position == sources["counters"].accepted_per_position
    assert run.evaluation.valid


@pytest.mark.real_vllm
@pytest.mark.skipif(VLLM is None, reason="SPECDEC_VLLM_URL names no vLLM server")
def test_categories_of_a_real_vllm_measured_one_by_one_add_up():
    _, run = measure(VLLM, by_category=True)
    parts = run.evaluation.categories.values()
    assert sum(part.acceptance.num_drafts for part in parts) == run.evaluation.sources["counters"].num_drafts


@pytest.mark.real_sglang
@pytest.mark.skipif(SGLANG is None, reason="SPECDEC_SGLANG_URL names no SGLang server")
def test_a_real_sglang_agrees_with_itself_in_responses_and_counters():
    info, run = measure(SGLANG)
    assert info.engine == "sglang"
    response, counters = run.evaluation.sources["response"], run.evaluation.sources.get("counters")
    if counters is not None:
        assert (response.num_drafts, response.num_accepted_tokens) == (
            counters.num_drafts,
            counters.num_accepted_tokens,
        )
    else:
        bounds = run.evaluation.sources["bounds"].acceptance_length_bounds
        assert bounds.low <= response.acceptance_length <= bounds.high
    assert run.evaluation.valid


@pytest.mark.real_llamacpp
@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the extra [llamacpp] is not installed")
def test_a_real_llamacpp_agrees_with_itself_in_responses_and_counters():
    from nemo_skills_specdec.launch.llamacpp import LlamaCppOptions, start_llamacpp

    with start_llamacpp(LlamaCppOptions()) as server:
        info, run = measure(server.base_url, max_tokens=24)
    assert info.engine == "llamacpp"
    response, counters = run.evaluation.sources["response"], run.evaluation.sources["counters"]
    assert counts(response)[1:] == counts(counters)[1:]
    assert run.evaluation.overall.num_failed == 0
    # Streams tell the steps too, wherever no character was held back; those categories must agree in full.
    told = [
        (part.acceptance, [record.counts for record in run.evidence.records if record.category == name])
        for name, part in run.evaluation.categories.items()
    ]
    complete = [(whole, parts) for whole, parts in told if all(part.num_drafts is not None for part in parts)]
    assert len(complete) >= 8
    assert all(whole.num_drafts == sum(part.num_drafts for part in parts) for whole, parts in complete)
    assert run.evaluation.valid
