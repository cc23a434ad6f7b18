"""`eval --logprobs` and `compare --outputs`, from a real engine's answers to the verdict."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import nemo_skills_specdec

MODELS = Path(nemo_skills_specdec.__file__).parent / "embedded" / "models"
COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]


def ns_specdec(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=120)


def measure(folder, *options):
    done = ns_specdec(
        "eval", "--limit-per-category", "1", "--max-tokens", "16", "--concurrency", "8", "--logprobs", "4",
        "--by-category", "--output-dir", str(folder), *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(folder)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    return [measure(folder / name, "--method", "none") for name in ("first", "second")]


def outputs_of(*arguments):
    done = ns_specdec("compare", *arguments, "--outputs", "--json")
    return done.returncode, json.loads(done.stdout)["comparisons"][0]["outputs"]


def test_the_engine_s_own_speculation_is_lossless(baseline, tmp_path):
    first, second = baseline
    code, outputs = outputs_of(first, measure(tmp_path / "run"), "--self", second)
    assert (code, outputs["verdict"]) == (0, "identical")


def test_a_model_whose_weights_are_a_little_off_differs_at_near_ties(baseline, tmp_path):
    pair = shutil.copytree(MODELS, tmp_path / "pair")
    weights = load_file(pair / "target" / "model.safetensors")
    noise = np.random.default_rng(0)
    for name, values in weights.items():
        if name.endswith(".scale"):
            off = values.astype(np.float32) * (1 + 0.004 * noise.standard_normal(values.shape))
            weights[name] = off.astype(values.dtype)
    save_file(weights, pair / "target" / "model.safetensors")
    first, second = baseline
    _, outputs = outputs_of(
        first, measure(tmp_path / "run", "--method", "none", "--model", str(pair)), "--self", second
    )
    assert outputs["run"]["near_ties"] > 0
    assert outputs["run"]["real_changes"] == 0
    assert outputs["verdict"] != "more different than the baseline from itself"
