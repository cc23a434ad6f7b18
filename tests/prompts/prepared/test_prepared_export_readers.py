"""Exports read by the released readers of the tools they are for, where a Python that has them is named."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prepared_rows import write

from nemo_skills_specdec.prompts.prepared.export import export
from nemo_skills_specdec.prompts.sets.mini import load_mini
from nemo_skills_specdec.records import Message, PromptRow

pytestmark = pytest.mark.peers

LAST = 'How many? "2"\u2028\t\U0001f600 \x85'

AIPERF = """
import json, sys
from aiperf.dataset.loader.speed_bench import SpeedBenchQualitativeLoader as Loader
path = sys.argv[1]
with open(path) as file:
    assert Loader.can_load(json.loads(file.readline()), path)
read = Loader(filename=path).load_dataset()
print(json.dumps([[turn.text for part in parts for turn in part.turns] for parts in read.values()]))
"""

GUIDELLM = """
import json, sys, types
from pathlib import Path
from guidellm.data.deserializers.file import JSONFileDatasetDeserializer
from guidellm.data.preprocessors.mappers import GenerativeColumnMapper
from guidellm.schemas.data.preprocessors import GenerativeColumnMapperArgs
config = types.SimpleNamespace(path=Path(sys.argv[1]), load_kwargs={"split": "train"})
rows = JSONFileDatasetDeserializer()(config, lambda: None, 0)
mapper = GenerativeColumnMapper(GenerativeColumnMapperArgs())
mapper.setup_data([rows])
print(json.dumps([mapper([{"dataset": row}])[0]["text_column"] for row in rows]))
"""

VLLM = """
import json, sys
from pathlib import Path
from vllm.benchmarks.datasets.datasets import CustomDataset, SpeedBench
path = Path(sys.argv[1])
if path.parent.name == "speed_bench":
    read = SpeedBench(dataset_path=str(path.parent), dataset_subset=path.stem, disable_shuffle=True)
else:
    read = CustomDataset(dataset_path=str(path), disable_shuffle=True)
print(json.dumps([request.prompt for request in read.sample(tokenizer=None, num_requests=-1)]))
"""

SGLANG = """
import argparse, json, sys
from sglang.benchmark.datasets.speed_bench import SpeedBenchDataset
class Letters:
    def encode(self, text):
        return list(text)
with open(sys.argv[1]) as file:
    count = sum(1 for line in file)
arguments = argparse.Namespace(dataset_path=sys.argv[1], num_prompts=count)
print(json.dumps(sorted(row.prompt for row in SpeedBenchDataset.from_args(arguments).load(Letters()))))
"""


def read_by(variable: str, program: str, path: Path) -> Any:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python")
    done = subprocess.run([python, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().split("\n")[-1])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    short = PromptRow(question_id="gsm8k-1", category="math", messages=[Message("user", LAST)])
    return write(tmp_path / "data", [*load_mini(), short], "test")


def test_aiperf_reads_every_turn(data: Path, tmp_path: Path) -> None:
    (path,) = export(data, "aiperf", tmp_path / "out")
    read = read_by("SPECDEC_AIPERF_PYTHON", AIPERF, path)
    assert read == [*[[m.content for m in row.messages] for row in load_mini()], [LAST]]


def test_guidellm_reads_every_first_turn(data: Path, tmp_path: Path) -> None:
    (path,) = export(data, "prompts", tmp_path / "out")
    read = read_by("SPECDEC_GUIDELLM_PYTHON", GUIDELLM, path)
    assert read == [*[[row.messages[0].content] for row in load_mini()], [LAST]]


def first_turns() -> list[str]:
    return [*[row.messages[0].content for row in load_mini()], LAST]


def test_vllm_reads_every_first_turn_as_speed_bench(data: Path, tmp_path: Path) -> None:
    (path,) = export(data, "vllm", tmp_path / "speed_bench")
    assert read_by("SPECDEC_VLLM_PYTHON", VLLM, path) == first_turns()


def test_vllm_reads_every_first_turn_as_a_custom_set(data: Path, tmp_path: Path) -> None:
    (path,) = export(data, "prompts", tmp_path / "out")
    assert read_by("SPECDEC_VLLM_PYTHON", VLLM, path) == first_turns()


def test_sglang_reads_every_first_turn(data: Path, tmp_path: Path) -> None:
    (path,) = export(data, "sglang", tmp_path / "out")
    assert read_by("SPECDEC_SGLANG_PYTHON", SGLANG, path) == sorted(first_turns())
