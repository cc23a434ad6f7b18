"""What clients cost and how true their times are, against a server that logs when it really wrote.

    python performance/clients.py --output clients.md                       this client, a C reader and wrk
    python performance/clients.py --output clients.md --peers PY PY --sglang-wheel FILE.whl
                                                                            and what is installed for each interpreter
                                                                            (vLLM, guidellm, aiperf, SGLang), and the
                                                                            Rust client in SGLang's wheel

By the lengths of the loads some 6 minutes on two quiet cores and 5 more with peers, which run `--peer-loads` only,
once, with a fifth of the requests where those are short: costs are by request and by chunk. At the end stands what of
the promises holds.

Every load is run `--repeats` times, clients in turn, one at a time, each in a process of its own, against one server in
C (`server.c`). CPU is that of the client's process and of what it started and waited for, less the CPU of the same
command with one short request: start-up is not counted. The errors of TTFT and end-to-end time are of this client's own
figures, answer by answer, against the server's log; of others the mean that they report is set against the log's.
Needs a C compiler and Linux; `wrk` is used where it is installed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MAX_TOKENS = "400"
OWN = ("reader", "ours", "wrk")
"""The clients that are quick to start; the others are peers."""
TTFT_MEDIAN_MS, TTFT_P99_MS = 1.0, 5.0
"""How far off TTFT and end-to-end times may be."""
_ENOUGH_CHUNKS = 2000
"""With fewer, the cost of chunks drowns in that of starting up."""


class Load:
    """What the server does and how much of it is asked for."""

    def __init__(
        self,
        streams: int,
        chunks: int,
        requests: int = 0,
        *,
        interval: float = 25,
        lockstep: int = 0,
        streamed: int = 1,
    ) -> None:
        self.streams, self.chunks, self.requests = streams, chunks, requests or streams
        self.interval, self.lockstep, self.streamed = interval, lockstep, streamed

    def for_peers(self) -> Load:
        """A fifth of the requests where they are short: some peers take 13 ms for one."""
        requests = self.requests // 5 if self.requests > self.streams else self.requests
        return Load(
            self.streams, self.chunks, requests, interval=self.interval, lockstep=self.lockstep, streamed=self.streamed
        )

    def __str__(self) -> str:
        how = ("streamed" if self.streamed else "not streamed") + (", in lockstep" if self.lockstep else "")
        rate = f"{self.streams * 1000 / self.interval:,.0f} chunks/s" if self.interval else "as fast as it goes"
        return f"{self.streams:,} at once, {self.requests:,} requests of {self.chunks} chunks, {rate}, {how}"


def loads(scale: float) -> list[Load]:
    long = max(int(200 * scale), 8)
    return [
        *(Load(streams, long) for streams in (1, 64, 200, 512, 1000)),
        Load(2000, long, interval=100),
        Load(200, long, lockstep=1),
        Load(512, long, lockstep=1),
        Load(64, 8, max(int(20_000 * scale), 200), interval=0),
        Load(64, 8, max(int(20_000 * scale), 200), interval=0, streamed=0),
    ]


def ours(url: str, streams: int, requests: int, streamed: int) -> None:
    """Runs this client; prints what it saw, answer by answer."""
    sys.path.insert(0, str(HERE.parent))
    from nemo_skills_specdec.client.answer import read_answer
    from nemo_skills_specdec.client.exchange import Exchange, LoadOptions, RequestOptions
    from nemo_skills_specdec.client.send import send_all
    from nemo_skills_specdec.records import Message, PromptRow

    rows = [PromptRow(question_id=f"{i}", category="c", messages=[Message("user", "hi")]) for i in range(requests)]
    seen: list[tuple[int, int, float, float, float]] = []
    ends = []

    def note(exchange: Exchange) -> None:
        if exchange.error is not None:
            raise SystemExit(exchange.error)
        times = exchange.chunk_times or [exchange.ended_at]
        seen.append((len(exchange.frames), 0, exchange.sent_at, times[0], exchange.ended_at))
        ends.append(exchange.frames[-1])

    sent = send_all(
        rows,
        url=url,
        request=RequestOptions(model="m", max_tokens=400, stream=bool(streamed)),
        load=LoadOptions(concurrency=streams),
        on_exchange=note,
        keep=False,
    )
    cpu = time.process_time()
    answers = []
    accepted = 0
    for (frames, _, *times), end in zip(seen, ends, strict=True):
        answer = read_answer(_exchange(end))
        counts = answer.response["metrics"]["speculative_decoding"]
        accepted += counts["num_accepted_draft_tokens"]
        answers.append([frames, int(str(answer.response_id)[9:]), *times])
    late = sent.lateness
    print(
        json.dumps(
            {
                "answers": answers,
                "cpu": cpu,
                "accepted": accepted,
                "late": [late.p50_seconds, late.p99_seconds, late.opening_max_seconds],
                "dispatch_p99": sent.dispatch.p99_seconds,
            }
        )
    )


def _exchange(frame: bytes) -> Any:
    from nemo_skills_specdec.client.exchange import Exchange

    return Exchange(question_id="", category="", turn=0, scheduled_at=0, sent_at=0, ended_at=0, frames=[frame])


class Bench:
    """The files that all runs need, and how each client is called."""

    def __init__(self, folder: Path, peers: list[str], wheel: Path | None) -> None:
        self.folder, self.python = folder, {}
        self.idle: dict[tuple[str, int], float] = {}
        for name in ("server", "reader"):
            subprocess.run(["cc", "-O2", "-o", folder / name, HERE / f"{name}.c"], check=True, capture_output=True)
        self.clients = ["reader", "ours"]
        if shutil.which("wrk"):
            self.clients.append("wrk")
            body = '{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":400,"stream":true}'
            (folder / "post.lua").write_text(
                f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n"
            )
        if wheel is not None:
            with zipfile.ZipFile(wheel) as archive:
                name = next(name for name in archive.namelist() if "/_bench." in name and name.endswith(".so"))
                self.rust = Path(archive.extract(name, folder))
            self.clients.append("sglang-rust")
        for python in peers:
            for name in ("vllm", "guidellm", "aiperf", "sglang"):
                if (Path(python).parent / name).exists():
                    self.clients.append(name)
                    self.python[name] = python
        if wheel is not None or peers:
            self.write_tokenizer()

    def write_tokenizer(self) -> None:
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import Whitespace

        words = ["[UNK]", "some", "words", "say", "what", "this", "is", "all", "about"]
        tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
        (self.folder / "tokenizer").mkdir()
        tokenizer.save(str(self.folder / "tokenizer" / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "model_max_length": 100_000}
        (self.folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))

    def prompts(self, count: int) -> tuple[Path, Path]:
        """The prompts, as lines and in ShareGPT's form."""
        text = "say what this is all about some words"
        lines, talks = self.folder / f"{count}.jsonl", self.folder / f"{count}.json"
        if not lines.exists():
            row = json.dumps({"prompt": text, "output_tokens_count": int(MAX_TOKENS)})
            lines.write_text(f"{row}\n" * count)
            lines.with_suffix(".texts").write_text(f"{json.dumps({'text': text})}\n" * count)
            said = [{"from": "human", "value": text}, {"from": "gpt", "value": text}]
            talks.write_text(json.dumps([{"conversations": said}] * count))
        return lines, talks

    def command(self, client: str, url: str, streams: int, requests: int, streamed: int) -> list[str] | None:
        """How a client is called; None where it cannot do that."""
        lines, talks = self.prompts(requests)
        tokenizer, out = str(self.folder / "tokenizer"), str(self.folder / "out.json")
        beside = Path(self.python.get(client, "")).parent
        if client == "reader":
            return [str(self.folder / "reader"), url.rsplit(":", 1)[1], str(streams), str(requests), str(streamed)]
        if client == "ours":
            return [sys.executable, __file__, "--ours", url, str(streams), str(requests), str(streamed)]
        if client == "wrk":
            return None
        sglang = [
            *("--backend", "vllm-chat", "--base-url", url, "--model", "m", "--dataset-name", "sharegpt"),
            *("--dataset-path", str(talks), "--sharegpt-output-len", MAX_TOKENS, "--num-prompts", str(requests)),
            *("--max-concurrency", str(streams), "--output-file", out, "--disable-tqdm"),
            *([] if streamed else ["--disable-stream"]),
        ]
        if client == "sglang":
            return [self.python[client], "-m", "sglang.bench_serving", "--tokenizer", tokenizer, *sglang]
        if client == "sglang-rust":
            code = (
                "import importlib.machinery as m, importlib.util as u, sys\n"
                f"loader = m.ExtensionFileLoader('sglang.srt.rust_extensions._bench', {str(self.rust)!r})\n"
                "bench = u.module_from_spec(u.spec_from_loader(loader.name, loader)); loader.exec_module(bench)\n"
                "bench.run_argv(['sglang-bench', *sys.argv[1:]])"
            )
            own = ["--tokenizer", f"{tokenizer}/tokenizer.json", "--disable-retokenize"]
            return [sys.executable, "-c", code, *own, *sglang]
        if client == "vllm":
            return [
                *(
                    str(beside / "vllm"),
                    "bench",
                    "serve",
                    "--backend",
                    "openai-chat",
                    "--base-url",
                    url,
                    "--model",
                    "m",
                ),
                *("--endpoint", "/v1/chat/completions", "--tokenizer", tokenizer, "--dataset-name", "custom"),
                *("--dataset-path", str(lines), "--num-prompts", str(requests), "--custom-output-len", MAX_TOKENS),
                *("--skip-chat-template", "--max-concurrency", str(streams), "--percentile-metrics", "ttft,e2el"),
                *("--save-result", "--result-filename", out, "--disable-tqdm"),
                *([] if streamed else ["--extra-body", '{"stream":false}']),
            ]
        if client == "guidellm":
            backend = f"kind=openai_http,target={url},model=m,request_format=/v1/chat/completions"
            return [
                *(str(beside / "guidellm"), "run", "--backend", backend + ("" if streamed else ",stream=false")),
                *("--profile", f"kind=concurrent,streams={streams}"),
                *("--constraint", f"kind=max_requests,count={requests}", "--data", f"kind=json_file,path={lines}"),
                *("--tokenizer", f"kind=hf_auto,model={tokenizer}", "--output", f"kind=json,path={out}"),
                "--disable-progress",
            ]
        return [
            *(str(beside / "aiperf"), "profile", "--model", "m", "--url", url, "--endpoint-type", "chat"),
            *(["--streaming"] if streamed else []),
            *(
                "--input-file",
                str(lines.with_suffix(".texts")),
                "--custom-dataset-type",
                "single_turn",
                "--concurrency",
                str(streams),
            ),
            *("--request-count", str(requests), "--tokenizer", tokenizer, "--use-server-token-count"),
            *("--output-artifact-dir", str(self.folder / "aiperf"), "--ui", "none"),
        ]

    def told(self, client: str, printed: str) -> float | None:
        """The mean TTFT in ms that a client reports."""
        out = self.folder / "out.json"
        try:
            if client in ("sglang", "sglang-rust"):
                return float(json.loads(out.read_text().splitlines()[-1])["mean_ttft_ms"])
            if client == "vllm":
                return float(json.loads(out.read_text())["mean_ttft_ms"])
            if client == "guidellm":
                metrics = json.loads(out.read_text())["benchmarks"][0]["metrics"]
                return float(metrics["time_to_first_token_ms"]["successful"]["mean"])
            if client == "aiperf":
                report = next((self.folder / "aiperf").rglob("profile_export_aiperf.json"))
                return float(json.loads(report.read_text())["time_to_first_token"]["avg"])
        except (OSError, KeyError, TypeError, StopIteration, ValueError):
            return None
        return None


