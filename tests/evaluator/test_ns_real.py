"""Real `ns prepare_data` and `ns eval` against the embedded engine, checked against its ledger.

    SPECDEC_NS_PYTHON=<october>/bin/python:<february>/bin/python pytest -m real_ns tests/evaluator/test_ns_real.py

Each Python named (separated as in PATH) has a NeMo-Skills of any state and the dependencies of this package; the
package itself is taken from this checkout. What a state can do is read from its code. A test takes a minute or two.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import requests

from nemo_skills_specdec.acceptance import NO_STEPS, counts_from_steps, total
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.evaluator.dataset_folders import write_dataset_folder
from nemo_skills_specdec.evaluator.rows import read_rows, responses_of

ROOT = Path(__file__).parents[2]
PYTHONS = [Path(path) for path in os.environ.get("SPECDEC_NS_PYTHON", "").split(os.pathsep) if path]

pytestmark = [
    pytest.mark.real_ns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHONS, reason="SPECDEC_NS_PYTHON names no Python with NeMo-Skills"),
]

KNOWN = "evaluation_mode | num_entries | avg_tokens | gen_seconds | spec_acceptance_length | spec_acceptance_rate"


@pytest.fixture(params=PYTHONS, ids=lambda path: path.parents[1].name)
def python(request):
    return request.param


@pytest.fixture
def place(tmp_path):
    """A folder to run in, with prepared data in `data`."""
    write_dataset_folder("mini", tmp_path / "data")
    return tmp_path


def environment(python, **more):
    own = {key: value for key, value in os.environ.items() if not key.startswith("NEMO_SKILLS")}
    return own | {
        "PATH": f"{python.parent}{os.pathsep}{own['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "COLUMNS": "5000",
        **more,
    }


def ns(python, place, *arguments, **more):
    """Runs `ns` and returns what it and its jobs wrote; it exits 0 even when a job fails."""
    done = subprocess.run(
        [python.parent / "ns", *arguments],
        cwd=place,
        env=environment(python, **more),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def code_of(python, path):
    """The text of a file of this NeMo-Skills; empty where it has none."""
    (folder,) = python.parent.parent.glob("lib/python3.*/site-packages/nemo_skills")
    return (folder / path).read_text() if (folder / path).exists() else ""


def builds_servers_itself(python):
    """Whether `ns eval` builds servers without asking the task; a dry run of it shows no server then."""
    return "ServerScript" in code_of(python, "pipeline/eval.py")


def evaluation(server, place, benchmark="mini", output="out"):
    return [
        "eval",
        f"--data_dir={place / 'data'}",
        f"--server_type={server.options.dialect}",
        f"--server_address={server.base_url}/v1",
        f"--model={server.options.served_model_name}",
        f"--benchmarks={benchmark}",
        f"--output_dir={place / output}",
        "++inference.tokens_to_generate=32",
        "++max_concurrent_requests=4",
    ]


def results(place, benchmark="mini", output="out"):
    return place / output / "eval-results" / benchmark


def ledger(server, identities):
    told = requests.get(f"{server.base_url}/ledger", timeout=30).json()["requests"]
    found = {
        steps["request_id"]: counts_from_steps(steps["accepted"], steps["drafted"])
        for steps in told
        if steps["request_id"] in identities
    }
    assert set(found) == set(identities)
    return found


def line_of(folder, benchmark="mini"):
    metrics = json.loads((folder / "metrics.json").read_text())
    (line,) = metrics[benchmark].values()
    return metrics, line


def assert_equals(line, counts):
    assert line["spec_num_drafts"] == counts.num_drafts
    assert line["spec_draft_tokens"] == counts.num_draft_tokens
    assert line["spec_accepted_tokens"] == counts.num_accepted_tokens
    assert line["spec_accepted_per_position"] == list(counts.accepted_per_position)
    assert line["spec_acceptance_length"] == counts.acceptance_length


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_ns_eval_prints_the_table_and_writes_the_sums_of_the_ledger(python, place, dialect, request):
    server = request.getfixturevalue(dialect)
    printed = ns(python, place, *evaluation(server, place), "++max_samples=12")
    folder = results(place)
    assert (folder / "output.jsonl.done").exists(), printed[-3000:]
    found = responses_of(read_rows(folder / "output.jsonl"))
    metrics, line = line_of(folder)
    assert_equals(line, total(ledger(server, found).values()))
    assert found == ledger(server, found)
    assert KNOWN in re.sub(r" +", " ", printed)
    assert {"mini-coding", "mini-humanities", "mini-math"} == set(metrics) - {"mini"}


def test_seeds_side_by_side_on_one_server_are_told_apart_by_their_answers_and_added(python, place, vllm):
    printed = ns(python, place, *evaluation(vllm, place, "mini:2"), "++max_samples=6")
    folder = results(place)
    assert (folder / "output-rs1.jsonl.done").exists(), printed[-3000:]
    found = {k: v for seed in (0, 1) for k, v in responses_of(read_rows(folder / f"output-rs{seed}.jsonl")).items()}
    metrics, line = line_of(folder)
    assert list(metrics["mini"]) == ["pass@1[avg-of-2]"]
    assert_equals(line, total(ledger(vllm, found).values()))


def test_seeds_side_by_side_are_added_from_counters_too(python, place, vllm_counters):
    printed = ns(python, place, *evaluation(vllm_counters, place, "mini:2"), "++max_samples=6")
    folder = results(place)
    found = {k: v for seed in (0, 1) for k, v in responses_of(read_rows(folder / f"output-rs{seed}.jsonl")).items()}
    _, line = line_of(folder)
    assert line["spec_source"] == "counters", printed[-3000:]
    assert_equals(line, total(ledger(vllm_counters, found).values()))


def test_chunks_are_merged_and_added(python, place, vllm_counters):
    printed = ns(python, place, *evaluation(vllm_counters, place), "--num_chunks=2", "++max_samples=5")
    folder = results(place)
    assert (folder / "output.jsonl.done").exists(), printed[-3000:]
    found = responses_of(read_rows(folder / "output.jsonl"))
    assert_equals(line_of(folder)[1], total(ledger(vllm_counters, found).values()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_job_that_is_stopped_half_way_goes_on_and_its_counts_are_the_ledgers(python, place, vllm, number):
    arguments = [*evaluation(vllm, place), "++inference.tokens_to_generate=200", "++max_concurrent_requests=2"]
    started = subprocess.Popen(
        [python.parent / "ns", *arguments],
        cwd=place,
        env=environment(python),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    unfinished = results(place) / "output.jsonl-async"
    deadline = time.monotonic() + 300
    while not (unfinished.exists() and unfinished.read_text().count("\n") >= 10):
        assert time.monotonic() < deadline
        assert started.poll() is None, "the job ended before it could be stopped"
        time.sleep(0.05)
    os.kill(generation_process(place), number)
    started.wait(300)
    assert not (results(place) / "output.jsonl.done").exists()
    printed = ns(python, place, *arguments)
    folder = results(place)
    assert (folder / "output.jsonl.done").exists(), printed[-3000:]
    rows = read_rows(folder / "output.jsonl")
    assert len(rows) == 110
    found = responses_of(rows)
    assert found == ledger(vllm, found)
    assert_equals(line_of(folder)[1], total(found.values()))
    attempts = json.loads((folder / "output.jsonl.specdec.json").read_text())["attempts"]
    assert [attempt["status"] for attempt in attempts] == ["cut_off", "complete"]


def generation_process(place):
    """The process that generates into this place; its shell has the same words in one argument."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
        except OSError:
            continue
        if b"nemo_skills_specdec.evaluator.generation" in words and str(place).encode() in b" ".join(words):
            return int(folder.name)
    raise AssertionError("no generation process")


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_benchmarks_and_seeds_on_one_server_do_not_take_each_other_for_strangers(python, place, dialect, request):
    server = request.getfixturevalue(dialect)
    write_dataset_folder("mini-specdec", place / "data")
    printed = ns(python, place, *evaluation(server, place, "mini:2,mini-specdec"), "++max_samples=6")
    for benchmark, outputs in (("mini", ["output-rs0", "output-rs1"]), ("mini-specdec", ["output"])):
        folder = results(place, benchmark)
        found = {}
        for name in outputs:
            found |= responses_of(read_rows(folder / f"{name}.jsonl"))
        _, line = line_of(folder, benchmark)
        assert line["spec_source"] == "response", printed[-3000:]
        assert_equals(line, total(ledger(server, found).values()))
        codes = {finding["code"] for finding in line["spec_findings"]}
        assert not codes & {"foreign_traffic", "sources_disagree"}, line["spec_findings"]


