"""The house of docs/architecture.md: imports only point down its floors, and heavy libraries stay out of the hall."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nemo_skills_specdec

PACKAGE = Path(nemo_skills_specdec.__file__).parent
FLOORS = [
    {"errors"},
    {"acceptance", "redaction", "retry_after", "shown", "files", "option_groups", "plural", "processes", "tls"},
    {"embedded"},
    {"statistics"},
    {"records"},
    {"engines", "client"},
    {"measurement", "prompts", "logs", "trees", "watch", "grafana"},
    {"launch", "compare", "prepare_data", "publish"},
    {"evaluator", "studies", "report"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ENTRANCES = {"", "__main__"}
HEAVY = [
    "numpy",
    "pyarrow",
    "aiohttp",
    "hydra",
    "vl_convert",
    "datasets",
    "torch",
    "tokenizers",
    "jinja2",
    "huggingface_hub",
]


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports_of(path):
    """Rooms of this package that a module imports, anywhere in its text."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "nemo_skills_specdec" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_the_floors(path):
    room = room_of(path)
    if room in ENTRANCES:
        return
    assert room in FLOOR, f"{room} stands on no floor of the design"
    for imported in imports_of(path):
        if imported in {room, "__version__"}:
            continue
        assert imported in FLOOR, f"{imported} stands on no floor of the design"
        assert FLOOR[imported] < FLOOR[room], f"{room} must not import {imported}"


def test_the_plan_of_the_house_names_every_room_on_its_floor():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = [set(line.split()[1:]) for line in page.splitlines() if re.match(r"\d   \w", line)]
    assert drawn == FLOORS[::-1]
    described = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert set(FLOOR) <= described


def test_the_command_line_starts_without_heavy_libraries():
    code = (
        "import sys; from nemo_skills_specdec.cli._commands import COMMANDS, loaded\n"
        "for name in COMMANDS: loaded(name)\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not set(HEAVY) & set(loaded)


def test_only_the_plugin_files_know_nemo_skills():
    knowing = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "nemo_skills" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nemo_skills")
    }
    names = ("generation", "evaluator", "metrics", "shipping", "server_flags")
    assert knowing <= {f"evaluator/{name}.py" for name in names}