def get(url: str, path: str) -> str:
    with urllib.request.urlopen(url + path) as answer:
        return answer.read().decode()  # type: ignore[no-any-return]


def timed(command: list[str]) -> tuple[float, str]:
    """CPU seconds of a command and of what it started and waited for, and what it printed."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if "aiperf" not in command[0]:  # which takes no tokenizer from a folder then
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout)[-400:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def run_once(bench: Bench, client: str, url: str, load: Load) -> dict[str, Any]:
    """One run of one client, with its start-up subtracted."""
    if client == "wrk":
        return run_wrk(bench, url, load)
    command = bench.command(client, url, load.streams, load.requests, load.streamed)
    alone = bench.command(client, url, 1, 1, load.streamed)
    assert command is not None
    assert alone is not None
    kind = client, load.streamed
    if kind not in bench.idle:
        bench.idle[kind] = min(timed(alone)[0] for _ in range(2 if client in OWN else 1))
    idle = bench.idle[kind]
    get(url, "/reset")
    shutil.rmtree(bench.folder / "aiperf", ignore_errors=True)
    cpu, printed = timed(command)
    log = [tuple(map(int, line.split())) for line in get(url, "/log").splitlines()][-load.requests :]
    if len(log) < load.requests:
        raise RuntimeError(f"{len(log)} of {load.requests} requests reached the server")
    true_ttft = statistics.mean((first - read) / 1e6 for _, read, first, _ in log)
    result = {
        "us_per_chunk": 1e6 * (cpu - idle) / (load.requests * load.chunks),
        "us_per_request": 1e6 * (cpu - idle) / load.requests,
        "true_ttft_ms": true_ttft,
        "told_ttft_ms": bench.told(client, printed),
    }
    if client == "ours":
        result |= errors(json.loads(printed), {line[0]: line[1:] for line in log}, load)
    return result


def errors(seen: dict[str, Any], log: dict[int, tuple[int, ...]], load: Load) -> dict[str, Any]:
    """This client's times against the server's, answer by answer, in ms; and whether all counts are exact."""
    ttft, whole, arrival = [], [], []
    frames = load.chunks + 2 if load.streamed else 1
    exact = len(seen["answers"]) == load.requests and seen["accepted"] == load.requests * load.chunks
    for count, identity, sent, first, ended in seen["answers"]:
        exact = exact and count == frames
        read, wrote, last = (value / 1e9 for value in log[identity])
        ttft.append(1e3 * abs((first - sent) - (wrote - read)))
        whole.append(1e3 * abs((ended - sent) - (last - read)))
        arrival.append(1e3 * abs(first - wrote))
    return {
        "told_ttft_ms": statistics.mean(1e3 * (first - sent) for _, _, sent, first, _ in seen["answers"]),
        "ttft_error_ms": [quantile(ttft, 0.5), quantile(ttft, 0.99)],
        "e2e_error_ms": [quantile(whole, 0.5), quantile(whole, 0.99)],
        "arrival_error_ms": [quantile(arrival, 0.5), quantile(arrival, 0.99)],
        "read_late_ms": [1e3 * (value or 0.0) for value in seen["late"]],
        "exact": exact,
    }


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def run_wrk(bench: Bench, url: str, load: Load) -> dict[str, Any]:
    """`wrk` has no number of requests, so it runs for a time; it is of use where answers come as fast as it goes."""
    seconds = 2
    get(url, "/reset")
    command = ["wrk", "-t1", f"-c{load.streams}", f"-d{seconds}s", "-s", str(bench.folder / "post.lua")]
    cpu, _ = timed([*command, f"{url}/v1/chat/completions"])
    requests = len(get(url, "/log").splitlines())
    return {"us_per_chunk": 1e6 * cpu / (requests * load.chunks), "us_per_request": 1e6 * cpu / requests}


def machine() -> str:
    """What it was run on."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in told if "model name" in line]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M')}"
    )


