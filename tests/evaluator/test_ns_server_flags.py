"""Flags for servers that NeMo-Skills starts, and that a shell gives them only to versions that know them."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from nemo_skills_specdec.evaluator.server_flags import (
    builder_without_cluster,
    have_server_scripts_tell,
    with_statistics,
)

EAGLE = """--speculative-config '{"method": "eagle3", "num_speculative_tokens": 3}'"""
STANDALONE = "--speculative-algorithm STANDALONE --speculative-num-steps 3"


@pytest.fixture
def shell(tmp_path):
    """Runs words through bash where a package has a version of the test's choosing."""

    def run(words, **versions):
        for package, version in versions.items():
            folder = tmp_path / f"{package}-{version}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3").symlink_to(sys.executable)
        packaging = Path(__import__("packaging").__file__).parents[1]
        environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": f"{tmp_path}:{packaging}"}
        script = f'for word in {words}; do echo "$word"; done'
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


def test_a_vllm_that_knows_it_is_asked_for_statistics(shell):
    words = shell(with_statistics("vllm", EAGLE, None), vllm="0.33.0")
    assert words == [
        "--per-request-spec-decode-metrics",
        "detailed",
        "--speculative-config",
        '{"method": "eagle3", "num_speculative_tokens": 3}',
    ]


@pytest.mark.parametrize("version", ["0.28.0", "0.11.0"])
def test_an_older_vllm_would_not_start_with_the_flag_and_does_not_get_it(shell, version):
    assert shell(with_statistics("vllm", EAGLE, None), vllm=version)[0] == "--speculative-config"


def test_sglang_gets_metrics_and_where_responses_do_not_tell_yet_files(shell):
    words = shell(with_statistics("sglang", STANDALONE, "/files"), sglang="0.5.8")
    assert words[:4] == ["--enable-metrics", "--export-metrics-to-file", "--export-metrics-to-file-dir", "/files"]


@pytest.mark.parametrize("version", ["0.5.4.post1", "0.5.13", "0.5.23"])
def test_no_files_where_sglang_does_not_know_them_or_tells_in_the_response(shell, version):
    words = shell(with_statistics("sglang", STANDALONE, "/files"), sglang=version)
    assert words == ["--enable-metrics", *STANDALONE.split()]


def test_a_server_of_unknown_version_gets_no_flag_that_could_stop_it(shell):
    assert shell(with_statistics("sglang", STANDALONE, "/files")) == ["--enable-metrics", *STANDALONE.split()]


def test_what_the_user_says_himself_stays_as_it_is():
    own = f"{STANDALONE} --enable-metrics --export-metrics-to-file --export-metrics-to-file-dir /mine"
    assert with_statistics("sglang", own, "/files") == own
    own = f"{EAGLE} --per-request-spec-decode-metrics summary"
    assert with_statistics("vllm", own, None) == own


@pytest.mark.parametrize("server", ["vllm", "sglang"])
def test_a_server_that_does_not_speculate_gets_nothing(server):
    # vLLM refuses to start with the flag and without a speculative configuration.
    assert with_statistics(server, "--max-model-len 4096", "/files") == "--max-model-len 4096"


def test_other_servers_get_nothing():
    assert with_statistics("trtllm", "--speculative something", None) == "--speculative something"


def test_the_words_survive_being_quoted_once_more():
    added = with_statistics("vllm", "-sc x", None)
    assert '"' not in added
    assert "\\" not in added


def test_the_builder_that_nemo_skills_calls_itself_is_replaced_once(monkeypatch):
    server = ModuleType("nemo_skills.pipeline.utils.scripts.server")
    server.get_server_command = lambda **settings: (settings["server_args"], 1)
    scripts = ModuleType("nemo_skills.pipeline.utils.scripts")
    scripts.server = server
    for name in ("nemo_skills", "nemo_skills.pipeline", "nemo_skills.pipeline.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, scripts.__name__, scripts)
    have_server_scripts_tell()
    have_server_scripts_tell()
    words, tasks = server.get_server_command(server_type="sglang", server_args=STANDALONE, cluster_config={})
    assert (words, tasks) == (f"--enable-metrics {STANDALONE}", 1)


def test_flags_that_cannot_be_added_are_told_before_anything_starts(monkeypatch, caplog):
    scripts = ModuleType("nemo_skills.pipeline.utils.scripts")
    scripts.server = ModuleType("nemo_skills.pipeline.utils.scripts.server")
    for name in ("nemo_skills", "nemo_skills.pipeline", "nemo_skills.pipeline.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, scripts.__name__, scripts)
    have_server_scripts_tell()
    assert (
        "Add to --server_args: for vLLM --per-request-spec-decode-metrics detailed, for SGLang --enable-metrics."
        in (caplog.text)
    )


def test_the_default_of_no_cluster_becomes_one_that_can_be_stored():
    config = {"executor": "none", "containers": defaultdict(str)}
    builder_without_cluster(lambda **settings: ("", 1))(server_type="vllm", cluster_config=config)
    assert type(config["containers"]) is dict
    assert set(config["containers"]) == {"vllm", "nemo-skills", "sandbox"}
