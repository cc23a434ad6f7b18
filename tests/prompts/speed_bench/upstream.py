"""Runs the upstream scripts, which are no part of this project, on the stand-in hub.

They are named by the environment: `SPECDEC_UPSTREAM_NS` (NeMo-Skills' nemo_skills/dataset/speed-bench/prepare.py),
`SPECDEC_UPSTREAM_MO` (Model-Optimizer's specdec_bench/datasets/speed.py), `SPECDEC_UPSTREAM_PYTHON` (a Python with
datasets, pandas, numpy, tiktoken, requests, aiohttp) and `TIKTOKEN_CACHE_DIR` (with the file of o200k_base).
"""

from __future__ import annotations

import json
import os
import subprocess
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

_MO_READ = """
import json, sys
from upstream_mo.speed import SPEEDBench
requests = SPEEDBench(sys.argv[1]).data
print(json.dumps([[request.question_id, request.category, request.turns] for request in requests]))
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


def python() -> str:
    return os.environ.get("SPECDEC_UPSTREAM_PYTHON", "python3")


def command_ns(hub: StandIn, folder: Path, config: str) -> tuple[list[str], dict[str, str]]:
    """How NeMo-Skills' script is run; it writes to `out` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "ns_prepare.py"
    script.write_text(_redirected(os.environ["SPECDEC_UPSTREAM_NS"], hub))
    command = [python(), str(script), "--config", config, "--output_dir", str(folder / "out")]
    return command, environment(hub, folder)


def run_ns(hub: StandIn, folder: Path, config: str) -> list[dict[str, Any]]:
    """Rows that NeMo-Skills' script makes; they have `messages`."""
    _run(*command_ns(hub, folder, config), folder)
    return [json.loads(line) for line in (folder / f"out/{config}.jsonl").read_text().splitlines()]


def command_mo(hub: StandIn, folder: Path, config: str) -> tuple[list[str], dict[str, str]]:
    """How Model-Optimizer's script is run; its rows go to `out/<config>.jsonl` in the folder."""
    _mo_package(hub, folder)
    (folder / "run_mo.py").write_text(_MO_RUN)
    out = folder / "out" / f"{config}.jsonl"
    command = [python(), str(folder / "run_mo.py"), config, str(folder / "out"), str(out)]
    return command, environment(hub, folder)


def run_mo(hub: StandIn, folder: Path, config: str) -> list[dict[str, Any]]:
    """Rows that Model-Optimizer's script makes; they have `turns`."""
    _run(*command_mo(hub, folder, config), folder)
    return [json.loads(line) for line in (folder / f"out/{config}.jsonl").read_text().splitlines()]


def read_mo(hub: StandIn, folder: Path, prepared: Path) -> list[list[Any]]:
    """What Model-Optimizer's loader reads from a prepared folder: id, category and turns."""
    _mo_package(hub, folder)
    command = [python(), "-c", _MO_READ, str(prepared)]
    done = subprocess.run(command, env=environment(hub, folder), cwd=folder, capture_output=True, text=True, check=True)
    read: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return read


def _mo_package(hub: StandIn, folder: Path) -> None:
    package = folder / "upstream_mo"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text(_MO_BASE)
    (package / "speed.py").write_text(_redirected(os.environ["SPECDEC_UPSTREAM_MO"], hub))


def environment(hub: StandIn, folder: Path) -> dict[str, str]:
    """A fresh home on the stand-in hub, without proxies."""
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {
        **env,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf_home"),
        "HF_TOKEN": "good",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "*",
        "PYTHONPATH": str(folder),
    }


def _redirected(path: str, hub: StandIn) -> str:
    return Path(path).read_text().replace("https://huggingface.co", hub.url)


def _run(command: list[str], env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
