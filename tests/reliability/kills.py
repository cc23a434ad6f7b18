"""`kill -9` at random moments, and the same command again until it is through: is anything lost, or there twice?

    python tests/reliability/kills.py run           50 kills of runs of 2,000 requests, statistics in the answers
    python tests/reliability/kills.py counters      the same, where only the counters know the acceptance
    python tests/reliability/kills.py study         50 kills of studies of two runs of 2,000 requests each
    python tests/reliability/kills.py prepare       50 kills of the preparation of an invented SPEED-Bench

The server is that of `performance/soak.py`, in a process of its own, whose answer to a prompt follows from the prompt's
number; what all answers together must come to is therefore known. Each report is one line of JSON.
"""

import argparse
import contextlib
import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [
    str(TESTS.parent / "performance"),
    str(TESTS / "prompts" / "speed_bench"),
    str(TESTS / "prompts" / "hub"),
]

import soak  # noqa: E402

MAIN = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]
SECONDS = 0.1
"""How long an answer takes."""


def truth(requests):
    """Drafts and accepted tokens of all answers."""
    return {"drafts": soak.DRAFTS * requests, "accepted": sum(sum(soak.accepted_in(n)) for n in range(requests))}


def killed_until_through(command, folder, kills, chance, begun):
    """Starts a command again and again, killing it at random moments; how often it was killed until it came through.

    Args:
        kills: how many are still wanted; then it is left alone.
        chance: gives the seconds until a kill, from when it has begun its work; a negative one kills it before.
        begun: whether it has begun.
    """
    done = 0
    while True:
        before = begun()
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
            if done < kills:
                seconds = chance()
                while seconds >= 0 and process.poll() is None and begun() == before:
                    time.sleep(0.01)
            try:
                code = process.wait(abs(seconds) if done < kills else 300)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done += 1
                if is_complete(folder / "run"):  # killed while it printed: the same command would be refused
                    return done
                continue
        if code:
            raise SystemExit(f"exit code {code} after {done} kills; see {folder / 'log'}:\n" + tail(folder / "log"))
        return done


def is_complete(run):
    """Whether a run directory holds a whole run."""
    return (run / "metrics.json").is_file() and json.loads((run / "manifest.json").read_text())["status"] == "complete"


def attempts_in(folder):
    """How often a run of the folder has opened its window."""
    found = 0
    for manifest in folder.rglob("manifest.json"):
        with contextlib.suppress(OSError, ValueError):
            found += len(json.loads(manifest.read_text())["snapshots"])
    return found


def tail(log):
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])


def write_prompts(path, requests):
    rows = ({"id": str(n), "category": "abcd"[n % 4], "turns": [f"Number {n}"]} for n in range(requests))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def problems_of(run, requests, kills, concurrency):
    """What is wrong with a run directory; and its findings."""
    found = []
    seen, drafts, accepted, told = Counter(), 0, 0, 0
    with (run / "output.jsonl").open() as lines:
        for line in lines:
            for record in json.loads(line)["requests"]:
                seen[record["question_id"]] += 1
                told += record["counts"] is not None
                if record["error"] is not None or not record["generation"]:
                    found.append(f"{record['question_id']}: {record['error'] or 'no text'}")
                elif record["counts"] is not None:
                    drafts += record["counts"]["num_drafts"]
                    accepted += record["counts"]["num_accepted_tokens"]
    if set(seen) != set(map(str, range(requests))) or set(seen.values()) != {1}:
        found.append(f"{len(seen)} requests, {sum(seen.values())} records")
    acceptance = json.loads((run / "metrics.json").read_text())["overall"]["acceptance"]
    want = truth(requests)
    got = {"drafts": acceptance["num_drafts"], "accepted": acceptance["num_accepted_tokens"]}
    if told:
        if (drafts, accepted) != (want["drafts"], want["accepted"]) or got != want:
            found.append(f"{got} and {drafts} drafts in the answers, not {want}")
    else:
        # What was in flight at a kill, or had been answered within the last second, may have been counted twice.
        most = kills * concurrency * (1 + round(1 / SECONDS)) * soak.DRAFTS
        extra = got["drafts"] - want["drafts"]
        more = got["accepted"] - want["accepted"]
        if not (0 <= extra <= most and 0 <= more <= extra * soak.DRAFT_LENGTH):
            found.append(f"{got}, which is not {want} and what was in flight")
    if wrong := {finding["code"] for finding in acceptance["findings"]} & {"foreign_traffic", "requests_missing"}:
        found.append(f"said of nobody: {wrong}")
    if left := [name for name in os.listdir(run) if name in ("answers.jsonl", ".lock") or name.endswith(".tmp")]:
        found.append(f"left behind: {left}")
    return found, {finding["code"] for finding in acceptance["findings"]}


