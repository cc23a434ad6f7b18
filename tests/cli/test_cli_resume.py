"""A run that is killed or interrupted loses nothing that was answered, and goes on where it stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests

from nemo_skills_specdec.acceptance import counts_from_steps, total
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.measurement.run import load_run

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()", "eval"]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    rows = [
        {"id": f"q{i}", "category": "abc"[i % 3], "turns": [f"Tell me about number {i}.", "And more?"][: 1 + i % 2]}
        for i in range(120)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def options(server, prompts, folder):
    return [
        *("--server-url", server.base_url, "--prompts", str(prompts), "--max-tokens", "12"),
        *("--concurrency", "8", "--warmup", "2", "--output-dir", str(folder)),
    ]


def killed_after(answers, server, prompts, folder, kind):
    """Starts a run, and stops it once so many answers are on disk."""
    run = subprocess.Popen([*COMMAND, *options(server, prompts, folder)], stderr=subprocess.DEVNULL)
    log = folder / "answers.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") >= answers):
        time.sleep(0.01)
    run.send_signal(kind)
    run.wait(timeout=60)
    return run.returncode


def ledger(server, ids):
    steps = {r["request_id"]: r for r in requests.get(f"{server.base_url}/ledger", timeout=30).json()["requests"]}
    return total(counts_from_steps(steps[one]["accepted"], steps[one]["drafted"]) for one in ids)


def test_a_killed_run_keeps_its_answers_and_resumes_to_every_request_exactly_once(tmp_path, prompts):
    folder = tmp_path / "run"
    with start(EmbeddedOptions()) as server:
        assert killed_after(40, server, prompts, folder, signal.SIGKILL) == -signal.SIGKILL
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["status"] == "running"
        assert not (folder / "metrics.json").exists()
        with (folder / "answers.jsonl").open("ab") as log:
            log.write(b'{"question_id": "q7", "torn')
        done = subprocess.run([*COMMAND, "--resume", str(folder), "--json"], capture_output=True, text=True, check=True)
        run = load_run(folder)
        truth = ledger(server, [record.response_id for record in run.records])
    assert "prompts already complete" in done.stderr
    assert [row.question_id for row in run.rows] == [f"q{i}" for i in range(120)]
    assert len({(record.question_id, record.turn) for record in run.records}) == len(run.records) == 180
    assert all(record.generation for record in run.records)
    found = json.loads(done.stdout)["overall"]["acceptance"]
    assert (found["num_drafts"], found["num_accepted_tokens"]) == (truth.num_drafts, truth.num_accepted_tokens)
    codes = {finding["code"] for finding in found["findings"]}
    assert {"attempt_cut_off", "torn_line_dropped"} <= codes
    assert not codes & {"foreign_traffic", "requests_missing"}
    assert run.recompute() == run.evaluation
    assert [attempt.closed_late for attempt in run.manifest.attempts] == [True, False]


def test_the_same_command_again_resumes_an_interrupted_run(tmp_path, prompts):
    folder = tmp_path / "run"
    with start(EmbeddedOptions()) as server:
        assert killed_after(30, server, prompts, folder, signal.SIGTERM) == 130
        assert load_run(folder).evaluation.status == "interrupted"
        before = {record.response_id for record in load_run(folder).records if record.error is None}
        subprocess.run([*COMMAND, *options(server, prompts, folder)], capture_output=True, check=True)
        run = load_run(folder)
    assert run.evaluation.status == "complete"
    assert len(before & {record.response_id for record in run.records}) >= 20
    assert run.recompute() == run.evaluation


def test_a_complete_run_and_one_with_other_options_are_not_resumed(tmp_path, prompts):
    folder = tmp_path / "run"
    with start(EmbeddedOptions()) as server:
        killed_after(30, server, prompts, folder, signal.SIGKILL)
        other = subprocess.run(
            [*COMMAND, *options(server, prompts, folder), "--max-tokens", "13"], capture_output=True, text=True
        )
        subprocess.run([*COMMAND, "--resume", str(folder)], capture_output=True, check=True)
        complete = subprocess.run([*COMMAND, "--resume", str(folder)], capture_output=True, text=True)
    assert other.returncode == complete.returncode == 2
    assert "holds an unfinished run with other options" in other.stderr
    assert "holds no unfinished run" in complete.stderr


def test_two_runs_into_one_directory_the_second_is_refused(tmp_path, prompts):
    folder = tmp_path / "run"
    with start(EmbeddedOptions()) as server:
        first = subprocess.Popen([*COMMAND, *options(server, prompts, folder)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (folder / "answers.jsonl").exists():
            time.sleep(0.01)
        second = subprocess.run([*COMMAND, *options(server, prompts, folder)], capture_output=True, text=True)
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert second.returncode == 2
    assert "is in use by another run" in second.stderr
    assert os.listdir(folder)
