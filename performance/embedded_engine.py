"""Tokens per CPU second of the embedded engine, this checkout's beside another's, in one run.

    python performance/embedded_engine.py --base CHECKOUT

Each checkout's server is started as a process of its own and asked the same questions over HTTP, the two in turn,
several times over. What counts is the CPU time of the server's process, while it answers and from its start on, and
that both give the same texts (a sampled one may differ in rare cases: float32 rounding depends on what shares a step).
The best of the rounds is taken for each: other work on the machine only ever adds time.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

SERVE = "from nemo_skills_specdec.cli import main; main()"
ROOT = Path(__file__).parents[1]
PROMPTS = [
    "def get(self, key):\n    return",
    "It was a truth that universally",
    "import os\nimport os\nimport",
    "And he said unto them, go and",
    "a b a b a b a b a b",
    "class Tree:\n    def __init__(self",
    "The captain of the ship looked",
    "for i in range(10):\n",
]


class Case(NamedTuple):
    """One kind of load."""

    name: str
    arguments: list[str]
    concurrency: int
    settings: dict[str, Any]


GREEDY: dict[str, Any] = {"temperature": 0}
CASES = [
    Case("draft model, greedy, 1 at a time", [], 1, GREEDY),
    Case("draft model, greedy, 16 at a time", [], 16, GREEDY),
    Case("draft model, T 0.8, 16 at a time", [], 16, {"temperature": 0.8}),
    Case("draft model, T 0.8, top-p 0.95, 16 at a time", [], 16, {"temperature": 0.8, "top_p": 0.95}),
    Case("n-gram, greedy, 16 at a time", ["--method=ngram"], 16, GREEDY),
    Case("no speculation, greedy, 16 at a time", ["--method=none"], 16, GREEDY),
    Case("tree 4x2x1, greedy, 4 at a time", ["--dialect=sglang", "--draft-tree=4x2x1"], 4, GREEDY),
]


class Round(NamedTuple):
    """What one server did in one round.

    Attributes:
        rate: tokens per CPU second after the warm-up.
        whole_rate: the same from the start of the process on, loading and first requests included.
        peak_mib: most memory in use.
        texts: a hash of the answers.
    """

    rate: float
    whole_rate: float
    peak_mib: float
    texts: str


@contextlib.contextmanager
def serving(checkout: Path, arguments: list[str]) -> Iterator[tuple[int, str, int]]:
    """Process id, host and port of a server from a checkout."""
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", SERVE, "serve", "--port=0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=checkout) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())
            yield process.pid, address["host"], address["port"]
        finally:
            process.terminate()


def cpu_seconds(process_id: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(host: str, port: int, number: int, max_tokens: int, settings: dict[str, Any]) -> tuple[int, str]:
    """Tokens and text of one answer."""
    body = {
        "model": "specdec-mini",
        "messages": [{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}],
        "max_tokens": max_tokens,
        "seed": number,
        "ignore_eos": True,
        **settings,
    }
    connection = http.client.HTTPConnection(host, port, timeout=300)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["usage"]["completion_tokens"], answer["choices"][0]["message"]["content"]


def measure(checkout: Path, case: Case, requests: int, max_tokens: int) -> Round:
    """One round; a few requests before it warm the server up."""
    with serving(checkout, case.arguments) as (process_id, host, port), ThreadPoolExecutor(case.concurrency) as pool:

        def answers(count: int) -> list[tuple[int, str]]:
            return list(pool.map(lambda number: ask(host, port, number, max_tokens, case.settings), range(count)))

        first = answers(case.concurrency)
        before = cpu_seconds(process_id)
        told = answers(requests)
        after = cpu_seconds(process_id)
        status = Path(f"/proc/{process_id}/status").read_text()
    tokens = sum(count for count, _ in told)
    whole = tokens + sum(count for count, _ in first)
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
    texts = hashlib.sha256(json.dumps([text for _, text in told]).encode()).hexdigest()[:12]
    return Round(tokens / (after - before), whole / after, peak, texts)


def processor() -> str:
    """The CPU's name."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="checkout to compare with; without it this one is measured alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=96)
    options = parser.parse_args()
    checkouts = {"this": ROOT} | ({"base": options.base.resolve()} if options.base else {})
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{options.requests} requests of {options.max_tokens} tokens, best of {options.rounds} rounds")
    print(f"\n{'':<46}{'tokens per CPU second':>27}{'from the start on':>27}{'peak MiB':>18}")
    head = "".join(f"{name:>9}" for name in (*checkouts, "ratio"))
    print(f"{'':<46}{head}{head}" + "".join(f"{name:>9}" for name in checkouts))
    for case in CASES:
        rounds: dict[str, list[Round]] = {name: [] for name in checkouts}
        for _ in range(options.rounds):
            for name, checkout in checkouts.items():
                rounds[name].append(measure(checkout, case, options.requests, options.max_tokens))
                time.sleep(0.1)
        line = f"{case.name:<46}"
        for pick in (lambda item: item.rate, lambda item: item.whole_rate):
            rates = [max(map(pick, done)) for done in rounds.values()]
            line += "".join(f"{rate:9.0f}" for rate in rates) + f"{rates[0] / rates[-1]:9.2f}"
        line += "".join(f"{max(item.peak_mib for item in done):9.0f}" for done in rounds.values())
        same = len({item.texts for done in rounds.values() for item in done}) == 1
        print(line, "same texts" if same else "texts differ", flush=True)


if __name__ == "__main__":
    main()
