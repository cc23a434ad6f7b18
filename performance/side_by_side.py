"""This tool and others on one live vLLM, in turn: do they count the same drafts and see the same times?

    python performance/side_by_side.py --url http://127.0.0.1:8000 --model m --tokenizer FOLDER
        --vllm PYTHON --aiperf PYTHON --guidellm PYTHON --repeats 3

Each PYTHON is that of an environment with the tool. Every tool sends the same single-turn prompts of `mini`, streamed,
at temperature 0, the same number at once. Nobody else may use the server, and it should keep no prefix cache (vLLM's
`--no-enable-prefix-caching`), since the second tool would find the first one's prompts there. guidellm counts no
drafts: for it the server's counters are read before and after. Prints two Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERIES = tuple(f"vllm:spec_decode_num_{what}_total" for what in ("drafts", "draft_tokens", "accepted_tokens"))
TIMES = ("TTFT", "TPOT", "E2E")


def counters(url: str) -> list[int]:
    """D, T and A of the server so far."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return [sum(int(float(line.split()[-1])) for line in lines if line.startswith(name + "{")) for name in SERIES]


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Runs a tool to its end."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{(done.stderr or done.stdout)[-2000:]}")


class Bench:
    """What all tools are asked for, and where they find it."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.asked, self.folder = arguments, folder
        own = str(Path(sys.executable).parent / "ns-specdec")
        rows = json.loads(
            subprocess.run(
                [
                    sys.executable,
                    "-c",
                    "import json; from nemo_skills_specdec.prompts.sets.mini import load_mini as m;"
                    "print(json.dumps([[r.category, r.messages[0].content] for r in m() if len(r.messages) == 1]))",
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )[: arguments.prompts]
        self.count = len(rows)
        self.prompts = folder / "single.jsonl"
        self.prompts.write_text(
            "".join(json.dumps({"id": f"{i}", "category": c, "prompt": t}) + "\n" for i, (c, t) in enumerate(rows))
        )
        run([own, "prepare", str(self.prompts), "--data-dir", str(folder / "data")], folder)
        for kind in ("vllm", "aiperf", "prompts"):
            exported = [own, "export", str(folder / "data" / "single"), "--to", kind]
            run([*exported, "--output-dir", str(folder / kind)], folder)
        (self.plain,) = (folder / "prompts").glob("*.jsonl")

    def ours(self) -> dict[str, Any]:
        out = self.folder / "run"
        limits = ["--max-tokens", f"{self.asked.max_tokens}", "--concurrency", f"{self.asked.concurrency}"]
        own = [str(Path(sys.executable).parent / "ns-specdec"), "eval", "--server-url", self.asked.url]
        run([*own, "--prompts", str(self.prompts), *limits, "--temperature", "0", "--output-dir", str(out)], out.parent)
        told = json.loads((out / "metrics.json").read_text())
        out.rename(self.folder / f"run-{len(list(self.folder.glob('run-*')))}")
        counts, speed = told["overall"]["acceptance"], told["overall"]["speed"]
        seconds = {"TTFT": speed["ttft_seconds"], "TPOT": speed["tpot_seconds"], "E2E": speed["end_to_end_seconds"]}
        return {
            "counts": [counts["num_drafts"], counts["num_draft_tokens"], counts["num_accepted_tokens"]],
            "tokens": speed["completion_tokens"],
            "rate": speed["output_tokens_per_second"],
            **{name: (1e3 * found["mean"], 1e3 * found["p50"]) for name, found in seconds.items()},
        }

    def vllm(self) -> dict[str, Any]:
        out = self.folder / "vllm.json"
        run(
            [
                *(
                    beside(self.asked.vllm, "vllm"),
                    "bench",
                    "serve",
                    "--backend",
                    "openai-chat",
                    "--skip-chat-template",
                ),
                *("--base-url", self.asked.url, "--endpoint", "/v1/chat/completions", "--model", self.asked.model),
                *("--tokenizer", self.asked.tokenizer, "--dataset-name", "speed_bench", "--disable-shuffle"),
                *("--dataset-path", str(self.folder / "vllm"), "--num-prompts", "-1", "--temperature", "0"),
                *("--speed-bench-output-len", f"{self.asked.max_tokens}", "--ready-check-timeout-sec", "0"),
                *("--max-concurrency", f"{self.asked.concurrency}", "--percentile-metrics", "ttft,tpot,itl,e2el"),
                *("--save-result", "--result-filename", str(out), "--disable-tqdm"),
            ],
            self.folder,
            HF_HUB_OFFLINE="1",
        )
        told = json.loads(out.read_text())
        return {
            "counts": [told[f"spec_decode_{name}"] for name in ("num_drafts", "draft_tokens", "accepted_tokens")],
            "tokens": told["total_output_tokens"],
            "rate": told["output_throughput"],
            **{
                name: (told[f"mean_{key}_ms"], told[f"median_{key}_ms"])
                for name, key in zip(TIMES, ("ttft", "tpot", "e2el"), strict=True)
            },
        }

    def aiperf(self) -> dict[str, Any]:
        out = self.folder / f"aiperf-{len(list(self.folder.glob('aiperf-*')))}"
        run(
            [
                *(beside(self.asked.aiperf, "aiperf"), "profile", "--model", self.asked.model, "--url", self.asked.url),
                *("--endpoint-type", "chat", "--streaming", "--custom-dataset-type", "speed_bench_qualitative"),
                *("--input-file", str(self.folder / "aiperf" / "qualitative.jsonl"), "--ui", "none"),
                *("--dataset-sampling-strategy", "sequential", "--request-count", f"{self.count}"),
                *("--concurrency", f"{self.asked.concurrency}", "--tokenizer", self.asked.tokenizer),
                *("--use-server-token-count", "--output-artifact-dir", str(out)),
                *("--extra-inputs", json.dumps({"temperature": 0, "max_tokens": self.asked.max_tokens})),
            ],
            self.folder,
        )
        told = json.loads(next(out.rglob("profile_export_aiperf.json")).read_text())
        keys = ("time_to_first_token", "inter_token_latency", "request_latency")
        drafted = ("total_spec_decode_steps", "total_draft_tokens", "total_accepted_draft_tokens")
        return {
            "counts": [int(told[name]["avg"]) for name in drafted],
            "tokens": int(told["total_osl"]["avg"]),
            "rate": told["output_token_throughput"]["avg"],
            **{name: (told[key]["avg"], told[key]["p50"]) for name, key in zip(TIMES, keys, strict=True)},
        }

    def guidellm(self) -> dict[str, Any]:
        out = self.folder / "guidellm.json"
        body = {"body": {"temperature": 0}}
        backend = {"kind": "openai_http", "target": self.asked.url, "model": self.asked.model, "extras": body}
        backend |= {"request_format": "/v1/chat/completions", "max_tokens": self.asked.max_tokens}
        before = counters(self.asked.url)
        run(
            [
                *(beside(self.asked.guidellm, "guidellm"), "run", "--backend", json.dumps(backend)),
                *("--profile", f"kind=concurrent,streams={self.asked.concurrency}", "--disable-progress"),
                *("--constraint", f"kind=max_requests,count={self.count}"),
                *("--data", f"kind=json_file,path={self.plain}", "--output", f"kind=json,path={out}"),
                *("--tokenizer", f"kind=hf_auto,model={self.asked.tokenizer}"),
            ],
            self.folder,
            HF_HUB_OFFLINE="1",
        )
        after = counters(self.asked.url)
        (told,) = json.loads(out.read_text())["benchmarks"]
        done = told["requests"]["successful"]
        # Its own mean of the inter-token latency weighs answers by their tokens; here every answer counts the same.
        spread = {
            "TTFT": [request["time_to_first_token_ms"] for request in done],
            "TPOT": [request["inter_token_latency_ms"] for request in done if request["inter_token_latency_ms"]],
            "E2E": [1e3 * request["request_latency"] for request in done],
        }
        first = min(request["request_start_time"] for request in done)
        wall = max(request["request_end_time"] for request in done) - first
        tokens = sum(request["output_tokens"] for request in done)
        return {
            "counts": [late - early for late, early in zip(after, before, strict=True)],
            "tokens": tokens,
            "rate": tokens / wall,
            **{name: (statistics.mean(values), statistics.median(values)) for name, values in spread.items()},
        }


def beside(python: str, command: str) -> str:
    return str(Path(python).parent / command)


def report(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Counts of every run, and the mean of the runs of each figure with its range."""
    print("\n| tool | run | D | T | A | tokens |\n|---|---|---|---|---|---|")
    for tool, found in runs.items():
        for number, one in enumerate(found, 1):
            print(f"| {tool} | {number} | {' | '.join(map(str, one['counts']))} | {one['tokens']} |")
    print(
        "\n| tool | " + " | ".join(f"{name} mean, p50, ms" for name in TIMES) + " | tokens/s |\n|---|---|---|---|---|"
    )
    for tool, found in runs.items():
        cells = [", ".join(_spread([one[name][which] for one in found]) for which in (0, 1)) for name in TIMES]
        print(f"| {tool} | {' | '.join(cells)} | {_spread([one['rate'] for one in found])} |")


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ({min(values):.1f} - {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("url", "model", "tokenizer"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("vllm", "aiperf", "guidellm"):
        parser.add_argument(f"--{name}", help=f"Python of an environment with {name}")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every run to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        tools: dict[str, Callable[[], dict[str, Any]]] = {"ns-specdec": bench.ours}
        tools |= {name: getattr(bench, name) for name in ("vllm", "aiperf", "guidellm") if getattr(arguments, name)}
        runs: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
        for _ in range(arguments.repeats):
            for tool, measure in tools.items():
                runs[tool].append(measure())
                print(tool, json.dumps(runs[tool][-1]), file=sys.stderr, flush=True)
        report(runs)
        if arguments.json:
            arguments.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
