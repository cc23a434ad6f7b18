"""The scripts that `ns eval` submits to Slurm, executed: a Slurm of one node, plain processes in place of containers.

    SPECDEC_NS_PYTHON=<newest>/bin/python SPECDEC_NS_IMAGE_PYTHON=<image>/bin/python \\
        pytest -m "real_ns and real_slurm" tests/evaluator/test_ns_slurm.py

The second Python is what an image of NeMo-Skills has: its requirements, not itself, and nothing of this package.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_ns_real import PYTHONS, STANDIN_VLLM

from nemo_skills_specdec.evaluator.dataset_folders import write_dataset_folder

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import single_node_slurm

ROOT = Path(__file__).parents[2]
IMAGE_PYTHON = os.environ.get("SPECDEC_NS_IMAGE_PYTHON", "")

pytestmark = [
    pytest.mark.real_ns,
    pytest.mark.real_slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHONS, reason="SPECDEC_NS_PYTHON names no Python with NeMo-Skills"),
    pytest.mark.skipif(not IMAGE_PYTHON, reason="SPECDEC_NS_IMAGE_PYTHON names no Python as images have it"),
    pytest.mark.skipif(bool(single_node_slurm.missing()), reason="a Slurm of our own lacks something"),
]


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def images(tmp_path):
    """Folders in place of images: one as NeMo-Skills', one with the embedded engine under vLLM's name."""
    server = tmp_path / "images" / "vllm"
    entrypoint = server / "site" / "vllm" / "entrypoints" / "openai" / "api_server.py"
    program(entrypoint, STANDIN_VLLM)
    program(
        server / "site" / "vllm-0.33.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n"
    )
    paths = f"{server / 'site'}:{ROOT}"
    program(
        server / "bin" / "python3",
        f'#!/bin/sh\nexec env PYTHONPATH="$PYTHONPATH:{paths}" {sys.executable} "$@"\n',
    )
    program(server / "bin" / "nvidia-smi", "#!/bin/sh\n")
    image = tmp_path / "images" / "nemo-skills"
    for name in ("python", "python3"):
        program(image / "bin" / name, f'#!/bin/sh\nexec {IMAGE_PYTHON} "$@"\n')
    return {"vllm": str(server), "nemo-skills": str(image), "sandbox": str(image)}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm with eight GPUs on paper, whose `srun` takes containers' options."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for number in range(8):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-7]\n")
    config = single_node_slurm.CONFIG.replace("CPUs=2", "CPUs=2 Gres=gpu:8").replace(
        "MpiDefault", "GresTypes=gpu\nMpiDefault"
    )
    monkeypatch.setattr(single_node_slurm, "CONFIG", config)
    program(
        tmp_path / "wrappers" / "srun",
        f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("container_standin.py")} "$@"\n',
    )
    with single_node_slurm.single_node_slurm(folder) as environment:
        yield {**environment, "PATH": f"{tmp_path / 'wrappers'}:{environment['PATH']}"}


@pytest.mark.parametrize("place_of_package", ["outside git", "in the environment of a git project"])
def test_submitted_jobs_run_with_what_they_were_sent(tmp_path, images, slurm, place_of_package):
    python = PYTHONS[-1]
    project = tmp_path / "project"
    site = project / ".venv" / "site"
    shutil.copytree(
        ROOT / "nemo_skills_specdec", site / "nemo_skills_specdec", ignore=shutil.ignore_patterns("__pycache__")
    )
    if place_of_package != "outside git":
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    write_dataset_folder("mini", tmp_path / "data")
    for logs in ("eval-logs", "eval-results/mini/summarized-results"):
        # A Slurm of Debian's age does not make the folders of its logs, as those of clusters do.
        (tmp_path / "out" / logs).mkdir(parents=True)
    config = {
        "executor": "slurm",
        "containers": images,
        "job_dir": str(tmp_path / "jobs"),
        "account": "a",
        "partition": "debug",
        "cpu_partition": "debug",
        "mounts": [f"{tmp_path / 'data'}:/specdec-data", f"{tmp_path}:/specdec-results"],
        "env_vars": ["HF_HOME=/specdec-data/hf"],
    }
    (tmp_path / "slurm.yaml").write_text(json.dumps(config))
    arguments = ["eval", f"--config_dir={tmp_path}", "--cluster=slurm", "--data_dir=/specdec-data"]
    arguments += ["--output_dir=/specdec-results/out", "--model=M", "--benchmarks=mini", "--server_gpus=8"]
    arguments += ["--server_type=vllm", """--server_args=--speculative-config '{"method":"draft_model"}'"""]
    arguments += ["++max_samples=6", "++inference.tokens_to_generate=16"]
    environment = {
        **slurm,
        "PYTHONPATH": str(site),
        "PATH": f"{tmp_path / 'wrappers'}:{python.parent}:{slurm['PATH']}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NEMORUN_HOME": str(tmp_path / "nemo-run"),
    }
    submitted = subprocess.run(
        [python.parent / "ns", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    folder = tmp_path / "out" / "eval-results" / "mini"
    deadline = time.monotonic() + 420
    while not (folder / "metrics.json").exists():
        queue = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True, check=False).stdout
        logs = "\n".join(path.read_text()[-1500:] for path in tmp_path.glob("out/**/*.log"))
        assert queue.strip(), submitted.stdout[-1500:] + submitted.stderr[-1500:] + logs
        assert time.monotonic() < deadline, queue + logs
        time.sleep(1)
    (line,) = json.loads((folder / "metrics.json").read_text())["mini"].values()
    assert line["spec_source"] == "response"
    sources = line["specdec"]["sources"]
    assert line["spec_num_drafts"] > 0
    assert {name: source["num_drafts"] for name, source in sources.items()} == {
        "response": line["spec_num_drafts"],
        "counters": line["spec_num_drafts"],
    }
    assert not [finding for finding in line["spec_findings"] if finding["severity"] == "invalid"]
