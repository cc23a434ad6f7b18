from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from standin_hub import StandIn, running


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StandIn]:
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def plain_host(tmp_path: Path) -> Iterator[StandIn]:
    with running(tmp_path / "plain") as server:
        yield server