def test_a_job_that_is_complete_can_be_run_again(python, place, vllm):
    arguments = [*evaluation(vllm, place), "++max_samples=4"]
    ns(python, place, *arguments)
    before = (results(place) / "output.jsonl").read_bytes()
    # As after a failure that came after the last answer.
    (results(place) / "output.jsonl.done").unlink()
    (results(place) / "metrics.json").unlink()
    printed = ns(python, place, *arguments)
    assert (results(place) / "output.jsonl.done").exists(), printed[-3000:]
    assert (results(place) / "output.jsonl").read_bytes() == before
    assert line_of(results(place))[1]["spec_num_drafts"] > 0


def test_what_goes_wrong_is_one_clear_line_and_leaves_nothing_that_looks_done(python, place):
    with start(EmbeddedOptions(dialect="vllm", per_request_stats="none", disable_log_stats=True)) as server:
        printed = ns(python, place, *evaluation(server, place), "++max_samples=4")
    assert "nemo_skills_specdec: neither the responses nor the metrics report acceptance" in printed
    assert not (results(place) / "output.jsonl.done").exists()
    with start(EmbeddedOptions(dialect="vllm", method="none")) as server:
        printed = ns(python, place, *evaluation(server, place, output="off"), "++max_samples=4")
    assert "nemo_skills_specdec: speculative decoding is off" in printed
    assert not (results(place, output="off") / "output.jsonl.done").exists()


