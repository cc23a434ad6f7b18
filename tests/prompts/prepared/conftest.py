from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from prepared_rows import ROWS, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data", ROWS)
