"""The engines we can read, and the reader of each."""

from __future__ import annotations

from typing import Protocol

from nemo_skills_specdec.engines import llamacpp, sglang, vllm
from nemo_skills_specdec.engines.base import EngineName, MetricsReader, ResponseReader, Samples


class Engine(MetricsReader, ResponseReader, Protocol):
    """Everything one engine's module offers."""


ENGINES: dict[EngineName, Engine] = {"vllm": vllm, "sglang": sglang, "llamacpp": llamacpp}


def recognise_engine(samples: Samples) -> EngineName | None:
    """The engine whose series these are; None for none of them."""
    return next((name for name, engine in ENGINES.items() if engine.recognise(samples)), None)


def response_reader(engine: EngineName | None) -> ResponseReader | None:
    """The reader of an engine's per-request statistics; None for an unknown engine."""
    return ENGINES[engine] if engine is not None else None
