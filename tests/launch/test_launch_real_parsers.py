"""The commands that a dry run prints, read by the engines' own argument parsers.

`SPECDEC_VLLM_PYTHON` and `SPECDEC_SGLANG_PYTHON` name the Python of an environment that has the engine.
"""

import json
import os
import subprocess

import pytest

from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.launch.start import command_of

VLLM = """
import dataclasses, importlib, json, sys
for home in ("common", "launchers", "openai"):  # 0.33, 0.32, before
    try:
        module = importlib.import_module(f"vllm.entrypoints.{home}.cli_args")
    except ImportError:
        continue
    make_arg_parser = module.make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.config.speculative import SpeculativeConfig
known = {field.name for field in dataclasses.fields(SpeculativeConfig)}
parser = make_arg_parser(FlexibleArgumentParser())
for command in json.load(sys.stdin):
    arguments = parser.parse_args(command[2:])
    config = arguments.speculative_config
    unknown = set(config or {}) - known
    assert not unknown, unknown
    print("ok", flush=True)
"""
SGLANG = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser(allow_abbrev=False)
ServerArgs.add_cli_args(parser)
for command in json.load(sys.stdin):
    parser.parse_args(command[3:])
    print("ok", flush=True)
"""
EVERYTHING = {
    "tensor_parallel_size": 2,
    "gpu_memory_utilization": 0.8,
    "max_num_seqs": 16,
    "max_model_len": 4096,
    "enforce_eager": True,
    "dtype": "bfloat16",
    "served_model_name": "name",
}
METHODS = [
    Method(),
    Method(name="ngram"),
    Method(name="draft_model", draft_model="d/d"),
    Method(name="eagle", draft_model="d/d"),
    Method(name="eagle3", draft_model="d/d"),
    Method(name="mtp"),
    Method(name="dflash", draft_model="d/d"),
]


def commands(engine):
    pytest.importorskip("yaml")
    from nemo_skills_specdec.studies.parts import expand

    runs, _ = expand("all", engine=engine, base={})
    found = [command_of(run.model.path, run.method, run.server).arguments for run in runs]
    own = [*METHODS]
    if engine == "vllm":
        own += [Method(name="suffix"), Method(name="draft_model", draft_model="d/d", draft_tensor_parallel_size=1)]
    else:
        own += [Method(name="eagle3", draft_model="d/d", topk=4, num_draft_tokens=16, draft_length=5)]
    server = ServerOptions(engine=engine, **EVERYTHING)
    return [*found, *(command_of("m/m", method, server).arguments for method in own)]


def check(python, code, engine):
    wanted = commands(engine)
    done = subprocess.run(
        [python, "-c", code], input=json.dumps(wanted), capture_output=True, text=True, check=False, timeout=170
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split().count("ok") == len(wanted) > 25


@pytest.mark.real_vllm
@pytest.mark.skipif("SPECDEC_VLLM_PYTHON" not in os.environ, reason="SPECDEC_VLLM_PYTHON names no environment")
def test_vllm_understands_every_command():
    check(os.environ["SPECDEC_VLLM_PYTHON"], VLLM, "vllm")


@pytest.mark.real_sglang
@pytest.mark.skipif("SPECDEC_SGLANG_PYTHON" not in os.environ, reason="SPECDEC_SGLANG_PYTHON names no environment")
def test_sglang_understands_every_command():
    check(os.environ["SPECDEC_SGLANG_PYTHON"], SGLANG, "sglang")


def test_the_ready_made_studies_are_what_they_say():
    pytest.importorskip("yaml")
    from nemo_skills_specdec.studies.parts import expand, groups, part, part_names

    assert {"qwen2_7b", "qwen2_72b", "qwen3_32b", "llama3_8b", "llama3_70b", "llama3_3_70b", "llama3_1_8b"} <= set(
        groups()
    )
    for engine in ("vllm", "sglang"):
        runs, refused = expand("all", engine=engine, base={})
        methods = {}
        for run in runs:
            methods.setdefault(run.model.label, []).append(run.method.name)
        assert all(found[:2] == ["none", "ngram"] for found in methods.values())
        assert len(methods) == 7
        assert all("names no" in item.reason for item in refused)
    for kind in ("model", "method", "server", "benchmark", "sampling", "load"):
        assert all(part(kind, name) for name in part_names(kind))


def test_a_study_can_leave_out_its_baselines_and_keep_one_method():
    pytest.importorskip("yaml")
    from nemo_skills_specdec.studies.parts import expand

    runs, _ = expand("llama3", engine="vllm", base={}, skip_baseline=True)
    assert all(run.method.name != "none" for run in runs)
    runs, _ = expand("llama3", engine="vllm", base={"method": {"draft_length": 7}}, methods=["none", "ngram"])
    assert {(run.method.name, run.method.draft_length) for run in runs} == {("none", None), ("ngram", 7)}
