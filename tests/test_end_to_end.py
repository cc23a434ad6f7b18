"""The whole way, over real HTTP, against the embedded engine's own ledger of every verification step."""

import msgspec
import pytest
import requests

from nemo_skills_specdec.acceptance import counts_from_steps, total
from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.measurement.measure import Plan, Workload
from nemo_skills_specdec.measurement.measure import measure as measure_task
from nemo_skills_specdec.records import Message, PromptRow

CATEGORIES = ["coding", "math", "writing", "qa"]


def prompts(number, turns=1):
    return [
        PromptRow(
            question_id=f"q{i}",
            category=CATEGORIES[i % len(CATEGORIES)],
            multiturn=turns > 1,
            messages=[Message("user", f"Turn {turn}: tell me about number {i}.") for turn in range(turns)],
        )
        for i in range(number)
    ]


def measure(server, rows, **plan):
    info = detect(server.base_url)
    settings = {
        "base_url": server.base_url,
        "metrics_urls": (server.base_url,),
        "request": RequestOptions(model=info.models[0], max_tokens=12, temperature=0.8, seed=7),
        "load": LoadOptions(concurrency=32),
        **plan,
    }
    return measure_task(Workload(name="test", rows=rows), Plan(**settings), info, headers={})


def ledger_counts(server, run):
    """The truth: the engine's own steps of exactly the requests of this run."""
    steps = {
        entry["request_id"]: entry for entry in requests.get(f"{server.base_url}/ledger", timeout=30).json()["requests"]
    }
    return total(
        counts_from_steps(steps[record.response_id]["accepted"], steps[record.response_id]["drafted"])
        for record in run.evidence.records
    )


def counts_of(acceptance):
    return (
        acceptance.num_drafts,
        acceptance.num_draft_tokens,
        acceptance.num_accepted_tokens,
        acceptance.accepted_per_position,
    )


def truth_of(counts):
    return counts.num_drafts, counts.num_draft_tokens, counts.num_accepted_tokens, counts.accepted_per_position


def codes(run):
    return {finding.code for finding in run.evaluation.overall.acceptance.findings}


def test_a_thousand_requests_on_a_vllm_server_are_counted_to_the_integer_by_every_source():
    with start(EmbeddedOptions(dialect="vllm", method="draft_model", draft_length=3)) as server:
        run = measure(server, prompts(1000))
        truth = ledger_counts(server, run)
    assert run.evaluation.overall.num_requests == 1000
    assert run.evaluation.overall.num_failed == 0
    assert set(run.evaluation.sources) == {"response", "counters"}
    assert counts_of(run.evaluation.sources["response"]) == truth_of(truth)
    assert counts_of(run.evaluation.sources["counters"]) == truth_of(truth)
    assert run.evaluation.valid


def test_a_thousand_requests_on_an_sglang_server_are_counted_to_the_integer_by_every_source(tmp_path):
    options = EmbeddedOptions(dialect="sglang", method="draft_model", draft_length=3, export_metrics_dir=str(tmp_path))
    with start(options) as server:
        run = measure(server, prompts(1000), request_files=tmp_path)
        truth = ledger_counts(server, run)
    assert run.evaluation.overall.num_failed == 0
    assert counts_of(run.evaluation.sources["response"]) == truth_of(truth)
    assert counts_of(run.evaluation.sources["request_file"]) == truth_of(truth)
    counters = run.evaluation.sources["counters"]
    assert (counters.num_drafts, counters.num_accepted_tokens) == (truth.num_drafts, truth.num_accepted_tokens)
    assert run.evaluation.valid


def test_categories_told_apart_by_counters_add_up_to_the_whole():
    with start(EmbeddedOptions(dialect="vllm", method="ngram", per_request_stats="none")) as server:
        run = measure(server, prompts(40), request=RequestOptions(model="specdec-mini", max_tokens=40, temperature=0.0))
        truth = ledger_counts(server, run)
    evaluation = run.evaluation
    assert evaluation.overall.acceptance.source == "counters"
    assert counts_of(evaluation.overall.acceptance) == truth_of(truth)
    assert sum(part.acceptance.num_drafts for part in evaluation.categories.values()) == truth.num_drafts
    assert list(run.evidence.categories) == CATEGORIES
    assert "steps_without_drafts" in codes(run)


