"""The rules and the dashboard in a real Prometheus, which scrapes the embedded engine under load."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.embedded.launch import RunningEmbedded, start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.grafana.dashboard import dashboard
from nemo_skills_specdec.grafana.rules import rules_yaml

pytestmark = pytest.mark.real_prometheus

FOLDER = os.environ.get("SPECDEC_PROMETHEUS", "")
ENGINES = ["vllm", "sglang", "llamacpp"]
WINDOW = "2m"

VLLM, SGLANG = "vllm:spec_decode_num_", "sglang:"
INPUT = {
    f'{VLLM}drafts_total{{job="j",instance="a",model_name="m"}}': "0+10x60",
    f'{VLLM}drafts_total{{job="j",instance="b",model_name="m"}}': "0+30x60",
    f'{VLLM}draft_tokens_total{{job="j",instance="a",model_name="m"}}': "0+30x60",
    f'{VLLM}draft_tokens_total{{job="j",instance="b",model_name="m"}}': "0+90x60",
    f'{VLLM}accepted_tokens_total{{job="j",instance="a",model_name="m"}}': "0+20x60",
    f'{VLLM}accepted_tokens_total{{job="j",instance="b",model_name="m"}}': "0+3x60",
    f'{SGLANG}spec_verify_calls_total{{job="s",instance="c",model_name="m"}}': "0+100x60",
    f'{SGLANG}generation_tokens_total{{job="s",instance="c",model_name="m",is_streaming="true"}}': "0+150x60",
    f'{SGLANG}generation_tokens_total{{job="s",instance="c",model_name="m",is_streaming="false"}}': "0+60x60",
    f'{SGLANG}num_requests_total{{job="s",instance="c",model_name="m",is_streaming="true"}}': "0+10x60",
    f'{SGLANG}spec_num_draft_tokens{{job="s",instance="c",model_name="m",tp_rank="0"}}': "4x60",
}
"""Two vLLMs of one model, with acceptance lengths of 3 and 1.1 over 10 and 30 steps, and an SGLang."""

EXPECTED = {
    'specdec_acceptance_length_low:rate2m{job="j",instance="a",model_name="m",speculating="vllm"}': 3,
    'specdec_acceptance_length_low:rate2m{job="j",instance="b",model_name="m",speculating="vllm"}': 1.1,
    'job_model:specdec_acceptance_length_low:rate2m{job="j",model_name="m"}': 1.575,
    'job_model:specdec_acceptance_length_low:rate2m{job="s",model_name="m"}': 2,
    'job_model:specdec_acceptance_length_high:rate2m{job="s",model_name="m"}': 2.3,
}

ALERT = {
    "exp_labels": {"job": "j", "model_name": "m", "severity": "warning"},
    "exp_annotations": {
        "summary": "Acceptance length of m is 1.57",
        "description": "Below 1.6 for 10 minutes, pooled over the replicas of j.",
    },
}


def tool(name: str) -> str:
    path = str(Path(FOLDER) / name) if FOLDER else shutil.which(name)
    if path is None or not Path(path).is_file():
        pytest.skip("no Prometheus; name its folder in SPECDEC_PROMETHEUS")
    return path


def rules_in(folder: Path) -> Path:
    path = folder / "rules.yml"
    path.write_text(rules_yaml(ENGINES, window=WINDOW, min_al=1.6))
    return path


def test_promtool_finds_nothing_to_say(tmp_path: Path) -> None:
    command = [tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(rules_in(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_pool_by_counts_and_the_alert_fires(tmp_path: Path) -> None:
    # Averaging the two acceptance lengths would give 2.05; their counts give 1.575, which is below the limit of 1.6.
    rules_in(tmp_path)
    test = {
        "interval": "15s",
        "input_series": [{"series": series, "values": values} for series, values in INPUT.items()],
        "promql_expr_test": [
            {"expr": labels, "eval_time": "10m", "exp_samples": [{"labels": labels, "value": expected}]}
            for labels, expected in EXPECTED.items()
        ],
        "alert_rule_test": [
            {"eval_time": "15m", "alertname": "SpecdecAcceptanceLengthLow", "exp_alerts": [ALERT]},
        ],
    }
    (tmp_path / "test.yml").write_text(
        json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]})
    )
    command = [tool("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def prometheus(folder: Path, targets: dict[str, RunningEmbedded]) -> Iterator[str]:
    """A Prometheus that scrapes every second; yields its URL."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    rules_in(folder)
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [server.base_url.removeprefix("http://")]}]}
        for job, server in targets.items()
    ]
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    # YAML holds JSON.
    (folder / "p.yml").write_text(json.dumps({"global": every, "rule_files": ["rules.yml"], "scrape_configs": jobs}))
    address = f"127.0.0.1:{port}"
    command = [tool("prometheus"), "--config.file=p.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: get(f"http://{address}/api/v1/query?query=up") != {})
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(ready: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)
    except OSError:
        return {}


def query(base: str, expr: str) -> list[dict[str, Any]]:
    told = get(f"{base}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
    assert told.get("status") == "success", (expr, told)
    return list(told["data"]["result"])


def value(base: str, expr: str) -> float:
    (one,) = query(base, expr)
    return float(one["value"][1])


def load(server: RunningEmbedded, requests: int) -> None:
    for number in range(requests):
        asked = {"prompt": f"The river {number}", "max_tokens": 32, "temperature": 0, "ignore_eos": True}
        body = json.dumps(asked).encode()
        request = urllib.request.Request(
            f"{server.base_url}/v1/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()


def ledger(server: RunningEmbedded) -> AcceptanceCounts:
    totals = [engine["totals"] for engine in get(f"{server.base_url}/ledger?totals")["engines"]]
    return AcceptanceCounts(
        num_drafts=sum(total["drafted_steps"] for total in totals),
        num_draft_tokens=sum(total["draft_tokens"] for total in totals),
        num_accepted_tokens=sum(total["accepted_tokens"] for total in totals),
    )


def test_rules_over_a_real_load_are_those_of_the_ledger_and_every_panel_can_be_asked(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = {
            "vllm": stack.enter_context(start(EmbeddedOptions(port=0, data_parallel_size=2))),
            "sglang": stack.enter_context(start(EmbeddedOptions(port=0, dialect="sglang"))),
        }
        load(servers["sglang"], 1)
        base = stack.enter_context(prometheus(tmp_path, servers))
        wait_for(lambda: len(query(base, "vllm:spec_decode_num_drafts_total or sglang:spec_verify_calls_total")) == 3)
        time.sleep(2)
        before = ledger(servers["sglang"])
        threads = [threading.Thread(target=load, args=(server, 24)) for server in servers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: len(query(base, "job_model:specdec_acceptance_length_low:rate2m")) == 2)
        time.sleep(4)
        exact, bracketed = ledger(servers["vllm"]), ledger(servers["sglang"]) - before
        assert exact.acceptance_length is not None
        assert bracketed.acceptance_length is not None
        pooled = "job_model:specdec_{}:rate2m{{job='{}'}}"
        assert value(base, pooled.format("acceptance_length_low", "vllm")) == pytest.approx(exact.acceptance_length)
        assert value(base, pooled.format("acceptance_length_high", "vllm")) == pytest.approx(exact.acceptance_length)
        assert value(base, pooled.format("acceptance_rate_low", "vllm")) == pytest.approx(exact.acceptance_rate)
        low = value(base, pooled.format("acceptance_length_low", "sglang"))
        high = value(base, pooled.format("acceptance_length_high", "sglang"))
        assert low <= bracketed.acceptance_length <= high
        assert high - low < 0.5
        for panel in dashboard(ENGINES)["panels"]:
            asked = [target["expr"] for target in panel["targets"]]
            found = [len(query(base, chosen(expr))) for expr in asked]
            # The embedded engine imitates no prefix cache; every other panel has something to show.
            assert any(found) or "cache" in panel["title"], panel["title"]


def chosen(expr: str) -> str:
    """An expression as Grafana sends it, with everything chosen."""
    for name in ("$job", "$instance", "$model"):
        expr = expr.replace(name, ".*")
    return expr.replace("$__rate_interval", WINDOW)
