"""The tools whose formats prepared prompts can be written in, and what they ask for."""

from __future__ import annotations

from typing import Literal, get_args

ExportKind = Literal["vllm", "aiperf", "sglang", "specdec_bench", "speculators", "gym", "prompts"]
EXPORT_KINDS: tuple[ExportKind, ...] = get_args(ExportKind)

WITH_ROLES: frozenset[ExportKind] = frozenset({"gym", "prompts"})
"""Formats that can hold more than messages of the user."""

FIXED_NAMES: frozenset[ExportKind] = frozenset({"vllm", "aiperf"})
"""Formats whose reader knows SPEED-Bench's file names only; other sets go under the name `qualitative`."""

READ_WITH: dict[ExportKind, str] = {
    "vllm": "vllm bench serve --dataset-name speed_bench --dataset-path {folder} --speed-bench-dataset-subset {name} "
    "(with --backend openai-chat also --skip-chat-template)",
    "aiperf": "aiperf profile --custom-dataset-type speed_bench_{name} --input-file {folder}/{name}.jsonl",
    "sglang": "python -m sglang.bench_serving --backend sglang --dataset-name speed-bench "
    "--dataset-path {folder}/{name}.jsonl",
}
"""How the tool is told to read the files."""