def test_engines_behind_one_server_are_summed_over_their_labels():
    with start(EmbeddedOptions(dialect="vllm", data_parallel_size=2, per_request_stats="none")) as server:
        run = measure(server, prompts(24), by_category=False)
        truth = ledger_counts(server, run)
    assert counts_of(run.evaluation.overall.acceptance) == truth_of(truth)


def test_later_turns_see_the_models_own_answers():
    with start(EmbeddedOptions()) as server:
        run = measure(server, prompts(6, turns=3))
    assert run.evaluation.overall.num_prompts == 6
    assert run.evaluation.overall.num_requests == 18
    by_turn = {(record.question_id, record.turn): record for record in run.evidence.records}
    assert by_turn["q0", 2].prompt_tokens > by_turn["q0", 1].prompt_tokens > by_turn["q0", 0].prompt_tokens


def test_other_users_of_the_server_are_noticed_and_do_not_touch_the_responses():
    with start(EmbeddedOptions()) as server:
        info = detect(server.base_url)
        body = {"model": info.models[0], "messages": [{"role": "user", "content": "foreign"}], "max_tokens": 8}
        rows = prompts(8)
        run = measure_task(
            Workload(name="test", rows=rows),
            Plan(
                base_url=server.base_url,
                metrics_urls=(server.base_url,),
                request=RequestOptions(model=info.models[0], max_tokens=12, temperature=0.0),
                load=LoadOptions(concurrency=1),
            ),
            info,
            headers={},
            hooks=foreign_user(f"{server.base_url}/v1/chat/completions", body),
        )
        truth = ledger_counts(server, run)
    assert counts_of(run.evaluation.overall.acceptance) == truth_of(truth)
    assert {"foreign_traffic", "sources_disagree"} <= codes(run)
    assert run.evaluation.sources["counters"].num_drafts > truth.num_drafts


def foreign_user(url, body):
    """Progress hooks that send more requests than there were warm-ups, from somebody else, after the first of ours."""
    from nemo_skills_specdec.measurement.measure import Hooks

    done = []

    def record(_record):
        if not done:
            done.append(True)
            for _ in range(5):
                requests.post(url, json=body, timeout=30)

    return Hooks(record=record)


def test_a_server_without_metrics_still_gives_the_statistics_of_its_responses():
    with start(EmbeddedOptions(disable_log_stats=True)) as server:
        run = measure(server, prompts(8))
        truth = ledger_counts(server, run)
    assert counts_of(run.evaluation.overall.acceptance) == truth_of(truth)
    assert run.evaluation.valid


def test_a_server_that_says_nothing_is_refused_before_the_prompts_are_sent():
    with start(EmbeddedOptions(disable_log_stats=True, per_request_stats="none")) as server:
        with pytest.raises(ServerError, match=r"no source reports acceptance.*--disable-log-stats"):
            measure(server, prompts(4))
        served = requests.get(f"{server.base_url}/ledger", timeout=30).json()["requests"]
    assert len(served) == LoadOptions().concurrency  # the warm-up


def test_a_metrics_url_that_gives_no_metrics_is_a_mistake_even_if_the_responses_speak():
    with start(EmbeddedOptions()) as server, pytest.raises(ServerError, match="--metrics-url: "):
        measure(server, prompts(4), metrics_urls=(f"{server.base_url}/no/metrics",))


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_without_speculation_acceptance_is_unknown_and_neither_zero_nor_one(dialect):
    with start(EmbeddedOptions(dialect=dialect, method="none")) as server:
        run = measure(server, prompts(4))
    assert run.evaluation.overall.acceptance.acceptance_length is None
    assert msgspec.to_builtins(run.evaluation)["overall"]["acceptance"]["acceptance_rate"] is None
    assert "speculation_off" in codes(run)
    assert run.evaluation.overall.speed.output_tokens_per_second > 0
