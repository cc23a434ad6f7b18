"""A child process that is a server: ready, dying, slow, stubborn; and nothing left behind."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.processes import Timeouts, running_server, stop_group

READY = "import time; print('URL http://127.0.0.1:1', flush=True); time.sleep(60)"


def python(code):
    return [sys.executable, "-c", code]


def find_url(printed):
    return next((line[4:] for line in printed.splitlines() if line.startswith("URL ")), None)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_server_runs_for_as_long_as_the_block():
    with running_server(python(READY), name="it", find_url=find_url) as server:
        assert server.base_url == "http://127.0.0.1:1"
        assert is_alive(server.process_id)
    assert not is_alive(server.process_id)


def test_its_output_is_kept_where_asked(tmp_path):
    log = tmp_path / "server.log"
    with running_server(python(READY), name="it", find_url=find_url, log=log):
        pass
    assert log.read_text() == "URL http://127.0.0.1:1\n"


def test_a_server_that_ends_gives_its_last_lines_and_a_hint():
    code = "print('loading'); print('CUDA out of memory'); raise SystemExit(3)"
    with (
        pytest.raises(ServerError) as caught,
        running_server(python(code), name="it", find_url=find_url, hint=lambda log: f"{len(log)} letters"),
    ):
        pass
    assert str(caught.value).splitlines() == [
        "it ended with code 3 before it was ready: 27 letters",
        "  loading",
        "  CUDA out of memory",
    ]


def test_a_server_that_is_never_ready_is_given_up():
    started = time.monotonic()
    with (
        pytest.raises(ServerError, match="was not ready after 0 s"),
        running_server(
            python("import time; time.sleep(60)"),
            name="it",
            find_url=find_url,
            timeouts=Timeouts(timeout_seconds=0.3),
        ),
    ):
        pass
    assert time.monotonic() - started < 20


def test_a_program_that_does_not_exist_is_named():
    with (
        pytest.raises(ServerError, match="/no/such/program"),
        running_server(["/no/such/program"], name="it", find_url=find_url),
    ):
        pass


def test_whoever_waits_hears_the_last_line_printed():
    heard = []
    code = (
        "import time; print('step 1', flush=True); time.sleep(0.6); print('URL http://x', flush=True); time.sleep(60)"
    )
    with running_server(
        python(code), name="it", find_url=find_url, on_wait=lambda seconds, line: heard.append((seconds, line))
    ):
        pass
    assert ("step 1") in [line for _, line in heard]
    assert [seconds for seconds, _ in heard] == sorted(seconds for seconds, _ in heard)


def test_children_of_the_server_end_with_it(tmp_path):
    note = tmp_path / "child"
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "print('URL http://x', flush=True); time.sleep(60)\n"
    )
    with running_server(python(code), name="it", find_url=find_url):
        child = int(note.read_text())
        assert is_alive(child)
    assert gone_within(child, 5)


def test_an_error_in_the_block_stops_the_server_too():
    with pytest.raises(KeyboardInterrupt), running_server(python(READY), name="it", find_url=find_url) as server:
        raise KeyboardInterrupt
    assert not is_alive(server.process_id)


def test_a_stubborn_server_is_killed():
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('URL http://x', flush=True)\ntime.sleep(60)\n"
    )
    with running_server(python(code), name="it", find_url=find_url, timeouts=Timeouts(stop_seconds=0.3)) as server:
        pass
    assert not is_alive(server.process_id)


def test_a_second_interrupt_while_stopping_kills_at_once():
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"up\n"
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            stop_group(process, patience_seconds=30)
    finally:
        signal.signal(signal.SIGALRM, before)
        process.stdout.close()
    assert not is_alive(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child that its parent died")
def test_a_server_dies_with_a_parent_that_is_killed(tmp_path):
    note = tmp_path / "server"
    code = (
        "import pathlib, time\n"
        "from nemo_skills_specdec.processes import running_server\n"
        f"with running_server([{sys.executable!r}, '-c', {READY!r}], name='it', find_url=lambda text: 'x' if 'URL' in "
        "text else None) as server:\n"
        f"    pathlib.Path({str(note)!r}).write_text(str(server.process_id)); time.sleep(60)\n"
    )
    parent = subprocess.Popen(python(code), cwd=os.getcwd())
    deadline = time.monotonic() + 30
    while not note.exists() or not note.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert gone_within(int(note.read_text()), 10)


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.ENOENT, "is the path right"), (errno.ENOMEM, "free memory"), (errno.EAGAIN, "end other processes")],
)
def test_a_program_that_cannot_be_started_is_named_with_a_cure_that_fits(monkeypatch, number, cure):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with (
        pytest.raises(ServerError, match=f"cannot start it: .*{cure}"),
        running_server(["program"], name="it", find_url=lambda _: None),
    ):
        pass
