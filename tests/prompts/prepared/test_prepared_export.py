from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prepared_rows import ROWS, row, write

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.prepared.export import export
from nemo_skills_specdec.prompts.rows import read_rows
from nemo_skills_specdec.records import Message, PromptRow


def written(folder: Path, kind: str, out: Path) -> dict[str, list[Any]]:
    paths = export(folder, kind, out)
    return {
        str(path.relative_to(out)): [json.loads(line) for line in path.read_text().split("\n") if line]
        for path in paths
    }


@pytest.mark.parametrize("kind", ["vllm", "aiperf"])
def test_vllm_and_aiperf_read_the_prepared_shape(folder: Path, tmp_path: Path, kind: str) -> None:
    assert written(folder, kind, tmp_path / "out")["qualitative.jsonl"][1] == {
        "question_id": "0" * 31 + "2",
        "category": "rag",
        "sub_category": None,
        "source": "s",
        "src_id": "s_2",
        "difficulty": None,
        "multiturn": True,
        "messages": [{"role": "user", "content": "two"}, {"role": "user", "content": "and two"}],
    }


def test_sglang_reads_a_list_of_turns(folder: Path, tmp_path: Path) -> None:
    rows = written(folder, "sglang", tmp_path / "out")["prompts.jsonl"]
    assert [(value["turns"], value["category"]) for value in rows] == [
        (["one “quoted” </b>"], "qa"),
        (["two", "and two"], "rag"),
        (["three"], "qa"),
    ]
    assert "messages" not in rows[0]


def test_specdec_bench_reads_parquet_with_all_columns(folder: Path, tmp_path: Path) -> None:
    (path,) = export(folder, "specdec_bench", tmp_path / "out")
    assert path == tmp_path / "out/speed/prompts/test.parquet"
    table = pq.read_table(path)
    columns = ["question_id", "category", "sub_category", "turns", "source", "src_id", "difficulty", "multiturn"]
    assert table.column_names == columns
    assert table.column("turns").to_pylist()[1] == ["two", "and two"]


def test_speculators_reads_one_file_per_category(folder: Path, tmp_path: Path) -> None:
    assert written(folder, "speculators", tmp_path / "out") == {
        "prompts_qa.jsonl": [{"turns": "one “quoted” </b>"}, {"turns": "three"}],
        "prompts_rag.jsonl": [{"turns": "two"}],
    }


def test_speculators_splits_throughput_configs_by_sub_category_too(tmp_path: Path) -> None:
    data = write(tmp_path / "data", ROWS, "throughput_1k")
    assert set(written(data, "speculators", tmp_path / "out")) == {
        "throughput_1k_qa__a_b_c.jsonl",
        "throughput_1k_qa__unknown.jsonl",
        "throughput_1k_rag__unknown.jsonl",
    }


def test_gym_reads_its_own_shape(folder: Path, tmp_path: Path) -> None:
    rows = written(folder, "gym", tmp_path / "out")["speed_bench_prompts_benchmark.jsonl"]
    assert rows[1] == {
        "responses_create_params": {
            "input": [{"role": "user", "content": "two"}, {"role": "user", "content": "and two"}]
        },
        "verifier_metadata": {
            "src_id": "s_2",
            "source": "s",
            "speed_config": "prompts",
            "num_turns": 2,
            "sub_category": None,
        },
    }


def test_prompts_are_plain_and_read_back_with_their_turns(folder: Path, tmp_path: Path) -> None:
    rows = written(folder, "prompts", tmp_path / "out")["prompts.jsonl"]
    assert rows[0] == {"id": "0" * 31 + "1", "category": "qa", "prompt": "one “quoted” </b>"}
    assert rows[1]["turns"] == ["two", "and two"]
    back = read_rows(tmp_path / "out/prompts.jsonl").rows
    assert [(entry.question_id, entry.category, entry.messages) for entry in back] == [
        (entry.question_id, entry.category, entry.messages) for entry in ROWS
    ]


def test_only_the_files_asked_for_are_exported(folder: Path, tmp_path: Path) -> None:
    write(folder, ROWS, "more")
    assert export(folder, "sglang", tmp_path / "out", ["more"]) == [tmp_path / "out/more.jsonl"]


def test_names_of_speed_bench_are_kept_for_vllm_and_one_other_file_gets_such_a_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("test", "throughput_2k", "more"):
        write(data, ROWS, name)
    assert export(data, "vllm", tmp_path / "out", ["throughput_2k", "test"]) == [
        tmp_path / "out/throughput_2k.jsonl",
        tmp_path / "out/qualitative.jsonl",
    ]
    with pytest.raises(UsageError, match="one other file fits; name it with --config"):
        export(data, "vllm", tmp_path / "out")


def conversation(tmp_path: Path) -> Path:
    messages = [Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v")]
    return write(tmp_path / "data", [PromptRow(question_id="1", category="c", messages=messages)])


@pytest.mark.parametrize("kind", ["vllm", "aiperf", "sglang", "specdec_bench", "speculators"])
def test_a_format_of_user_turns_is_not_given_other_roles(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="row 1 has a message of the system, which"):
        export(conversation(tmp_path), kind, tmp_path / "out")


def test_a_format_with_roles_keeps_them_and_the_count_of_turns(tmp_path: Path) -> None:
    (plain,) = written(conversation(tmp_path), "prompts", tmp_path / "plain")["prompts.jsonl"]
    assert [message["role"] for message in plain["messages"]] == ["system", "user", "assistant", "user"]
    (gym,) = written(conversation(tmp_path), "gym", tmp_path / "gym")["speed_bench_prompts_benchmark.jsonl"]
    assert [message["role"] for message in gym["responses_create_params"]["input"]][2] == "assistant"
    assert gym["verifier_metadata"]["num_turns"] == 1


def test_a_placeholder_is_not_passed_on(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [row(1, "FULL BENCHMARK DATA SHOULD BE elsewhere")])
    with pytest.raises(DataError, match="holds a placeholder"):
        export(data, "vllm", tmp_path / "out")


def test_the_prepared_folder_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(UsageError, match="holds the prepared data itself"):
        export(folder, "sglang", folder)


def test_an_unknown_kind_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot export to 'x'; choose one of: vllm, aiperf, sglang"):
        export(folder, "x", tmp_path / "out")


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match="prepare one with: ns-specdec prepare"):
        export(tmp_path / "data", "vllm", tmp_path / "out")


def test_a_file_that_is_not_there_lists_those_that_are(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no qualitative.jsonl; it has: prompts"):
        export(folder, "vllm", tmp_path / "out", ["qualitative"])


def test_exported_data_is_kept_out_of_git(folder: Path, tmp_path: Path) -> None:
    export(folder, "vllm", tmp_path / "out")
    assert (tmp_path / "out/.gitignore").exists()
