import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import requests

from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.errors import ServerError, UsageError

ROOT = str(Path(__file__).parents[2])


def gone(pid: int, within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_started_server_answers_and_is_gone_afterwards():
    with start(EmbeddedOptions(method="ngram")) as server:
        assert requests.get(f"{server.base_url}/health", timeout=10).status_code == 200
        assert requests.get(server.metrics_url, timeout=10).status_code == 200
        variables = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        assert b"OPENBLAS_NUM_THREADS=1" in variables
        assert os.getpgid(server.pid) == server.pid
    assert gone(server.pid)


def test_a_server_is_stopped_when_the_body_raises():
    with pytest.raises(KeyboardInterrupt), start(EmbeddedOptions(method="none")) as server:
        raise KeyboardInterrupt
    assert gone(server.pid)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_server_does_not_outlive_its_launcher(death):
    script = textwrap.dedent(
        """
        import sys, time
        from nemo_skills_specdec.embedded.launch import start
        from nemo_skills_specdec.embedded.options import EmbeddedOptions
        with start(EmbeddedOptions(method="none")) as server:
            print(server.pid, flush=True)
            time.sleep(60)
        """
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    pid = int(launcher.stdout.readline())
    assert not gone(pid, within=0.1)
    launcher.send_signal(death)
    launcher.wait(20)
    launcher.stdout.close()
    assert gone(pid)


def test_the_api_key_is_not_visible_on_the_command_line_and_guards_the_server():
    with start(EmbeddedOptions(method="none", api_key="tops3cret")) as server:
        assert b"tops3cret" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        url = f"{server.base_url}/v1/models"
        assert requests.get(url, timeout=10).status_code == 401
        assert requests.get(url, headers={"Authorization": "Bearer tops3cret"}, timeout=10).status_code == 200


def test_a_key_in_the_callers_environment_does_not_slip_into_the_server(monkeypatch):
    monkeypatch.setenv("SPECDEC_EMBEDDED_API_KEY", "other")
    with start(EmbeddedOptions(method="none")) as server:
        assert requests.get(f"{server.base_url}/v1/models", timeout=10).status_code == 200


def test_a_taken_port_is_named_in_the_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServerError, match=rf"cannot listen on 127\.0\.0\.1:{port}"),
            start(EmbeddedOptions(port=port)),
        ):
            pass


def test_a_missing_model_folder_is_named_in_the_error(tmp_path):
    with (
        pytest.raises(ServerError, match=r"cannot read .*config\.json"),
        start(EmbeddedOptions(model_dir=str(tmp_path))),
    ):
        pass


def test_a_server_that_does_not_get_ready_in_time_is_stopped_and_reported():
    with (
        pytest.raises(ServerError, match=r"was not ready after 0 s"),
        start(EmbeddedOptions(), timeout_seconds=0.01),
    ):
        pass


def test_wrong_options_are_refused_before_anything_starts():
    with pytest.raises(UsageError, match="draft_length"), start(EmbeddedOptions(draft_length=0)):
        pass


def test_the_module_runs_on_its_own_and_ends_at_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-m", "nemo_skills_specdec.embedded", '{"method": "none"}'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert b'"port"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert errors == b""


def test_a_usage_error_of_the_module_is_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nemo_skills_specdec.embedded", json.dumps({"model_dir": str(tmp_path)})],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "config.json" in done.stderr


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, nemo_skills_specdec.embedded.launch; "
        "print([m for m in ('numpy', 'aiohttp', 'tokenizers', 'prometheus_client', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT}, timeout=60
    )
    assert done.stdout.strip() == "[]"
