"""The metrics and evaluator classes, as NeMo-Skills calls them."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.evaluator import evaluator, metrics
from nemo_skills_specdec.evaluator.evaluator import evaluate_specdec
from nemo_skills_specdec.evaluator.rows import read_rows, records_of, responses_of, write_rows

DATA = Path(__file__).parents[1] / "data" / "nemo_skills"

pytestmark = pytest.mark.usefixtures("nemo_skills")


def fed(*files, setup=True):
    """A metrics object that has seen these seeds as NeMo-Skills shows them."""
    made = metrics.SpecdecMetrics()
    made.reset()
    if setup:
        made.setup([str(file) for file in files])
    for predictions in zip(*(read_rows(file) for file in files), strict=True):
        made.update(list(predictions))
    return made


def total_of(run):
    counts = json.loads((DATA / run / "ledger.json").read_text()).values()
    return {key: sum(item[key] for item in counts) for key in ("num_drafts", "num_draft_tokens", "num_accepted_tokens")}


@pytest.mark.parametrize("run", ["feb26-vllm", "oct25-sglang"])
def test_one_run_gives_pass_at_1_with_the_sums_of_the_ledger(run):
    made = fed(DATA / run / "output.jsonl")
    (mode, line), *others = made.get_metrics().items()
    ledger = total_of(run)
    assert (mode, others) == ("pass@1", [])
    assert line["spec_num_drafts"] == ledger["num_drafts"]
    assert line["spec_acceptance_length"] == 1 + ledger["num_accepted_tokens"] / ledger["num_drafts"]
    assert line["spec_acceptance_rate"] == 100 * ledger["num_accepted_tokens"] / ledger["num_draft_tokens"]
    assert line["spec_source"] == "response"
    json.dumps(line)


def test_the_line_is_printed_as_users_know_it():
    made = fed(DATA / "feb26-vllm" / "output.jsonl")
    line = made.get_metrics()["pass@1"]
    shown = {name: show(name, line[name], line) for name, show in made.metrics_to_print().items() if name in line}
    assert list(shown)[:5] == [
        "num_entries",
        "avg_tokens",
        "gen_seconds",
        "spec_acceptance_length",
        "spec_acceptance_rate",
    ]
    assert (shown["num_entries"], shown["spec_acceptance_length"], shown["spec_acceptance_rate"]) == (
        "4",
        "2.88",
        "62.50",
    )
    assert shown["spec_conditional_rates"] == "75.0 83.3 80.0"
    assert shown["spec_source"] == "response"


def test_seeds_give_one_line_of_their_sums(tmp_path):
    files = []
    for number, run in enumerate(["feb26-vllm", "oct25-vllm"]):
        files.append(tmp_path / f"output-rs{number}.jsonl")
        shutil.copy(DATA / run / "output.jsonl", files[-1])
    ((mode, line),) = fed(*files).get_metrics().items()
    assert mode == "pass@1[avg-of-2]"
    assert line["spec_num_drafts"] == total_of("feb26-vllm")["num_drafts"] + total_of("oct25-vllm")["num_drafts"]
    assert line["spec_acceptance_length_statistics"]["std_dev_across_runs"] == 0.0


def test_a_category_needs_no_setup():
    line = fed(DATA / "feb26-vllm" / "output.jsonl", setup=False).get_metrics()["pass@1"]
    assert line["spec_acceptance_length"] == 2.875
    assert "spec_al_category_macro" not in line


def test_nothing_seen_gives_no_line():
    assert fed().get_metrics() == {}


def stripped(tmp_path):
    """An output whose answers came without counts, and an SGLang file that has them."""
    rows = read_rows(DATA / "oct25-sglang" / "output.jsonl")
    known = responses_of(rows)
    for row in rows:
        for turn in row["requests"]:
            turn["counts"] = turn["counts_source"] = None
        for name in ("num_drafts", "draft_tokens", "accepted_tokens", "acceptance_length", "acceptance_rate"):
            row.pop(name)
    write_rows(tmp_path / "output.jsonl", rows)
    lines = [
        {
            "id": identity,
            "completion_tokens": 20,
            "spec_verify_ct": counts.num_drafts,
            "spec_accept_token_num": counts.num_accepted_tokens,
            "spec_draft_token_num": counts.num_draft_tokens,
        }
        for identity, counts in known.items()
    ]
    files = tmp_path / "files"
    files.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (files / "sglang-request-metrics-20260101_10.log").write_text('{"torn\n' + text)
    return tmp_path / "output.jsonl", files, known


def test_the_evaluator_function_joins_request_files_that_became_readable_later(tmp_path):
    output, files, known = stripped(tmp_path)
    evaluate_specdec({"input_file": str(output), "request_metrics_dir": str(files), "split": "test"})
    found = responses_of(read_rows(output))
    assert {k: v.num_drafts for k, v in found.items()} == {k: v.num_drafts for k, v in known.items()}
    first = read_rows(output)[0]
    assert first["num_drafts"] == known[first["response_ids"][0]].num_drafts


def test_the_evaluator_class_gives_the_fields_of_one_row(tmp_path):
    output, files, known = stripped(tmp_path)
    made = evaluator.SpecdecEvaluator({"request_metrics_dir": str(files)})
    row = read_rows(output)[0]
    fields = asyncio.run(made.eval_single(row))
    assert fields["num_drafts"] == known[row["response_ids"][0]].num_drafts
    assert "generation" not in fields


def test_the_evaluator_class_stamps_a_whole_file(tmp_path):
    output, files, _ = stripped(tmp_path)
    made = evaluator.SpecdecEvaluator({"input_file": str(output), "request_metrics_dir": str(files)})
    asyncio.run(made.eval_full())
    assert all(record.counts is not None for row in read_rows(output) for record in records_of(row))


def test_an_evaluator_without_a_file_or_with_foreign_rows_says_so(tmp_path):
    with pytest.raises(UsageError, match="no input_file"):
        evaluate_specdec({})
    path = tmp_path / "output.jsonl"
    path.write_text('{"generation": "x"}\n')
    with pytest.raises(DataError, match="was not written by the generation task"):
        evaluate_specdec({"input_file": str(path)})
    with pytest.raises(UsageError, match="is not a folder"):
        evaluate_specdec({"input_file": str(path), "request_metrics_dir": str(tmp_path / "none")})


def test_names_that_are_not_there_are_told_as_python_does():
    for module in (metrics, evaluator):
        with pytest.raises(AttributeError, match="has no attribute 'Other'"):
            _ = module.Other
