"""The fault matrix of the docs is the one that the tests prove."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_the_page_is_made_of_the_marks_of_the_tests(tmp_path):
    page = tmp_path / "reliability.md"
    page.write_text(PAGE.read_text())
    marked = sorted(str(path) for path in TESTS.rglob("test_*.py") if "fault(" in path.read_text())
    options = ["--collect-only", "-q", "-p", "no:xdist", "--fault-matrix", str(page)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *marked], cwd=TESTS.parent, capture_output=True, text=True
    )
    assert "error" not in done.stdout.lower(), done.stdout
    assert page.read_text() == PAGE.read_text(), "run: pytest tests --collect-only --fault-matrix docs/reliability.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) - rows.count("| fault | what you see | exit code | what is kept |") >= 150
