"""Help as it is read in a terminal of 80 columns."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nemo_skills_specdec import __version__
from nemo_skills_specdec.cli._commands import COMMANDS, loaded


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_name_of_an_option_is_cut_off_in_80_columns(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80"},
    ).stdout
    # An option with two spellings is shown with the first of them whole.
    cut = [line for line in shown.splitlines() if "…" in line and "--output-dir,--out" not in line]
    assert cut == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_list_of_commands_says_what_a_command_says_of_itself(command: str) -> None:
    first = (loaded(command).help or "").split("\n\n")[0].replace("\n", " ")
    assert COMMANDS[command].about == first


def test_a_command_loads_no_other_command() -> None:
    code = (
        "import sys; from nemo_skills_specdec.cli import main; sys.argv = ['ns-specdec', 'diff', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*[name for name in sys.modules if name.startswith('nemo_skills_specdec.cli.')], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert {name.rpartition(".")[2] for name in told} & {one.module for one in COMMANDS.values()} == {"diff"}


def test_the_version_is_told_without_loading_the_command_line() -> None:
    code = (
        "import sys; from nemo_skills_specdec.cli import main; sys.argv = ['ns-specdec', '--version']; main()\n"
        "print('typer' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == [__version__, "False"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_is_explained_in_the_pages(command: str) -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = "".join(page.read_text() for page in [*docs.glob("*.md"), docs.parent / "README.md"])
    names = [name for option in loaded(command).params for name in option.opts[:1] if name.startswith("--")]
    assert [name for name in names if not re.search(rf"{name}\b", pages)] == []
