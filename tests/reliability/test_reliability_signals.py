"""Signals and limits of the system: what was measured is kept, whatever ends the program."""

import json
import resource
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from reliability.faults import answers_of, evaluate, fault, findings_of, prompt_file
from reliability.stand_in import StandIn, exposition, plain, serving

from nemo_skills_specdec.measurement.run import load_run

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()", "eval"]


def slow(handler, body, number):
    time.sleep(0.1)
    plain(handler, body, number)


def begun(folder, url, *options):
    given = ("--prompts", str(folder / "prompts.jsonl"), "--concurrency", "4", "--warmup", "1", "--output-dir", "run")
    command = [*COMMAND, "--server-url", url, *given, *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            getattr(signal, name),
            marks=fault(6, f"{how} while requests are answered", "`interrupted`", 130, "the answers so far"),
            id=name,
        )
        for name, how in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "the terminal closes (SIGHUP)"))
    ],
)
def test_a_run_that_is_stopped_keeps_its_answers(tmp_path, kind):
    prompt_file(tmp_path, 60)
    with serving(StandIn(slow)) as url:
        process = begun(tmp_path, url)
        wait_for(lambda: lines_in(tmp_path / "run" / "answers.jsonl") >= 8, process)
        process.send_signal(kind)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in findings_of(tmp_path / "run")
    assert 8 <= answers_of(tmp_path / "run") < 60


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            getattr(signal, name),
            marks=fault(6, f"{how} while the window settles", "the whole result", 0, "all answers"),
            id=name,
        )
        for name, how in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "the terminal closes (SIGHUP)"))
    ],
)
def test_a_run_whose_answers_are_all_there_is_concluded(tmp_path, kind):
    prompt_file(tmp_path, 8)
    state = StandIn()
    # A server that goes on counting keeps the window open for five seconds.
    state.text = busy_after(8)
    with serving(state) as url:
        process = begun(tmp_path, url)
        wait_for(lambda: state.answered >= 9, process)
        time.sleep(0.6)
        process.send_signal(kind)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert load_run(tmp_path / "run").evaluation.status == "complete"
    assert answers_of(tmp_path / "run") == 8


def busy_after(answers):
    """Metrics that say that a request still runs, once all have been answered."""

    def text(state):
        told = exposition(state)
        running = 'num_requests_running{engine="0",model_name="m"} '
        return told.replace(f"{running}0", f"{running}1") if state.answered > answers else told

    return text


