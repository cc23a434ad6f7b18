"""Runs the upstream scripts, which are no part of this project, on the stand-in hub.

They are named by the environment: `SPECDEC_UPSTREAM_NS` (NeMo-Skills' nemo_skills/dataset/speed-bench/prepare.py),
`SPECDEC_UPSTREAM_MO` (Model-Optimizer's specdec_bench/datasets/speed.py), `SPECDEC_UPSTREAM_PYTHON` (a Python with
datasets, pandas, numpy, tiktoken, requests, aiohttp) and `TIKTOKEN_CACHE_DIR` (with the file of o200k_base).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from standin_hub import StandIn

_MO_BASE = """
from dataclasses import dataclass
class Dataset:
    pass
@dataclass
class Request:
    system_prompt: object
    turns: list
    category: str
    question_id: str
"""

_MO_RUN = """
import json, sys
from upstream_mo.speed import SPEEDBench
path = SPEEDBench.prepare_data(sys.argv[2], sys.argv[1])
import pyarrow.parquet as pq
rows = pq.read_table(path).to_pylist()
with open(sys.argv[3], "w") as file:
    for row in rows:
        file.write(json.dumps(row) + "\\n")
"""


class UpstreamRun:
    """Rows that an upstream script made, and what it cost."""

    def __init__(self, rows: list[dict[str, Any]], seconds: float, peak_bytes: int) -> None:
        self.rows, self.seconds, self.peak_bytes = rows, seconds, peak_bytes


def python() -> str:
    return os.environ.get("SPECDEC_UPSTREAM_PYTHON", "python3")


def run_ns(hub: StandIn, folder: Path, config: str) -> UpstreamRun:
    """NeMo-Skills' script; rows have `messages`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "ns_prepare.py"
    script.write_text(_redirected(os.environ["SPECDEC_UPSTREAM_NS"], hub))
    out = folder / "out"
    seconds, peak = _run([python(), str(script), "--config", config, "--output_dir", str(out)], hub, folder)
    if config == "all":
        return UpstreamRun([], seconds, peak)
    rows = [json.loads(line) for line in (out / f"{config}.jsonl").read_text().splitlines()]
    return UpstreamRun(rows, seconds, peak)


def run_mo(hub: StandIn, folder: Path, config: str) -> UpstreamRun:
    """Model-Optimizer's script; rows have `turns`."""
    package = folder / "upstream_mo"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text(_MO_BASE)
    (package / "speed.py").write_text(_redirected(os.environ["SPECDEC_UPSTREAM_MO"], hub))
    (folder / "run_mo.py").write_text(_MO_RUN)
    out = folder / f"{config}.rows"
    command = [python(), str(folder / "run_mo.py"), config, str(folder / "out"), str(out)]
    seconds, peak = _run(command, hub, folder)
    return UpstreamRun([json.loads(line) for line in out.read_text().splitlines()], seconds, peak)


def _redirected(path: str, hub: StandIn) -> str:
    return Path(path).read_text().replace("https://huggingface.co", hub.url)


def _run(command: list[str], hub: StandIn, folder: Path) -> tuple[float, int]:
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env.update(
        HF_ENDPOINT=hub.url,
        HF_HOME=str(folder / "hf_home"),
        HF_TOKEN="good",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_XET="1",
        NO_PROXY="*",
        PYTHONPATH=str(folder),
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.perf_counter()
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return seconds, peak * 1024
