"""Help as it is read in a terminal of 80 columns."""

import os
import subprocess
import sys

import pytest

from nemo_skills_specdec.cli import app

COMMANDS = sorted(command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands)


@pytest.mark.parametrize("command", COMMANDS)
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
