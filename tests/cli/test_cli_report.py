"""`ns-specdec report`, and the reports that measuring commands end with."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]
SMALL = ["--limit-per-category", "1", "--category", "coding", "--category", "math", "--max-tokens", "8"]


def ns_specdec(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    run = tmp_path_factory.mktemp("report") / "run"
    return run, ns_specdec("eval", *SMALL, "--output-dir", run)


def test_eval_ends_with_the_path_of_its_report(measured):
    run, done = measured
    assert done.stderr.splitlines()[-1] == f"report: {run / 'report.html'}"
    assert (run / "report.html").stat().st_size > 500_000


def test_a_quiet_eval_prints_its_result_alone(tmp_path):
    done = ns_specdec("eval", "--quiet", *SMALL, "--output-dir", tmp_path / "run")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("category")
    assert (tmp_path / "run" / "report.html").exists()


def test_report_says_where_the_file_is(measured, tmp_path):
    done = ns_specdec("report", measured[0], "--output-dir", tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'report.html'}\n")


def test_open_shows_the_file_in_the_browser(measured, tmp_path):
    seen = tmp_path / "seen"
    browser = tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    ns_specdec("report", measured[0], "--output-dir", tmp_path, "--open", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert seen.read_text().strip() == str(tmp_path / "report.html")


def test_a_folder_without_runs_is_one_line_and_exit_code_2(tmp_path):
    done = ns_specdec("report", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is neither a run nor a study" in done.stderr


def test_a_report_that_cannot_be_made_costs_a_run_nothing(tmp_path):
    run = tmp_path / "run"
    (run / "report.html").mkdir(parents=True)
    (run / "report.html" / "in-the-way").touch()
    done = ns_specdec("eval", *SMALL, "--output-dir", run)
    assert done.returncode == 0
    assert "no report could be made (cannot write" in " ".join(done.stderr.split())
    assert (run / "metrics.json").exists()


def test_without_a_terminal_progress_is_plain_lines(measured):
    _, done = measured
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def in_a_terminal(*arguments, **environment):
    """What a command writes to a terminal of 80 columns."""
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", **environment}
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stdin=end, stdout=end, stderr=end, env=environment) as run:
        os.close(end)
        written = b""
        with contextlib.suppress(OSError):
            while piece := os.read(main, 65536):
                written += piece
        os.close(main)
        run.wait(timeout=60)
    return written.decode()


def test_a_terminal_shows_a_view_of_the_run_and_takes_it_away_in_the_end(tmp_path):
    text = in_a_terminal("eval", *SMALL, "--output-dir", tmp_path / "run")
    assert "in flight" in text
    assert "\x1b[?25h" in text, "the cursor is shown again"
    assert "report.html" in text.splitlines()[-1] or "report.html" in "".join(text.splitlines()[-3:])


def test_no_color_is_obeyed_in_a_terminal(tmp_path):
    text = in_a_terminal("eval", *SMALL, "--output-dir", tmp_path / "run", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)


def test_a_dumb_terminal_gets_lines(tmp_path):
    text = in_a_terminal("eval", *SMALL, "--output-dir", tmp_path / "run", TERM="dumb")
    assert "\x1b" not in text
