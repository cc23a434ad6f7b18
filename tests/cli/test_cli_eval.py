"""`ns-specdec eval` as a user types it."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nemo_skills_specdec.cli._prompt_options import PromptFlags, benchmark_of
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.errors import UsageError, WriteError
from nemo_skills_specdec.measurement.run import load_run
from nemo_skills_specdec.studies.prompts import load_rows

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()", "eval"]


def run(*arguments, **options):
    environment = {**os.environ, "COLUMNS": "80", **options.pop("env", {})}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=120, env=environment, **options
    )


@pytest.fixture(scope="module")
def server():
    with start(EmbeddedOptions(api_key="open-sesame")) as running:
        yield running


@pytest.fixture(scope="module")
def finished(server, tmp_path_factory):
    """One small run, looked at by several tests."""
    directory = tmp_path_factory.mktemp("run") / "out"
    done = run(
        "--server-url", f"{server.base_url}/v1", "--limit-per-category", "1", "--max-tokens", "16",
        "--output-dir", str(directory), env={"SPECDEC_API_KEY": "open-sesame"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, directory


def test_the_table_fits_eighty_columns_and_names_averages_and_source(finished):
    done, _ = finished
    assert max(map(len, done.stdout.splitlines())) <= 80
    for word in (
        "coding",
        "pooled",
        "request mean",
        "category macro",
        "source: per-request statistics",
        "also from counters",
    ):
        assert word in done.stdout


def test_the_run_directory_is_complete(finished):
    _, directory = finished
    assert sorted(path.name for path in directory.iterdir()) == [
        "config.yaml",
        "manifest.json",
        "metrics.json",
        "output.jsonl",
        "report.html",
        "report.md",
        "snapshots",
        "summary.csv",
    ]
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["overall"]["num_prompts"] == 11
    assert metrics["overall"]["acceptance"]["source"] == "response"
    rows = [json.loads(line) for line in (directory / "output.jsonl").read_text().splitlines()]
    assert len(rows) == 11
    assert {"generation", "num_generated_tokens", "generation_start_time", "generation_end_time", "messages"} <= set(
        rows[0]
    )
    texts = [path.read_text() for path in sorted((directory / "snapshots").iterdir())]
    assert len(texts) == 2
    assert all("vllm:spec_decode_num_drafts_total" in text for text in texts)


def test_the_result_computed_again_is_the_stored_one_field_by_field(finished):
    run = load_run(finished[1])
    assert run.manifest.status == "complete"
    assert run.recompute() == run.evaluation
    assert all(record.generation for record in run.records)


def test_every_number_can_be_computed_again_from_the_run_directory(finished):
    _, directory = finished
    metrics = json.loads((directory / "metrics.json").read_text())
    before, after = sorted((directory / "snapshots").iterdir())
    again = subprocess.run(
        [*COMMAND[:-1], "diff", str(before), str(after), "--json"], capture_output=True, text=True, check=True
    )
    acceptance = json.loads(again.stdout)
    for name in ("num_drafts", "num_draft_tokens", "num_accepted_tokens", "accepted_per_position", "acceptance_length"):
        assert acceptance[name] == metrics["overall"]["acceptance"][name]


def test_the_key_stands_in_no_file_and_in_no_output(finished):
    done, directory = finished
    assert "open-sesame" not in done.stdout + done.stderr
    for path in directory.rglob("*"):
        if path.is_file():
            assert b"open-sesame" not in path.read_bytes()


def test_json_prints_one_object_and_nothing_else(server, tmp_path):
    done = run(
        "--server-url", server.base_url, "--category", "qa", "--max-tokens", "8", "--json",
        "--output-dir", str(tmp_path / "out"), env={"SPECDEC_API_KEY": "open-sesame"},
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_a_wrong_key_is_one_line_and_exit_code_two(server, tmp_path):
    done = run("--server-url", server.base_url, "--output-dir", str(tmp_path / "o"), env={"SPECDEC_API_KEY": "mellon"})
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "SPECDEC_API_KEY" in done.stderr
    assert "mellon" not in done.stderr


def test_strict_turns_an_invalid_finding_into_exit_code_one(tmp_path):
    with start(EmbeddedOptions(per_request_stats="none")) as other:
        stop = threading.Event()
        foreign = threading.Thread(target=keep_asking, args=(other.base_url, stop))
        foreign.start()
        try:
            done = run(
                "--server-url", other.base_url, "--category", "qa", "--max-tokens", "32", "--strict",
                "--output-dir", str(tmp_path / "out"),
            )  # fmt: skip
        finally:
            stop.set()
            foreign.join()
    assert done.returncode == 1, done.stderr
    assert "INVALID" in done.stdout


def keep_asking(url, stop):
    import requests

    body = {"model": "specdec-mini", "messages": [{"role": "user", "content": "foreign"}], "max_tokens": 16}
    while not stop.is_set():
        requests.post(f"{url}/v1/chat/completions", json=body, timeout=30)


def test_an_interrupt_keeps_and_shows_what_was_measured(tmp_path):
    directory = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "--max-tokens", "400", "--concurrency", "2", "--output-dir", str(directory)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    told = ""
    while "mini: 110 prompts" not in told and (line := process.stderr.readline()):
        told += line
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The run stopped early" in output
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["status"] == "interrupted"
    assert 0 < metrics["overall"]["num_prompts"] < 110
    assert metrics["overall"]["acceptance"]["num_drafts"] > 0


class WebPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html><body>It works!</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web_page():
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebPage)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{page.server_port}"
    page.shutdown()


def check_refusal(done, pattern):
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ns-specdec: ")
    assert pattern in line


def test_an_unknown_host_is_one_line(tmp_path):
    check_refusal(run("--server-url", "http://no-such-host.invalid", "--output-dir", str(tmp_path / "o")), "is unknown")


def test_a_wrong_port_is_one_line_and_leaves_no_directory(tmp_path):
    check_refusal(run("--server-url", "http://127.0.0.1:9", "--output-dir", str(tmp_path / "o")), "connection refused")
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_instead_of_a_server_is_one_line(web_page, tmp_path):
    check_refusal(run("--server-url", web_page, "--output-dir", str(tmp_path / "o")), "not an inference server")


def test_a_web_page_instead_of_metrics_is_one_line(server, web_page, tmp_path):
    done = run(
        "--server-url", server.base_url, "--metrics-url", f"{web_page}/metrics", "--output-dir", str(tmp_path / "o"),
        env={"SPECDEC_API_KEY": "open-sesame"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "web page" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no prompt"),
        (b'{"prompt": "a"}\n{"prompt":\n', "line 2 is not JSON"),
        (b'{"prompt": "\xff"}', "is not UTF-8"),
    ],
)
def test_a_bad_prompt_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)
    check_refusal(run("--prompts", str(path), "--output-dir", str(tmp_path / "o")), message)


def test_a_directory_that_holds_a_run_is_not_overwritten(finished):
    _, directory = finished
    check_refusal(run("--output-dir", str(directory)), "holds a run already")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--extra-body", "{x"], "--extra-body is not a JSON object"),
        (["--benchmark", "mini", "--prompts", "x"], "exclude each other"),
        (["--category", "cooking"], "no category cooking"),
        (["--server-url", "http://127.0.0.1:9", "--method", "ngram"], "for a server started here"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(arguments, message, tmp_path):
    check_refusal(run(*arguments, "--output-dir", str(tmp_path / "o")), message)


def test_a_limit_keeps_the_first_prompts_of_each_category():
    assert len(load_rows(benchmark_of(PromptFlags(limit_per_category=2)))) == 22
    rows = load_rows(benchmark_of(PromptFlags(benchmark="mini", category=["math"], limit_per_category=3)))
    assert [row.category for row in rows] == ["math"] * 3


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, capsys):
    from nemo_skills_specdec.cli import app
    from nemo_skills_specdec.measurement import run_directory

    def full(path, content):
        if path == tmp_path / "full" / "metrics.json":
            raise WriteError(f"cannot write {path}: No space left on device; free space")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(run_directory, "write_atomically", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(UsageError, match=r"No space left on device; .*the run is in .*ns-specdec-run-"):
        app(
            [
                "eval",
                "--config",
                "small",
                "--category",
                "qa",
                "--max-tokens",
                "8",
                "--output-dir",
                str(tmp_path / "full"),
            ],
            standalone_mode=False,
        )
    assert "pooled" in capsys.readouterr().out
    (rescue,) = tmp_path.glob("ns-specdec-run-*")
    assert json.loads((rescue / "metrics.json").read_text())["overall"]["num_prompts"] == 4
