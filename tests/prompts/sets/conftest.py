from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "hub"))

from standin_hub import StandIn, running

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.patience import Patience


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StandIn]:
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def access(hub: StandIn, tmp_path: Path) -> Access:
    return Access(
        Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None, attempts=2)), Cache(tmp_path / "cache")
    )


@pytest.fixture
def unreachable(tmp_path: Path) -> Access:
    return Access(Fetcher(endpoint="http://127.0.0.1:9", offline=True), Cache(tmp_path / "cache"))
