"""`ns-specdec watch` against the embedded engine under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nemo_skills_specdec.embedded.launch import RunningEmbedded, start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.watch.recording import read_recording


@pytest.fixture(scope="module")
def server() -> Iterator[RunningEmbedded]:
    with start(EmbeddedOptions(port=0, data_parallel_size=2)) as running:
        yield running


def watch(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()", "watch", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"}
    )


def ask(server: RunningEmbedded, tokens: int = 24) -> None:
    body = json.dumps({"prompt": "The river was", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}).encode()
    request = urllib.request.Request(f"{server.base_url}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()


def ledger(server: RunningEmbedded) -> dict[str, int]:
    with urllib.request.urlopen(f"{server.base_url}/ledger", timeout=60) as response:
        totals = [engine["totals"] for engine in json.load(response)["engines"]]
    names = ("drafted_steps", "draft_tokens", "accepted_tokens", "generated_tokens", "finished")
    return {name: sum(total[name] for total in totals) for name in names}


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not path.is_file() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_sum(path: Path, requests: int) -> None:
    """Waits until the intervals of a recording hold as many requests."""
    deadline = time.monotonic() + 60
    while sum(one.figures.requests or 0 for one in read_recording(path).intervals) < requests:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(total: dict[str, Any]) -> dict[str, int]:
    return {
        "drafted_steps": total["num_drafts"],
        "draft_tokens": total["num_draft_tokens"],
        "accepted_tokens": total["accepted_low"],
        "generated_tokens": total["generation_tokens"],
        "finished": total["requests"],
    }


def test_the_totals_are_those_of_the_ledger(server: RunningEmbedded, tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    before = ledger(server)
    process = watch(server.base_url, "--interval", "0.3s", "--record", str(record), "--json")
    wait_for(record, "joined")
    for _ in range(6):
        ask(server)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    after = ledger(server)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert told(summary["total"]) == {name: after[name] - before[name] for name in after}
    assert len(summary["replicas"]) == 2
    intervals = read_recording(record).intervals
    assert sum(one.figures.num_drafts or 0 for one in intervals) == summary["total"]["num_drafts"]


def test_a_restart_is_shown_and_costs_the_time_around_it_alone(tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    with start(EmbeddedOptions(port=0)) as first:
        process = watch(first.base_url, "--interval", "0.3s", "--record", str(record), "--json")
        wait_for(record, "joined")
        for _ in range(3):
            ask(first)
        done = ledger(first)
        wait_for_sum(record, done["finished"])
    port = int(first.base_url.rpartition(":")[2])
    with start(EmbeddedOptions(port=port)) as second:
        wait_for(record, "restarted")
        for _ in range(3):
            ask(second)
        again = ledger(second)
        wait_for_sum(record, done["finished"] + again["finished"])
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary = json.loads(out)
    # All was read before the first server went and after the second had been seen, so that nothing fell into the gap.
    assert told(summary["total"]) == {name: done[name] + again[name] for name in done}
    kinds = [event["kind"] for event in summary["events"]]
    assert [kind for kind in kinds if kind not in ("unreachable", "back")] == ["joined", "restarted"]
    assert summary["counted_seconds"] < summary["seconds"]


def test_without_a_terminal_it_prints_lines_and_ends_with_a_table(server: RunningEmbedded, tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    process = watch(server.base_url, "--interval", "0.3s", "--record", str(record))
    wait_for(record, "joined")
    ask(server)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "tok/step" in err
    assert "\x1b" not in out + err
    assert "per position" in out
    assert "watched for 0:0" in out


def test_quiet_shows_the_summary_alone(server: RunningEmbedded) -> None:
    process = watch(server.base_url, "--interval", "0.3s", "--for", "0.5s", "--quiet")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "watched for" in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_costs_the_recording_and_not_the_summary(server: RunningEmbedded) -> None:
    process = watch(server.base_url, "--interval", "0.3s", "--for", "1.5s", "--record", "/dev/full")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "watched for" in out
    assert "the watch goes on without a recording" in err
    assert err.endswith("No space left on device; the recording lacks what came after\n")


def test_an_acceptance_length_below_the_limit_exits_with_one_and_says_over_what(
    server: RunningEmbedded, tmp_path: Path
) -> None:
    record = tmp_path / "r.jsonl"
    process = watch(server.base_url, "--interval", "0.2s", "--min-al", "4.5", "--within", "1s", "--record", str(record))
    wait_for(record, "joined")
    for _ in range(4):
        ask(server)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "is below 4.5" in err


def test_a_server_that_is_not_there_is_one_line() -> None:
    process = watch("http://127.0.0.1:9", "--for", "1s")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("ns-specdec: nothing listens at http://127.0.0.1:9/metrics")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://a", "--for", "soon"), "--for 'soon' is not a duration; write e.g. 90s, 5m, 1h or 1h30m"),
        (("http://a", "http://a/metrics", "--for", "1s"), "a URL is given twice; give every server once"),
        (("http://a", "--within", "5m"), "--within is about --min-al; give both"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    process = watch(*arguments)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, f"ns-specdec: {said}\n")
