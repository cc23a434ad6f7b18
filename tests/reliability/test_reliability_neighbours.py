"""Servers that die, and others that use them: neither passes for a good run."""

import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

from reliability.faults import answers_of, evaluate, fault, findings_of, prompt_file
from reliability.stand_in import StandIn, plain, serving

from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.measurement.run import load_run

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()", "eval"]


def silent(handler, body, number):
    time.sleep(0.05)
    plain(handler, body, number, statistics=None)


@fault(
    9,
    "the server's process is killed in mid-run",
    "`the server is gone`, status `interrupted`",
    2,
    "the answers so far",
)
def test_a_server_that_dies_in_mid_run_interrupts_it(tmp_path):
    rows = [{"id": str(n), "category": "c", "turns": [f"Number {n}"]} for n in range(4000)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    served = [sys.executable, ROOT / "performance" / "soak.py", "--serve", "0.1", "--good"]
    server = subprocess.Popen(served, stdout=subprocess.PIPE)
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        given = ("--prompts", tmp_path / "prompts.jsonl", "--concurrency", "4", "--output-dir", tmp_path / "run")
        run = subprocess.Popen([*COMMAND, "--server-url", url, *given], stderr=subprocess.PIPE, text=True)
        log = tmp_path / "run" / "answers.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") >= 12):
            time.sleep(0.02)
        server.kill()
        _, said = run.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert run.returncode == 2, said
    assert "the server is gone" in said
    assert "Traceback" not in said
    assert load_run(tmp_path / "run").evaluation.status == "interrupted"
    assert 12 <= answers_of(tmp_path / "run") < 4000
    # It gave up: the rest was not even tried.
    assert sum(record.sent for record in load_run(tmp_path / "run").records) < 2000


@fault(3, "another run of our own on the same server", "`foreign_traffic`, invalid", 0, "all answers")
def test_a_run_of_our_own_beside_counts_as_somebody_elses(tmp_path, monkeypatch):
    monkeypatch.setattr("nemo_skills_specdec.measurement.snapshots.SETTLE_TIMEOUT_SECONDS", 0.3)
    other = tmp_path / "other"
    other.mkdir()
    state = StandIn(silent)
    with serving(state) as url:
        given = ("--prompts", prompt_file(other, 4000), "--concurrency", "2", "--output-dir", other / "run")
        beside = subprocess.Popen([*COMMAND, "--server-url", url, *given], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and state.asked < 8:
            time.sleep(0.02)
        done = evaluate(tmp_path, url)
        beside.kill()
        beside.wait()
    assert done.code == 0, done.said
    assert answers_of(tmp_path / "run") == 6
    assert findings_of(tmp_path / "run")["foreign_traffic"] == "invalid"


@fault(8, "50 MB of metrics", "AL, within seconds and without much memory", None, "-")
def test_fifty_megabytes_of_metrics_are_read_in_time():
    line = 'vllm:request_params_bucket{engine="0",model_name="m",path="/some/long/path/%d",le="%d"} 5\n'
    other = 'http_request_duration_bucket{handler="/v1/chat/completions",method="POST",le="%d",n="%d"} 17\n'
    ours = 'vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 10\n'
    parts = [other % (n, n) for n in range(500_000)]
    parts.insert(250_000, ours)
    parts += [line % (n, n) for n in range(20_000)]
    text = "".join(parts)
    del parts
    assert len(text) > 45_000_000
    snapshot = Snapshot(url="u", taken_at=0.0, status=200, text=text)
    tracemalloc.start()
    began = time.process_time()
    samples = snapshot.samples
    took = time.process_time() - began
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "vllm:spec_decode_num_drafts_total" in samples.series
    assert took < 20  # a few seconds at most without the tracing of memory
    assert most < 250 << 20


@fault(9, "nothing listens at the URL", "`nothing listens at`", 2, "nothing was measured")
def test_a_server_that_is_not_there_is_named(tmp_path):
    with serving(StandIn()) as url:
        pass
    done = evaluate(tmp_path, url)
    assert done.code == 2
    assert "nothing listens at" in done.err
    assert not (tmp_path / "run").exists()
