from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "hub"))

from invented import SHA, UPSTREAM_FILE, Invented, WordEncoder
from standin_hub import StandIn, running

from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.patience import Patience
from nemo_skills_specdec.prompts.speed_bench.prepare import Options


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "upstream: runs the upstream scripts, which the environment names (upstream.py)")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StandIn]:
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def plain_host(tmp_path: Path) -> Iterator[StandIn]:
    with running(tmp_path / "plain") as server:
        yield server


@pytest.fixture
def invented(hub: StandIn, plain_host: StandIn) -> Invented:
    return Invented(hub, plain_host)


@pytest.fixture
def wording(tmp_path: Path) -> Path:
    path = tmp_path / "upstream.py"
    path.write_text(UPSTREAM_FILE)
    return path


@pytest.fixture
def fetcher(invented: Invented) -> Fetcher:
    return Fetcher(
        endpoint=invented.hub.url,
        token="good",
        hosts=[invented.plain.host],
        patience=Patience(sleep=lambda _: None, attempts=3),
    )


@pytest.fixture
def options(tmp_path: Path, wording: Path) -> Options:
    return Options(
        configs=("qualitative",),
        folder=tmp_path / "data",
        revision=SHA,
        texts_from=wording,
        allow_unknown_texts=True,
        encoder=WordEncoder(),
    )


@pytest.fixture
def prepared(fetcher, tmp_path):
    from nemo_skills_specdec.prompts.hub.cache import Cache
    from nemo_skills_specdec.prompts.speed_bench.prepare import prepare

    return lambda options: prepare(options, fetcher, Cache(tmp_path / "cache"), lambda line: None)
