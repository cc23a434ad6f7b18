"""The files of docs/prompt-sets.md's table of tools: one reading by every road."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nemo_skills_specdec.prompts.load import load_prompts, load_with_findings
from nemo_skills_specdec.prompts.preparation import PrepareOptions, prepare
from nemo_skills_specdec.prompts.prepared.rows import stored_rows
from nemo_skills_specdec.records import PromptRow
from nemo_skills_specdec.studies.config import Benchmark
from nemo_skills_specdec.studies.prompts import load_rows

ROOT = Path(__file__).parents[3]
FILES = ROOT / "tests" / "data" / "prompts"
RIVER, LAKE, MOUTH = "user: Name a river.", "user: Name a lake.", "user: And its mouth?"
WORD = "Answer in one word."

EXPECTED: dict[str, list[list[str]]] = {
    "guidellm.csv": [["user: Name a river, and its mouth."], [f"system: {WORD}", LAKE]],
    "aiperf_single_turn.jsonl": [[RIVER], ["user: Which of these is a lake?\nGarda, Elbe"]],
    "aiperf_multi_turn.jsonl": [[RIVER, MOUTH], [LAKE]],
    "vllm_custom.jsonl": [[RIVER], [LAKE]],
    "vllm_sharegpt.json": [[RIVER, "assistant: The Elbe.", MOUTH], [LAKE]],
    "vllm_hf.parquet": [["user: Sort these rivers by length.\n\nElbe, Nile"], [LAKE]],
    "sglang_custom.jsonl": [[RIVER], [LAKE]],
    "specforge.jsonl": [[f"system: {WORD}", RIVER], [LAKE]],
    "nemo_gym.jsonl": [[f"developer: {WORD}", RIVER], [LAKE]],
    "openai_batch.jsonl": [[f"system: {WORD}", RIVER], [LAKE]],
}


def said(rows: list[PromptRow]) -> list[list[str]]:
    return [[f"{message.role}: {message.content}" for message in row.messages] for row in rows]


def test_every_file_is_expected_and_stands_in_the_table() -> None:
    assert {path.name for path in FILES.iterdir()} == set(EXPECTED)
    page = (ROOT / "docs" / "prompt-sets.md").read_text(encoding="utf-8")
    assert set(re.findall(r"tests/data/prompts/([\w.]+)", page)) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_prepare_eval_and_python_send_the_same_prompts(name: str, tmp_path: Path) -> None:
    path = FILES / name
    (result,) = prepare(PrepareOptions(name=str(path), output_dir=tmp_path))
    assert result.ok
    assert said(list(stored_rows(tmp_path / "test.jsonl"))) == EXPECTED[name]
    assert said(load_prompts(path)) == said(load_prompts(str(path))) == EXPECTED[name]
    assert said(load_rows(Benchmark(prompts=str(path)))) == EXPECTED[name]


def test_what_is_left_out_of_a_tools_file_is_said() -> None:
    codes = {name: {f.code for f in load_with_findings(FILES / name).findings} for name in EXPECTED}
    assert {name: found for name, found in codes.items() if found} == {
        "vllm_sharegpt.json": {"conversations_left_out", "answers_left_out"},
        "sglang_custom.jsonl": {"answers_left_out"},
        "specforge.jsonl": {"answers_left_out"},
        "nemo_gym.jsonl": {"row_settings_ignored"},
        "openai_batch.jsonl": {"row_settings_ignored"},
    }


def test_the_command_line_sends_what_the_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nemo_skills_specdec.cli import app

    arguments = ["eval", "--prompts", str(FILES / "vllm_sharegpt.json"), "--max-tokens", "4"]
    app([*arguments, "--output-dir", str(tmp_path / "run"), "--json"], standalone_mode=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "output.jsonl").read_text().splitlines()]
    sent = [[f"{m['role']}: {m['content']}" for m in row["messages"]] for row in rows]
    assert sent == EXPECTED["vllm_sharegpt.json"]
    assert "conversations_left_out" in capsys.readouterr().out
