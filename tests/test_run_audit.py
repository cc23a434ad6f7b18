"""Every stored figure of recorded and of fresh runs, recomputed by a program that knows nothing of the package."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from run_audit import Audit

from nemo_skills_specdec.cli import main

DATA = Path(__file__).parent / "data"
RECORDED = sorted([*(DATA / "golden" / "runs").glob("*.tar.gz"), *(DATA / "audited").glob("*.tar.gz")])


def unpacked(archive, folder):
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


def differences(run):
    audit = Audit(run)
    both, wrong, left = audit.compare()
    return len(both), [*wrong, *audit.times()], left


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Runs of the embedded engine, made now: n-gram drafts of varying length, and a window for each category."""
    folder = tmp_path_factory.mktemp("fresh")
    common = ["--config", "small", "--limit-per-category", "1", "--max-tokens", "20", "--concurrency", "4"]
    speed = ["--steady-state", "--slo", "ttft=100ms,tpot=20ms,e2e=5s", "--percentiles", "25,99.9"]
    with pytest.MonkeyPatch.context() as patch:
        for name, options in {
            "vllm": ["--method", "ngram", *speed],
            "sglang": ["--dialect", "sglang", "--by-category", *speed],
            "not-streamed": ["--no-stream"],
        }.items():
            patch.setattr("sys.argv", ["ns-specdec", "eval", *common, *options, "--output-dir", str(folder / name)])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
    return folder


@pytest.mark.parametrize("archive", RECORDED, ids=lambda archive: archive.name.partition(".")[0])
def test_every_figure_of_a_recorded_run_follows_from_its_files(archive, tmp_path):
    count, wrong, left = differences(unpacked(archive, tmp_path))
    assert (wrong, left) == ([], [])
    assert count > 400


@pytest.mark.parametrize("name", ["vllm", "sglang", "not-streamed"])
def test_every_figure_of_a_fresh_run_follows_from_its_files(fresh, name):
    count, wrong, left = differences(fresh / name)
    assert (wrong, left) == ([], [])
    assert count > 300


def test_the_audit_sees_any_figure_that_is_changed(fresh, tmp_path):
    """Each of many figures, changed by a millionth of itself, is the one that is found."""
    run = shutil.copytree(fresh / "vllm", tmp_path / "run")
    stored = json.loads((run / "metrics.json").read_text())
    audit = Audit(run)
    paths = [path for path in audit.compare()[0] if path.startswith(("/overall/", "/averages/", "/sources/"))]
    chosen = np.random.default_rng(0).choice(paths, 40, replace=False)
    for path in chosen:
        *parents, last = path.split("/")[1:]
        changed = json.loads(json.dumps(stored))
        at = changed
        for key in parents:
            at = at[int(key) if isinstance(at, list) else key]
        last = int(last) if isinstance(at, list) else last
        at[last] = 1.0 if at[last] is None else at[last] * (1 + 1e-6) + 1e-6
        audit.stored = changed
        wrong = [found for found, *_ in audit.compare()[1]]
        assert wrong == [path]


def test_the_audit_sees_a_figure_that_it_does_not_know(fresh):
    audit = Audit(fresh / "vllm")
    audit.stored["overall"]["speed"]["invented"] = 1.0
    assert audit.compare()[2] == ["/overall/speed/invented"]
