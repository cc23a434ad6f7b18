"""Which NeMo-Skills is there, read from its files, and what `ns-specdec doctor --nemo-skills` makes of it."""

import shlex

import pytest
from typer.testing import CliRunner

from nemo_skills_specdec.cli import app
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.evaluator import dataset_folders, roads
from nemo_skills_specdec.evaluator.installation import read_installation
from nemo_skills_specdec.evaluator.roads import ClusterConfig, read_cluster, road_through
from nemo_skills_specdec.evaluator.shipping import Shipment

OCTOBER_2025 = {
    "dataset/utils.py": "def get_dataset_module(dataset, extra_datasets=None): ...",
    "dataset/gsm8k/__init__.py": "",
    "evaluation/evaluate_results.py": "",
    "pipeline/eval.py": "add_task(get_server_command=job_server_command)",
    "pipeline/prepare_data.py": "def prepare_data(cluster): ...",
    "pipeline/utils/eval.py": "generation_task.get_server_command_fn()",
}
JULY_2026 = {
    "dataset/utils.py": "def get_extra_benchmark_map(extra_benchmark_map=None): ...",
    "dataset/speed-bench/__init__.py": "",
    "pipeline/eval.py": "from nemo_skills.pipeline.utils.scripts import ServerScript\nServerScript()",
    "pipeline/prepare_data.py": "def prepare_data(cluster, installation_command): ...",
    "pipeline/utils/eval.py": "generation_task.get_server_command_fn.__func__",
    "pipeline/utils/scripts/server.py": "from nemo_skills.pipeline.utils.server import get_server_command",
}


@pytest.fixture
def state(tmp_path):
    def write(files):
        for name, text in files.items():
            path = tmp_path / "nemo_skills" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_installation(tmp_path / "nemo_skills")

    return write


def test_a_state_of_2025_is_told_by_its_features(state):
    here = state(OCTOBER_2025)
    assert (here.external, here.server_flags, here.prepare_installs) == ("folder", "task", False)
    assert here.evaluates_in_own_process
    assert here.benchmarks == {"gsm8k"}


def test_a_state_of_2026_is_told_by_its_features(state):
    here = state(JULY_2026)
    assert (here.external, here.server_flags, here.prepare_installs) == ("map", "builder", True)
    assert not here.evaluates_in_own_process
    assert here.benchmarks == {"speed-bench"}


def test_a_builder_that_cannot_be_reached_is_not_promised(state, tmp_path):
    here = state({**JULY_2026, "pipeline/utils/scripts/server.py": "class ServerScript: ..."})
    facts = road_through(here, None, None, tmp_path).facts
    assert facts["server flags"].startswith(
        "not added: add to --server_args --per-request-spec-decode-metrics detailed"
    )


def test_the_name_is_the_one_that_no_nemo_skills_has(state, tmp_path):
    road = road_through(state(JULY_2026), None, None, tmp_path)
    assert road.prepare == f"ns-specdec prepare speed-bench-specdec --data-dir={tmp_path}/data"
    assert "--benchmarks=speed-bench-specdec" in road.evaluate
    assert "speed-bench alone is NeMo-Skills' own benchmark here" in road.facts["name"]


def test_the_second_command_names_the_server_that_was_asked(state, tmp_path):
    server = ServerInfo(engine="sglang", base_url="http://127.0.0.1:30000", models=["tiny"])
    words = shlex.split(road_through(state(OCTOBER_2025), None, server, tmp_path).evaluate)
    assert "--server_type=sglang" in words
    assert "--server_address=http://127.0.0.1:30000/v1" in words
    assert "--model=tiny" in words


def test_rows_that_nemo_skills_would_evaluate_with_its_own_benchmark_are_a_problem(state, tmp_path):
    (tmp_path / "data" / "speed-bench").mkdir(parents=True)
    (problem,) = road_through(state(JULY_2026), None, None, tmp_path).problems
    assert problem.startswith(f"{tmp_path}/data/speed-bench would not be used")
    assert problem.endswith("rename the folder to speed-bench-specdec")


def test_on_a_cluster_the_data_lie_in_a_mount(state, tmp_path):
    cluster = ClusterConfig(
        name="slurm",
        folder=tmp_path,
        executor="slurm",
        mounts=[("/lustre/models", "/models"), ("/lustre/data", "/data"), ("/lustre/out", "/results")],
    )
    road = road_through(state(JULY_2026), cluster, None, tmp_path)
    assert road.prepare == "ns-specdec prepare speed-bench-specdec --data-dir=/lustre/data"
    words = shlex.split(road.evaluate)
    assert {"--cluster=slurm", "--data_dir=/data", "--output_dir=/results/speed-bench"} <= set(words)


def test_a_checkout_with_changes_is_a_problem_for_jobs_only(state, tmp_path, monkeypatch):
    monkeypatch.setattr(roads, "shipment", lambda: Shipment("checkout", tmp_path))
    monkeypatch.setattr(roads, "has_uncommitted_changes", lambda root: True)
    cluster = ClusterConfig(name="c", folder=tmp_path, executor="slurm", tunnel=True, mounts=[("/far/data", "/data")])
    here = state(JULY_2026)
    road = road_through(here, cluster, None, tmp_path)
    assert road.facts["where to prepare"] == "on the cluster, where /far/data is"
    (problem,) = road.problems
    assert problem.startswith(f"{tmp_path} has changes that are not committed")
    assert road_through(here, None, None, tmp_path).problems == []


def test_a_cluster_config_is_read_where_it_lies(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "executor: slurm\nssh_tunnel: {host: h}\nmounts: ['/a:/b:ro']\nenv_vars: [NEMO_SKILLS_DATA_DIR=/b/d]\n"
    )
    config = read_cluster("c", tmp_path)
    assert (config.executor, config.mounts, config.tunnel, config.data_dir) == ("slurm", [("/a", "/b")], True, "/b/d")


@pytest.mark.parametrize("text", ["- a list", "mounts: []", "a: [b"])
def test_what_is_no_cluster_config_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"c\.yaml is not "):
        read_cluster("c", tmp_path)


def test_rows_never_go_where_nemo_skills_would_measure_them_otherwise(monkeypatch):
    monkeypatch.setattr(dataset_folders, "own_benchmarks", lambda: frozenset({"speed-bench", "gsm8k", "human-eval"}))
    told = []
    assert dataset_folders.free_name("speed-bench", told.append) == "speed-bench-specdec"
    assert dataset_folders.free_name("gsm8k", told.append) == "gsm8k-specdec"
    assert len(told) == 2
    for name in ("speed-bench-specdec", "mini", "org/name", "human-eval"):
        assert dataset_folders.free_name(name, told.append) == name
    assert len(told) == 2


def test_rows_that_another_nemo_skills_might_take_come_with_a_warning(monkeypatch):
    monkeypatch.setattr(dataset_folders, "own_benchmarks", lambda: frozenset())
    told = []
    assert dataset_folders.free_name("speed-bench", told.append) == "speed-bench"
    assert told[0].endswith("prepare speed-bench-specdec for ns eval")


def test_doctor_says_when_there_is_no_nemo_skills_here():
    done = CliRunner().invoke(app, ["doctor", "--nemo-skills"])
    assert isinstance(done.exception, UsageError)
    assert "there is no NeMo-Skills beside" in str(done.exception)


@pytest.mark.parametrize("arguments", [[], ["http://x", "--cluster=c"]])
def test_doctor_asks_for_what_it_needs(arguments):
    done = CliRunner().invoke(app, ["doctor", *arguments])
    assert isinstance(done.exception, UsageError)