class Server:
    """The stand-in, in a process of its own."""

    def __init__(self, *, statistics):
        options = ["--serve", str(SECONDS), "--good", *([] if statistics else ["--no-statistics"])]
        self._process = subprocess.Popen([sys.executable, soak.__file__, *options], stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def eval_kills(kills, requests, seed, *, statistics=True, concurrency=64, until=float("inf")):
    """Kills runs of `eval`."""
    dice = random.Random(seed)
    done = runs = 0
    problems, codes = [], Counter()
    with Server(statistics=statistics) as server, tempfile.TemporaryDirectory(prefix="kills-") as name:
        while done < kills and time.monotonic() < until:
            folder = Path(name) / str(runs)
            folder.mkdir()
            write_prompts(folder / "prompts.jsonl", requests)
            command = [*MAIN, "eval", "--server-url", server.url, "--prompts", "prompts.jsonl", "--output-dir", "run"]
            command += ["--concurrency", str(concurrency), "--warmup", "4"]
            length = 1.0 + 1.3 * requests * SECONDS / concurrency
            chance = functools.partial(dice.uniform, -0.1 * length, length)
            mine = killed_until_through(command, folder, kills - done, chance, functools.partial(attempts_in, folder))
            found, findings = problems_of(folder / "run", requests, mine, concurrency)
            problems += [f"run {runs}: {one}" for one in found]
            codes.update(findings)
            done, runs = done + mine, runs + 1
    return {"kills": done, "runs": runs, "requests": requests, "problems": problems, "findings": dict(codes)}


def study_kills(kills, requests, seed, *, until=float("inf")):
    """Kills studies of two runs."""
    dice = random.Random(seed)
    done = studies = 0
    problems, codes = [], Counter()
    with Server(statistics=True) as server, tempfile.TemporaryDirectory(prefix="kills-") as name:
        while done < kills and time.monotonic() < until:
            folder = Path(name) / str(studies)
            folder.mkdir()
            write_prompts(folder / "prompts.jsonl", requests)
            command = [*MAIN, "sweep", "--server-url", server.url, "--prompts", "prompts.jsonl"]
            command += ["--concurrency", "64,128", "--output-dir", "study"]
            length = 1.0 + 1.3 * requests * SECONDS / 64
            chance = functools.partial(dice.uniform, -0.1 * length, length)
            mine = killed_until_through(command, folder, kills - done, chance, functools.partial(attempts_in, folder))
            whole = [run for run in (folder / "study" / "runs").iterdir() if (run / "metrics.json").exists()]
            if len(whole) != 2:
                problems.append(f"study {studies}: {len(whole)} complete runs")
            for run in whole:
                found, findings = problems_of(run, requests, mine, 128)
                problems += [f"study {studies}: {one}" for one in found]
                codes.update(findings)
            done, studies = done + mine, studies + 1
    return {"kills": done, "studies": studies, "requests": requests, "problems": problems, "findings": dict(codes)}


def prepare_kills(kills, seed, *, until=float("inf")):
    """Kills the preparation of SPEED-Bench from an invented hub."""
    from invented import UPSTREAM_FILE, Invented
    from standin_hub import running
    from test_speed_bench_kill import command, contents

    dice = random.Random(seed)
    done = times = 0
    problems = []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        root = Path(name)
        (root / "upstream.py").write_text(UPSTREAM_FILE)
        with running(root / "hub") as hub, running(root / "plain") as plain:
            invented = Invented(hub, plain)
            hub.latency = plain.latency = 0.02
            began = time.monotonic()
            calm = command(invented, root / "upstream.py", root / "calm", root / "calm-cache")
            subprocess.run(calm, check=True, cwd=TESTS.parent, stdout=subprocess.DEVNULL)
            took = time.monotonic() - began
            want = contents(root / "calm")
            while done < kills and time.monotonic() < until:
                folder = root / str(times)
                folder.mkdir()
                again = command(invented, root / "upstream.py", folder / "data", folder / "cache")
                environment = ["env", f"PYTHONPATH={TESTS.parent}"]
                chance = functools.partial(dice.uniform, -took, -0.1)
                mine = killed_until_through([*environment, *again], folder, kills - done, chance, lambda: None)
                if contents(folder / "data") != want:
                    problems.append(f"preparation {times}: other files")
                done, times = done + mine, times + 1
    return {"kills": done, "preparations": times, "problems": problems}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "counters", "study", "prepare"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing new after these")
    given = parser.parse_args()
    began = time.monotonic()
    until = began + 60 * given.minutes
    if given.what == "prepare":
        told = prepare_kills(given.kills, given.seed, until=until)
    elif given.what == "study":
        told = study_kills(given.kills, given.requests, given.seed, until=until)
    else:
        told = eval_kills(given.kills, given.requests, given.seed, statistics=given.what == "run", until=until)
    print(json.dumps({"what": given.what, **told, "seconds": round(time.monotonic() - began)}))
    sys.exit(bool(told["problems"]))


if __name__ == "__main__":
    main()