def test_a_slurm_job_is_submitted_with_the_flags_and_the_module(python, place):
    write_dataset_folder("mini", place / "data")
    config = {
        "executor": "slurm",
        "containers": dict.fromkeys(("vllm", "sglang", "nemo-skills", "sandbox"), "/images/some.sqsh"),
        "job_dir": str(place / "jobs"),
        "account": "a",
        "partition": "gpu",
        "cpu_partition": "cpu",
        "mounts": [f"{place / 'data'}:/data", f"{place}:/results"],
        "env_vars": ["HF_HOME=/data/hf"],
    }
    (place / "slurm.yaml").write_text(json.dumps(config))
    common = ["eval", f"--config_dir={place}", "--cluster=slurm", "--dry_run", "--data_dir=/data"]
    common += ["--output_dir=/results/out", "--model=M", "--benchmarks=mini:3", "--num_jobs=1", "--server_gpus=8"]
    standalone = "--speculative-algorithm STANDALONE --speculative-num-steps 3"
    printed = ns(python, place, *common, "--server_type=sglang", "--server_nodes=1", f"--server_args={standalone}")
    words = re.sub(r"\s+", " ", printed)
    if builds_servers_itself(python):
        assert 'make it tell what it accepts: --server_args="--enable-metrics $(python3 -c' in words
        assert "--metric_type=nemo_skills_specdec.evaluator.metrics::SpecdecMetrics" in words
        return
    assert "serve_sglang --model M --num_gpus 8 --num_nodes 1 --port 5000 --enable-metrics $(python3 -c" in words
    assert standalone in words
    assert words.count("python -m nemo_skills_specdec.evaluator.generation ++skip_filled=True") == 3
    assert "++input_file=/data/mini/test.jsonl" in words
    assert "&& touch /results/out/eval-results/mini/output-rs2.jsonl.done" in words
    eagle = '--speculative-config \'{"method": "eagle3", "num_speculative_tokens": 3}\''
    printed = ns(python, place, *common, "--server_type=vllm", "--server_nodes=2", f"--server_args={eagle}")
    words = re.sub(r"\s+", " ", printed)
    assert "vllm 0.29 999 --per-request-spec-decode-metrics detailed)" in words
    assert eagle in words


def has_map(python):
    return "def get_extra_benchmark_map" in code_of(python, "dataset/utils.py")


