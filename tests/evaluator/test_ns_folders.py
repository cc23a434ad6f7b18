"""Dataset folders: thin, the same from a checkout and from an installed package, and no trap for NeMo-Skills."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.evaluator import folder_settings
from nemo_skills_specdec.evaluator.conversation import check_input, conversation_of, identity_of, split_turns
from nemo_skills_specdec.evaluator.dataset_folders import SHIPPED, folder_files, prepare_folder, write_dataset_folder
from nemo_skills_specdec.prompts.catalog import NAMES, base_name
from nemo_skills_specdec.prompts.rows import read_rows

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_folders_of_the_repository_are_what_an_installed_package_writes(name, tmp_path):
    folder = write_dataset_folder(name, tmp_path)
    assert folder == tmp_path / name
    for file in ("__init__.py", "prepare.py"):
        assert (folder / file).read_bytes() == (ROOT / "dataset" / name / file).read_bytes()


def test_no_dataset_path_begins_with_the_prefix_that_nemo_skills_rewrites():
    paths = json.loads((ROOT / "benchmark_map.json").read_text())
    assert set(paths) == set(SHIPPED)
    for name, path in paths.items():
        # The last part of the path is where NeMo-Skills looks for the data of that name.
        assert Path(path).name == name
        assert not path.startswith("nemo_skills")
        assert (ROOT / path / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("own_process", "expected"), [(True, "++eval_type=no-op ++remove_thinking=False"), (False, None)]
)
def test_settings_of_the_first_era_are_given_only_to_it(monkeypatch, own_process, expected):
    monkeypatch.setattr(folder_settings, "evaluates_in_own_process", lambda: own_process)
    settings = runpy.run_path(str(ROOT / "dataset" / "speed-bench" / "__init__.py"))
    assert settings.get("EVAL_ARGS") == expected
    assert settings["METRICS_TYPE"] == "nemo_skills_specdec.evaluator.metrics::SpecdecMetrics"
    assert settings["GENERATION_MODULE"] == "nemo_skills_specdec.evaluator.generation"
    assert settings["EVAL_SPLIT"] == "qualitative"
    assert "REQUIRES_DATA_DIR" not in settings


def test_without_nemo_skills_the_settings_can_be_read_too():
    settings = runpy.run_path(str(ROOT / "dataset" / "mini" / "__init__.py"))
    assert settings["EVAL_SPLIT"] == "test"
    assert "EVAL_ARGS" not in settings


def test_reading_the_settings_loads_nothing_of_nemo_skills_that_is_heavy():
    code = (
        "import runpy, sys; runpy.run_path('dataset/mini/__init__.py'); "
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'aiohttp', 'numpy', 'hydra', 'litellm', 'pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_mini_comes_with_its_rows(tmp_path):
    folder = write_dataset_folder("mini", tmp_path)
    assert len(read_rows(folder / "test.jsonl").rows) == 110


def test_writing_again_leaves_files_that_are_right_alone(tmp_path):
    folder = write_dataset_folder("mini", tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "prepare.py").write_text("broken")
    write_dataset_folder("mini", tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["prepare.py"]
    assert (folder / "prepare.py").read_bytes() == folder_files("mini")["prepare.py"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(UsageError, match="cannot be the name"):
        write_dataset_folder(name, tmp_path)


@pytest.mark.parametrize("option", ["--data-dir", "--data_dir"])
def test_prepare_with_a_data_folder_writes_a_whole_dataset_folder_into_it(tmp_path, option):
    source = write_dataset_folder("mini", tmp_path / "checkout")
    assert prepare_folder(source, [f"{option}={tmp_path / 'data'}"]) == 0
    written = tmp_path / "data" / "mini"
    assert {"__init__.py", "prepare.py", "test.jsonl", "test.manifest.json"} <= {
        path.name for path in written.iterdir()
    }


def test_prepare_without_one_writes_into_its_own_folder(tmp_path):
    source = write_dataset_folder("mini", tmp_path)
    (source / "test.jsonl").unlink()
    assert prepare_folder(source, []) == 0
    assert (source / "test.jsonl").exists()


def test_an_alias_prepares_the_set_it_stands_for(tmp_path):
    assert prepare_folder(Path("dataset/mini-specdec"), ["--limit-per-category", "1", "--data_dir", str(tmp_path)]) == 0
    folder = tmp_path / "mini-specdec"
    assert len(read_rows(folder / "test.jsonl").rows) == 11
    assert (folder / "__init__.py").exists()


CALLER = """
import subprocess, sys
for _ in range(4):
    subprocess.run(f"{sys.executable} {sys.argv[1]}/prepare.py --limit-per-category {sys.argv[2]}", shell=True)
