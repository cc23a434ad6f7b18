"""A study that is killed or interrupted goes on with the run that it was in."""

import json
import signal
import subprocess
import sys
import time

import pytest
from reliability.faults import fault, prompt_file
from reliability.stand_in import StandIn, plain, serving

from nemo_skills_specdec.measurement.run import load_run

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]


def slow(handler, body, number):
    time.sleep(0.05)
    plain(handler, body, number)


def options(url, folder):
    return [
        *("sweep", "--server-url", url, "--prompts", str(folder / "prompts.jsonl"), "--concurrency", "2,4"),
        *("--output-dir", str(folder / "study")),
    ]


def stopped_within(run, folder, kind, answers=10):
    """Stops a study once so many answers of its first run are on disk."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and run.poll() is None:
        logs = list(folder.glob("study/runs/*/answers.jsonl"))
        if logs and logs[0].read_bytes().count(b"\n") >= answers:
            break
        time.sleep(0.01)
    run.send_signal(kind)
    return run.wait(timeout=60)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        pytest.param(
            signal.SIGKILL,
            -9,
            marks=fault(
                6,
                "`kill -9` in a run of a study, then the same command",
                "it says which run it resumes; every request once",
                0,
                "all answers of the run that was cut off",
            ),
        ),
        pytest.param(
            signal.SIGHUP,
            130,
            marks=fault(
                6,
                "the terminal of a study closes (SIGHUP), then the same command",
                "it says which run it resumes; every request once",
                0,
                "all answers of the run that was cut off",
            ),
        ),
    ],
    ids=["SIGKILL", "SIGHUP"],
)
def test_a_study_that_was_stopped_goes_on_inside_its_unfinished_run(tmp_path, kind, code):
    prompt_file(tmp_path, 60)
    state = StandIn(slow)
    with serving(state) as url:
        first = subprocess.Popen([*COMMAND, *options(url, tmp_path)], stderr=subprocess.PIPE, text=True)
        assert stopped_within(first, tmp_path, kind) == code
        asked = state.asked
        again = subprocess.run([*COMMAND, *options(url, tmp_path)], capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "resuming " in again.stderr
    folders = sorted(tmp_path.glob("study/runs/*"))
    assert len(folders) == 2
    for folder in folders:
        rows = [json.loads(line)["question_id"] for line in (folder / "output.jsonl").read_text().splitlines()]
        assert rows == [f"q{i}" for i in range(60)]
    # What had been answered was not sent again: at most those in flight and the last quarter of a second were.
    assert 10 <= asked < 60
    assert state.asked <= 120 + 2 + 12


@fault(
    6,
    "`kill -9` in a run whose server is started anew with it, then the same command",
    "`window_not_closed`; acceptance of each answer once",
    0,
    "every answer that was a second old",
)
def test_a_run_with_a_server_of_its_own_goes_on_with_another_one(tmp_path):
    prompt_file(tmp_path, 60)
    command = [*COMMAND, "eval", "--prompts", "prompts.jsonl", "--max-tokens", "32", "--concurrency", "2"]
    command += ["--output-dir", "run"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    log = tmp_path / "run" / "answers.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") >= 5):
        time.sleep(0.01)
    first.kill()
    first.wait()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "run")
    assert [row.question_id for row in run.rows] == [f"q{i}" for i in range(60)]
    findings = {finding.code: finding.severity for finding in run.evaluation.overall.acceptance.findings}
    assert findings["window_not_closed"] == "warning"
    assert not {"requests_missing", "foreign_traffic", "process_restarted", "sources_disagree"} & set(findings)
    assert run.recompute() == run.evaluation