@fault(6, "Ctrl-C twice", "`interrupted`", 130, "every answer that was a second old; `--resume` goes on")
def test_a_second_interrupt_loses_no_answer(tmp_path):
    prompt_file(tmp_path, 60)
    state = StandIn(slow)
    state.text = busy_after(8)
    with serving(state) as url:
        process = begun(tmp_path, url)
        wait_for(lambda: lines_in(tmp_path / "run" / "answers.jsonl") >= 8, process)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        process.communicate(timeout=60)
        assert process.returncode == 130
        output = tmp_path / "run" / "output.jsonl"
        kept = answers_of(tmp_path / "run") if output.exists() else lines_in(tmp_path / "run" / "answers.jsonl")
        assert kept >= 8
        state.text = exposition
        again = subprocess.run([*COMMAND, "--resume", tmp_path / "run"], capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert answers_of(tmp_path / "run") == 60


@fault(9, "a hard limit on open files below the concurrency", "`concurrency_lowered`", 0, "60 of 60 answers")
def test_too_few_descriptors_lower_the_concurrency_and_nothing_else(tmp_path):
    prompt_file(tmp_path, 60)
    with serving(StandIn(slow)) as url:
        done = subprocess.run(
            [
                *COMMAND,
                *("--server-url", url, "--prompts", "prompts.jsonl", "--concurrency", "60", "--warmup", "1"),
                *("--output-dir", "run"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (84, 84)),
        )
    assert done.returncode == 0, done.stderr
    assert findings_of(tmp_path / "run")["concurrency_lowered"] == "warning"
    assert answers_of(tmp_path / "run") == 60


@fault(6, "two runs into one directory", "`is in use by another run`", 2, "the first run")
def test_a_directory_in_use_is_not_taken_by_a_second_run(tmp_path):
    prompt_file(tmp_path, 100)
    with serving(StandIn(slow)) as url:
        process = begun(tmp_path, url)
        wait_for(lambda: (tmp_path / "run" / "answers.jsonl").exists(), process)
        second = evaluate(tmp_path, url)
        process.communicate(timeout=60)
    assert (process.returncode, second.code) == (0, 2)
    assert "is in use by another run" in second.err
    assert answers_of(tmp_path / "run") == 100


@fault(6, "a last line of the answers that was cut off", "`torn_line_dropped`", 0, "all whole lines")
def test_a_torn_line_is_dropped_and_said(tmp_path):
    prompt_file(tmp_path, 12)
    with serving(StandIn(slow)) as url:
        process = begun(tmp_path, url)
        wait_for(lambda: lines_in(tmp_path / "run" / "answers.jsonl") >= 3, process)
        process.kill()
        process.communicate()
        with (tmp_path / "run" / "answers.jsonl").open("ab") as log:
            log.write(b'{"question_id": "q11", "cat')
        done = evaluate(tmp_path, url, "--concurrency", "4")
    assert done.code == 0, done.said
    assert findings_of(tmp_path / "run")["torn_line_dropped"] == "info"
    assert answers_of(tmp_path / "run") == 12


@fault(6, "a folder that cannot be written", "`cannot write to`", 2, "nothing was sent")
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_sent(tmp_path):
    (tmp_path / "run").write_text("a file")
    state = StandIn()
    with serving(state) as url:
        done = evaluate(tmp_path, url)
    assert done.code == 2
    assert "give another --output-dir" in done.err
    assert state.bodies == []


@fault(6, "a directory that holds a complete run", "`holds a run already`", 2, "that run")
def test_a_complete_run_is_not_written_over(tmp_path):
    with serving(StandIn()) as url:
        assert evaluate(tmp_path, url).code == 0
        before = (tmp_path / "run" / "metrics.json").read_bytes()
        done = evaluate(tmp_path, url)
    assert done.code == 2
    assert "holds a run already" in done.err
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before


@fault(6, "the disk is full when the run is written", "`the run is in`", 2, "the whole run, in the temporary folder")
def test_a_run_that_does_not_fit_on_the_disk_is_written_elsewhere(tmp_path, monkeypatch):
    from nemo_skills_specdec import files

    write = files.write_atomically

    def full(path, content):
        if path == tmp_path / "run" / "metrics.json":
            raise files.WriteError(f"cannot write {path}: No space left on device; free space")
        write(path, content)

    monkeypatch.setattr("nemo_skills_specdec.measurement.run_directory.write_atomically", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with serving(StandIn()) as url:
        done = evaluate(tmp_path, url)
    assert done.code == 2
    assert "the run is in" in done.err
    (elsewhere,) = tmp_path.glob("ns-specdec-run-*")
    assert answers_of(elsewhere) == 6
    assert json.loads((elsewhere / "metrics.json").read_text())["status"] == "complete"


@fault(6, "`kill -9` between the manifest and the result, then the same command", "the whole result", 0, "all answers")
def test_a_run_killed_while_it_was_written_is_concluded_without_sending_anything(tmp_path):
    state = StandIn()
    with serving(state) as url:
        assert evaluate(tmp_path, url).code == 0
        run = load_run(tmp_path / "run")
        (tmp_path / "run" / "metrics.json").unlink()
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in run.records)
        (tmp_path / "run" / "answers.jsonl").write_bytes(lines)
        asked = state.asked
        done = evaluate(tmp_path, url)
    assert done.code == 0, done.said
    assert state.asked == asked
    again = load_run(tmp_path / "run")
    assert again.evaluation.overall.acceptance.num_drafts == run.evaluation.overall.acceptance.num_drafts
    assert [row.question_id for row in again.rows] == [row.question_id for row in run.rows]