def promises(kept: Sequence[tuple[Load, dict[str, list[dict[str, Any]]]]]) -> list[str]:
    """A line a load: whether this client's times are as true as promised, and what it costs beside C."""
    lines = ["", "### Errors of this client's times against the server's log, medians over the runs", ""]
    lines += [
        "| load | TTFT p50, p99 ms | end to end p50, p99 ms | within 1 and 5 ms | CPU a chunk, over C |",
        "|---|---|---|---|---|",
    ]
    for load, runs in kept:
        told = [run for run in runs.get("ours", []) if "ttft_error_ms" in run]
        if not told or not load.streamed:
            continue
        pairs = [
            [statistics.median(run[key][i] for run in told) for i in (0, 1)]
            for key in ("ttft_error_ms", "e2e_error_ms")
        ]
        good = all(median <= TTFT_MEDIAN_MS and p99 <= TTFT_P99_MS for median, p99 in pairs)
        costs = [
            statistics.median(run["us_per_chunk"] for run in runs[name]) if runs.get(name) else math.nan
            for name in ("ours", "reader")
        ]
        cells = [", ".join(f"{value:.2f}" for value in pair) for pair in pairs]
        enough = load.requests * load.chunks >= _ENOUGH_CHUNKS
        lines.append(
            f"| {load} | {cells[0]} | {cells[1]} | {'yes' if good else 'NO'} "
            f"| {f'{costs[0] / costs[1]:.2f}' if enough else ''} |"
        )
    return lines


