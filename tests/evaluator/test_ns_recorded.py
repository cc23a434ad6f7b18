"""Outputs of real `python -m nemo_skills_specdec.evaluator.generation` runs of two eras, against the engine's ledger.

Recorded with NeMo-Skills 8b18f399 (October 2025, litellm 1.77.5) and 8b4a5d34 (February 2026, litellm 1.81.16) on the
embedded engine; `ledger.json` is what the engine itself wrote down about each request.
"""

import json
from pathlib import Path

import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.evaluator.attempts import attempts_of_output
from nemo_skills_specdec.evaluator.job import as_sent
from nemo_skills_specdec.evaluator.rows import read_rows, records_of, responses_of
from nemo_skills_specdec.evaluator.summary import evaluate_seeds
from nemo_skills_specdec.measurement.request_statistics import count_answer
from nemo_skills_specdec.records import RequestRecord

DATA = Path(__file__).parents[1] / "data" / "nemo_skills"
RUNS = ["feb26-vllm", "feb26-sglang", "oct25-vllm", "oct25-sglang"]


def ledger(run):
    told = json.loads((DATA / run / "ledger.json").read_text())
    return {identity: AcceptanceCounts(**_tuple(counts)) for identity, counts in told.items()}


def _tuple(counts):
    return counts | {"accepted_per_position": tuple(counts["accepted_per_position"])}


@pytest.mark.parametrize("run", RUNS)
def test_every_answer_has_the_counts_of_the_ledger(run):
    assert responses_of(read_rows(DATA / run / "output.jsonl")) == ledger(run)


@pytest.mark.parametrize("run", RUNS)
def test_the_result_is_the_sum_over_the_ledger(run):
    output = DATA / run / "output.jsonl"
    records = [record for row in read_rows(output) for record in records_of(row)]
    found = evaluate_seeds("mini", [records], attempts_of_output(output)).overall.acceptance
    whole = total(ledger(run).values())
    assert found.source == "response"
    assert found.num_drafts == whole.num_drafts
    assert found.num_draft_tokens == whole.num_draft_tokens
    assert found.accepted_per_position == whole.accepted_per_position
    assert [finding.code for finding in found.findings if finding.severity != "info"] == ["few_prompts"]


@pytest.mark.parametrize("run", ["feb26-vllm", "oct25-vllm"])
def test_the_counters_of_the_recorded_window_say_the_same(run):
    output = DATA / run / "output.jsonl"
    records = [record for row in read_rows(output) for record in records_of(row)]
    for record in records:
        record.counts = None
    found = evaluate_seeds("mini", [records], attempts_of_output(output)).overall.acceptance
    whole = total(ledger(run).values())
    assert found.source == "counters"
    assert (found.num_drafts, found.num_draft_tokens, found.accepted_per_position) == (
        whole.num_drafts,
        whole.num_draft_tokens,
        whole.accepted_per_position,
    )


@pytest.mark.parametrize("run", RUNS)
def test_turns_are_replayed_and_rows_keep_the_fields_of_nemo_skills(run):
    single, _, multi, _ = read_rows(DATA / run / "output.jsonl")
    assert isinstance(single["generation"], str)
    assert len(multi["generation"]) == len(multi["response_ids"]) == len(multi["requests"]) > 1
    assert multi["num_generated_tokens"] == sum(turn["completion_tokens"] for turn in multi["requests"])
    first, second = multi["requests"][:2]
    # The second prompt holds the first one and its answer.
    assert second["prompt_tokens"] > first["prompt_tokens"] + first["completion_tokens"]
    for row in (single, multi):
        assert row["subset_for_metrics"] == row["category"]
        assert {"generation_start_time", "generation_end_time", "messages", "question_id"} <= set(row)


@pytest.mark.parametrize("version", ["1.77.5", "1.81.16"])
@pytest.mark.parametrize("kind", ["vllm", "sglang-details", "sglang-meta-info"])
def test_statistics_survive_the_client_of_nemo_skills(version, kind):
    told = json.loads((DATA / f"litellm-{version}-{kind}.json").read_text())
    info = ServerInfo(engine="vllm" if kind == "vllm" else "sglang", base_url="http://a", draft_length=3)
    record = RequestRecord(question_id="a", category="x", turn=0)
    assert count_answer(record, as_sent(told), info) is None
    assert record.counts == AcceptanceCounts(
        num_drafts=10, num_draft_tokens=30, num_accepted_tokens=13, accepted_per_position=(6, 5, 2)
    )


def test_a_response_without_statistics_has_no_counts():
    info = ServerInfo(engine="vllm", base_url="http://a")
    record = RequestRecord(question_id="a", category="x", turn=0)
    told = {"id": "x", "choices": [{"message": {"content": "hi"}}], "usage": None}
    assert count_answer(record, as_sent(told), info) is None
    assert record.counts is None
