"""The tools whose formats prepared prompts can be written in."""

from __future__ import annotations

from typing import Literal, get_args

ExportKind = Literal["vllm", "aiperf", "sglang", "specdec_bench", "speculators", "gym", "prompts"]
EXPORT_KINDS: tuple[ExportKind, ...] = get_args(ExportKind)