"""


def called_four_times(folder, limit, *marker):
    """What a caller that repeats failures up to three times shows; NeMo-Skills' has `marker` in its command line."""
    done = subprocess.run(
        [sys.executable, "-c", CALLER, folder, limit, *marker],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def test_a_preparation_that_cannot_succeed_is_told_once_to_nemo_skills(tmp_path):
    folder = write_dataset_folder("mini", tmp_path)
    told = called_four_times(folder, "x", "nemo_skills.dataset.prepare")
    assert told.count("Invalid value") == 1
    assert told.count("mini: not tried again, since the same preparation has just failed") == 3


def test_a_preparation_is_tried_again_by_a_new_caller_and_by_any_other(tmp_path):
    folder = write_dataset_folder("mini", tmp_path)
    assert called_four_times(folder, "x").count("Invalid value") == 4
    for _ in range(2):
        assert "Invalid value" in called_four_times(folder, "x", "nemo_skills.dataset.prepare")


def test_names_of_nemo_skills_own_benchmarks_are_left_to_it():
    assert not set(SHIPPED) & {"gsm8k", "human-eval", "math-500", "mbpp", "mt-bench"}
    assert {base_name(name) for name in SHIPPED} == {"speed-bench", *NAMES} - {"random"}


def test_the_written_prepare_script_runs(tmp_path):
    folder = write_dataset_folder("mini", tmp_path)
    done = subprocess.run(
        [sys.executable, folder / "prepare.py", f"--data-dir={tmp_path / 'other'}"],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, (tmp_path / "other/mini/test.jsonl").exists()) == (0, True), done.stderr


def test_a_cluster_config_for_each_executor_is_there():
    for name, executor in (("example-local.yaml", "local"), ("example-slurm.yaml", "slurm")):
        text = (ROOT / "cluster_configs" / name).read_text()
        assert re.search(rf"^executor: {executor}$", text, re.MULTILINE)
        for key in ("containers:", "mounts:", "env_vars:", "HF_HOME="):
            assert key in text


def test_a_turn_ends_with_a_user_message_that_has_no_answer_yet():
    messages = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user", "user")]
    assert [[m["role"] for m in turn] for turn in split_turns(messages)] == [
        ["system", "user", "assistant", "user"],
        ["user"],
    ]


@pytest.mark.parametrize(
    ("row", "contents"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, ["a"]),
        ({"turns": ["a", "b"]}, ["a", "b"]),
        ({"prompt": "a"}, ["a"]),
    ],
)
def test_prompts_are_found_under_the_names_that_prompt_sets_use(row, contents):
    assert [message["content"] for message in conversation_of(row)] == contents


def test_a_row_without_a_prompt_is_refused():
    with pytest.raises(DataError, match=r"none of the keys messages, .*; it has answer: "):
        conversation_of({"answer": "2"})


def test_a_row_without_an_id_gets_the_one_that_the_standalone_tool_gives_it(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "What is rain?"}\n')
    (row,) = read_rows(path).rows
    assert identity_of({"prompt": "What is rain?"}) == (row.question_id, row.category)


def test_placeholders_are_never_sent_as_prompts(tmp_path):
    path = tmp_path / "qualitative.jsonl"
    path.write_text('{"id": "1", "prompt": "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"}\n')
    with pytest.raises(DataError, match="placeholders"):
        check_input(path)


def test_a_file_that_is_not_what_its_manifest_says_is_refused(tmp_path):
    folder = tmp_path / "mini"
    assert prepare_folder(write_dataset_folder("mini", tmp_path), []) == 0
    assert check_input(folder / "test.jsonl") == []
    text = (folder / "test.jsonl").read_text()
    (folder / "test.jsonl").write_text(text.replace("Python", "Pascal", 1))
    with pytest.raises(DataError, match="must not be used"):
        check_input(folder / "test.jsonl")


def test_a_missing_file_says_from_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"does not exist below .* parent of --data_dir"):
        check_input(Path("data/mini/test.jsonl"))