def report(load: Load, runs: dict[str, list[dict[str, Any]]], say: Callable[[str], None]) -> None:
    """One table, of medians."""
    say(f"\n### {load}\n")
    say("| client | us/chunk | us/request | ratio | TTFT told (true), ms | TTFT error p50, p99 | E2E error | exact |")
    say("|---|---|---|---|---|---|---|---|")
    floor = statistics.median(run["us_per_request"] for run in runs["reader"]) if runs.get("reader") else None
    for client, all_runs in runs.items():
        if not all_runs:
            continue

        def middle(key: str, of: list[dict[str, Any]] = all_runs) -> float | None:
            values = [run[key] for run in of if run.get(key) is not None]
            return statistics.median(values) if values else None

        def pair(key: str, of: list[dict[str, Any]] = all_runs) -> str:
            values = [run[key] for run in of if key in run]
            return ", ".join(f"{statistics.median(v[i] for v in values):.2f}" for i in (0, 1)) if values else ""

        told, true, cost = middle("told_ttft_ms"), middle("true_ttft_ms"), middle("us_per_request") or 0.0
        exact = {run["exact"] for run in all_runs if "exact" in run}
        costs = f"{middle('us_per_chunk'):.1f} | {cost:,.0f} | {cost / floor if floor else 0:.2f}"
        if load.requests * load.chunks < _ENOUGH_CHUNKS:
            costs = "| |"
        say(
            f"| {client} | {costs} "
            f"| {f'{told:.1f} ({true:.1f})' if told is not None and true is not None else ''} "
            f"| {pair('ttft_error_ms')} | {pair('e2e_error_ms')} | {', '.join('yes' if e else 'NO' for e in exact)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="interpreters of environments that hold other clients")
    parser.add_argument("--sglang-wheel", type=Path, help="SGLang's wheel, which holds its Rust client")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the runs")
    parser.add_argument("--only", nargs="*", default=[], help="run these clients only")
    parser.add_argument("--loads", nargs="*", type=int, help="run these loads only, by number from 0")
    parser.add_argument("--peer-loads", nargs="*", type=int, default=[2, 8], help="the loads that peers run")
    parser.add_argument("--output", type=Path, help="write the tables to this file too, as Markdown")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--ours", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        url, *numbers = arguments.ours
        ours(url, *map(int, numbers))
        return
    kept: list[tuple[Load, dict[str, list[dict[str, Any]]]]] = []
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.peers, arguments.sglang_wheel)
        for number, load in enumerate(loads(arguments.scale)):
            if arguments.loads and number not in arguments.loads:
                continue
            shape = [load.chunks, int(1000 * load.interval), 50_000 if load.interval else 0, load.lockstep]
            server = subprocess.Popen([bench.folder / "server", *map(str, shape)], stdout=subprocess.PIPE, text=True)
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            wanted = [client for client in bench.clients if not arguments.only or client in arguments.only]
            if load.interval or not load.streamed:
                wanted = [client for client in wanted if client != "wrk"]
            if number not in arguments.peer_loads:
                wanted = [client for client in wanted if client in OWN]
            runs: dict[str, list[dict[str, Any]]] = {client: [] for client in wanted}
            try:
                for repeat in range(arguments.repeats):
                    for client in wanted:
                        if repeat and client not in OWN:
                            continue
                        try:
                            runs[client].append(
                                run_once(bench, client, url, load if client in OWN else load.for_peers())
                            )
                        except (RuntimeError, subprocess.TimeoutExpired) as error:
                            print(f"{client} failed: {error}", file=sys.stderr)
            finally:
                server.kill()
                server.wait()
            report(load, runs, say)
            kept.append((load, runs))
    for line in promises(kept):
        say(line)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([{"load": str(load), "runs": runs} for load, runs in kept], indent=1))


if __name__ == "__main__":
    main()
