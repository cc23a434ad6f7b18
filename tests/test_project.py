"""Promises of the project's own files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("ns-specdec eval")
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    "arguments", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["codespell_lib"]]
)
def test_the_code_is_clean(arguments):
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert {"index", "metrics", "api"} <= pages
    assert [page for page in pages - {"index"} if not (tmp_path / page / "index.html").exists()] == []
    assert "acceptance_length" in (tmp_path / "api" / "index.html").read_text()


def test_every_local_link_in_the_documents_leads_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if not target.startswith(("http://", "https://")) and not (page.parent / target).exists()
    ]
    assert broken == []


def test_no_file_knows_a_path_of_a_developers_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    known = re.compile(rb"/(?:home|root|work|Users)/[A-Za-z.]")
    found = [
        name for name in tracked if not name.startswith(("tests/", ".ci/")) and known.search((ROOT / name).read_bytes())
    ]
    assert found == []


def test_every_finding_is_documented():
    sources = "".join(path.read_text() for path in (ROOT / "nemo_skills_specdec").rglob("*.py"))
    codes = set(re.findall(r'code="([a-z_]+)"', sources)) | set(re.findall(r'_nothing\(\w+, "([a-z_]+)"', sources))
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "metrics.md").read_text()))
    assert len(codes) > 40
    assert codes - documented == set()