@pytest.fixture
def checkout(tmp_path):
    """A repository with this code, so that what is prepared does not land in ours."""
    folder = tmp_path / "checkout"
    for name in ("nemo_skills_specdec", "dataset", "benchmark_map.json"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_the_benchmark_map_leads_from_preparation_to_the_table(python, checkout, vllm):
    arguments = evaluation(vllm, checkout)
    arguments = [word for word in arguments if not word.startswith("--data_dir")]
    more = {"PYTHONPATH": str(checkout)}
    if has_map(python):
        more["NEMO_SKILLS_EXTRA_BENCHMARK_MAP"] = str(checkout / "benchmark_map.json")
        ns(python, checkout, "prepare_data", "mini", **more)
    else:
        # The first era prepares only what it has built in.
        more["NEMO_SKILLS_EXTRA_DATASETS"] = str(checkout / "dataset")
        script = checkout / "dataset" / "mini" / "prepare.py"
        subprocess.run([python, script], cwd=checkout, env=environment(python, **more), check=True)
    assert (checkout / "dataset" / "mini" / "test.jsonl").exists()
    printed = ns(python, checkout, *arguments, "++max_samples=4", **more)
    folder = results(checkout)
    assert (folder / "output.jsonl.done").exists(), printed[-3000:]
    found = responses_of(read_rows(folder / "output.jsonl"))
    assert_equals(line_of(folder)[1], total(ledger(vllm, found).values()) + NO_STEPS)


def test_ns_prepare_data_takes_the_data_dir_of_upstreams_documentation(python, checkout):
    if not has_map(python):
        pytest.skip("the first era prepares only what it has built in")
    more = {
        "PYTHONPATH": str(checkout),
        "NEMO_SKILLS_EXTRA_BENCHMARK_MAP": str(checkout / "benchmark_map.json"),
    }
    printed = ns(python, checkout, "prepare_data", "mini", f"--data-dir={checkout / 'data'}", **more)
    written = checkout / "data" / "mini"
    assert {"__init__.py", "prepare.py", "test.jsonl"} <= {path.name for path in written.iterdir()}, printed[-2000:]


PACKAGING = """
import sys, tarfile, tempfile
from pathlib import Path

from nemo_skills_specdec.evaluator.shipping import register_package
register_package()
from nemo_skills.pipeline.utils.packager import get_packager

archive = get_packager().package(Path.cwd(), tempfile.mkdtemp(dir=sys.argv[1]), "code")
print(*tarfile.open(archive).getnames(), sep="\\n")
"""


@pytest.mark.parametrize("installed", ["checkout", "outside git", "inside a git project"])
def test_what_nemo_skills_sends_to_a_job_holds_the_package(python, tmp_path, checkout, installed):
    project = tmp_path / "project"
    site = checkout
    if installed != "checkout":
        site = project / ".venv" / "site"
        shutil.copytree(checkout / "nemo_skills_specdec", site / "nemo_skills_specdec")
    project.mkdir(exist_ok=True)
    (project / "secret.jsonl").write_text("{}")
    if installed == "inside a git project":
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        words = ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "t"]
        subprocess.run(["git", *words], cwd=project, check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [python, "-c", PACKAGING, str(tmp_path)],
        cwd=elsewhere,
        env=environment(python, PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
        check=False,
    )
    members = {name.removeprefix("./") for name in done.stdout.splitlines()}
    assert {"nemo_skills_specdec/evaluator/generation.py", "nemo_skills/pipeline/eval.py"} <= members, done.stderr[
        -2000:
    ]
    assert not [name for name in members if name.endswith("secret.jsonl")]


def test_doctor_prints_two_commands_with_a_name_that_is_ours_alone(python, place):
    code = "import sys; from nemo_skills_specdec.cli import main; sys.argv[1:] = ['doctor', '--nemo-skills']; main()"
    done = subprocess.run(
        [python, "-c", code], cwd=place, env=environment(python), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, prepare, first, second, third, fourth = done.stdout.splitlines()
    assert prepare == f"ns-specdec prepare speed-bench-specdec --data-dir={place}/data"
    assert first.startswith("ns eval")
    assert "--benchmarks=speed-bench-specdec" in second
    assert third.split()[0].startswith("--server_type=")
    assert fourth.split()[0].startswith("++inference")
    assert "added to servers that ns eval starts" in done.stdout


def test_a_benchmark_of_nemo_skills_own_is_never_given_our_rows(python, place):
    taken = code_of(python, "dataset/speed-bench/__init__.py") != ""
    code = (
        "from nemo_skills_specdec.evaluator.dataset_folders import free_name\n"
        "print(free_name('speed-bench', lambda line: None))"
    )
    done = subprocess.run(
        [python, "-c", code], cwd=place, env=environment(python), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ("speed-bench-specdec" if taken else "speed-bench")


STANDIN_VLLM = """
import argparse, json, os, sys

parser = argparse.ArgumentParser()
for name in ("port", "served-model-name", "speculative-config"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--per-request-spec-decode-metrics", default="none")
own, _ = parser.parse_known_args()
options = {"port": int(own.port), "served_model_name": own.served_model_name}
options["per_request_stats"] = own.per_request_spec_decode_metrics
os.execv(sys.executable, [sys.executable, "-m", "nemo_skills_specdec.embedded", json.dumps(options)])
"""


@pytest.mark.parametrize(("version", "source"), [("0.33.0", "response"), ("0.11.0", "counters")])
def test_a_server_that_ns_starts_tells_in_its_responses_if_its_version_can(python, place, version, source):
    """vLLM is the embedded engine here, under vLLM's module name and version."""
    module = place / "servers" / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    (module / "api_server.py").write_text(STANDIN_VLLM)
    metadata = place / "servers" / f"vllm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    smi = place / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\n")
    smi.chmod(0o755)
    arguments = ["eval", f"--data_dir={place / 'data'}", f"--output_dir={place / 'out'}", "--benchmarks=mini"]
    arguments += ["--server_type=vllm", "--server_gpus=1", "--model=M", "++inference.tokens_to_generate=16"]
    arguments += ["""--server_args=--speculative-config '{"method":"draft_model"}'""", "++max_samples=4"]
    path = f"{python.parent}{os.pathsep}{smi.parent}{os.pathsep}{os.environ['PATH']}"
    printed = ns(python, place, *arguments, PYTHONPATH=f"{place / 'servers'}{os.pathsep}{ROOT}", PATH=path)
    assert (results(place) / "output.jsonl.done").exists(), printed[-3000:]
    assert line_of(results(place))[1]["spec_source"] == source
