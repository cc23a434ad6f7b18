"""Choices that several commands offer."""

from __future__ import annotations

from typing import Literal

ServerType = Literal["vllm", "sglang", "llamacpp", "trtllm"]
"""Engines that can be read; the keys of `engines.registry.ENGINES`."""
