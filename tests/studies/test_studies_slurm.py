"""Hydra's multirun on a real Slurm, through hydra-submitit-launcher: each run is a job."""

import csv
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from single_node_slurm import missing, single_node_slurm

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.real_slurm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(missing()), reason=f"a Slurm of our own lacks {', '.join(missing())}"),
    pytest.mark.skipif(
        importlib.util.find_spec("hydra") is None
        or importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None,
        reason="needs the extra [experiments]",
    ),
]


def test_a_multirun_makes_every_run_in_a_job_of_its_own_and_sums_them_up(tmp_path):
    study = tmp_path / "study"
    code = (
        "from pathlib import Path\n"
        "from nemo_skills_specdec.studies.hydra_app import run_hydra\n"
        "from nemo_skills_specdec.studies.summary_files import write_summary\n"
        "outcome = run_hydra(['model=own', 'method=none,ngram', 'benchmark.categories=[coding]', "
        "'sampling.max_tokens=12', 'load.concurrency=2', 'warmup=1', 'hydra/launcher=submitit_slurm', "
        "'hydra.launcher.timeout_min=5', 'hydra.launcher.cpus_per_task=1', 'hydra.launcher.partition=debug'], "
        f"Path({str(study)!r}))\n"
        f"write_summary(Path({str(study)!r}))\n"
        "print(outcome.done, outcome.failed)\n"
    )
    slurm = tmp_path / "slurm"
    slurm.mkdir()
    with single_node_slurm(slurm) as environment:
        path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "PYTHONPATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        jobs = (slurm / "slurmctld.log").read_text()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.split()[-2:] == ["2", "0"]
    assert set(re.findall(r"Started JobId=\d+_(\d+)", jobs)) == {"0", "1"}
    rows = list(csv.DictReader((study / "summary.csv").open()))
    methods = [row["method"] for row in rows if row["category"] == "overall"]
    assert sorted(methods) == ["ngram", "none"]
    (ngram,) = [row for row in rows if row["method"] == "ngram" and row["category"] == "overall"]
    assert float(ngram["speedup_total"]) > 0
    assert {path.parent.name for path in study.glob("hydra/*/outcome.json")} == {"0", "1"}
