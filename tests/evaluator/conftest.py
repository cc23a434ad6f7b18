from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import standin_nemo_skills

from nemo_skills_specdec.embedded.launch import RunningEmbedded, start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.evaluator import evaluator, generation, metrics


@pytest.fixture
def nemo_skills(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A NeMo-Skills to import; classes built on it are forgotten afterwards."""
    standin_nemo_skills.install(monkeypatch)
    builders = (generation.task_class, metrics._metrics_class, evaluator._evaluator_class)
    for builder in builders:
        builder.cache_clear()
    yield
    for builder in builders:
        builder.cache_clear()


@pytest.fixture(scope="session")
def vllm() -> Iterator[RunningEmbedded]:
    with start(EmbeddedOptions(dialect="vllm")) as server:
        yield server


@pytest.fixture(scope="session")
def vllm_counters() -> Iterator[RunningEmbedded]:
    """A server whose responses tell nothing."""
    with start(EmbeddedOptions(dialect="vllm", per_request_stats="none")) as server:
        yield server


@pytest.fixture(scope="session")
def sglang() -> Iterator[RunningEmbedded]:
    with start(EmbeddedOptions(dialect="sglang")) as server:
        yield server
