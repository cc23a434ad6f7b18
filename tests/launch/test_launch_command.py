"""The command of an engine: metrics on, nothing secret, what was asked for passed on."""

from pathlib import Path

import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.command import engine_command, shell_line
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.options import ServerOptions, check_server

NGRAM = Method(name="ngram")


def arguments(server, method=NGRAM, version=None, **more):
    return engine_command("m/m", method, server, port=8123, version=version, **more).arguments


def test_vllm_listens_on_this_machine_only_and_tells_statistics_in_its_responses():
    told = arguments(ServerOptions(engine="vllm"))
    assert told[:7] == ("vllm", "serve", "m/m", "--host", "127.0.0.1", "--port", "8123")
    assert told[-2:] == ("--per-request-spec-decode-metrics", "detailed")


def test_vllm_without_speculation_is_not_given_the_flag_that_it_then_refuses():
    assert "--per-request-spec-decode-metrics" not in arguments(ServerOptions(engine="vllm"), Method())


@pytest.mark.parametrize(("version", "has"), [("0.28.0", False), ("0.29.0", True), ("0.32.0+cpu", True), (None, True)])
def test_vllm_is_given_the_flag_from_the_version_on_that_has_it(version, has):
    told = arguments(ServerOptions(engine="vllm"), version=version)
    assert ("--per-request-spec-decode-metrics" in told) is has


@pytest.mark.parametrize(
    ("version", "has"), [("0.5.5", False), ("0.5.6", True), ("0.5.18", True), ("0.5.19", False), (None, False)]
)
def test_sglang_writes_request_files_only_where_its_streams_say_nothing(version, has):
    method = Method(name="eagle", draft_model="d")
    command = engine_command(
        "m/m", method, ServerOptions(engine="sglang"), port=1, version=version, request_files=Path("files")
    )
    assert ("--export-metrics-to-file-dir" in command.arguments) is has
    assert command.request_files == (Path("files") if has else None)
    assert "--enable-metrics" in command.arguments


def test_an_engine_is_run_by_the_python_of_its_own_environment_with_its_programs_on_the_path():
    command = engine_command(
        "m/m", NGRAM, ServerOptions(engine="vllm", python="/opt/engine/bin/python"), port=1, version="0.33.0"
    )
    assert command.arguments[:4] == ("/opt/engine/bin/python", "-m", "vllm.entrypoints.cli.main", "serve")
    assert command.environment["PATH"].startswith("/opt/engine/bin:")


ALL = ServerOptions(
    engine="vllm",
    tensor_parallel_size=2,
    gpu_memory_utilization=0.8,
    max_num_seqs=16,
    max_model_len=4096,
    enforce_eager=True,
    dtype="bfloat16",
    served_model_name="name",
    arguments=["--seed", "1"],
)


def test_vllms_words_for_what_holds_for_every_engine():
    told = " ".join(arguments(ALL, Method()))
    for words in (
        "--tensor-parallel-size 2",
        "--gpu-memory-utilization 0.8",
        "--max-num-seqs 16",
        "--max-model-len 4096",
        "--dtype bfloat16",
        "--served-model-name name",
        "--enforce-eager",
    ):
        assert words in told
    assert told.endswith("--seed 1")


def test_sglangs_words_for_what_holds_for_every_engine():
    server = ServerOptions(**{**{f: getattr(ALL, f) for f in ALL.__struct_fields__}, "engine": "sglang"})
    told = " ".join(arguments(server, Method()))
    for words in (
        "--tp-size 2",
        "--mem-fraction-static 0.8",
        "--max-running-requests 16",
        "--context-length 4096",
        "--dtype bfloat16",
        "--served-model-name name",
        "--cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled",
    ):
        assert words in told
    assert told.endswith("--seed 1")


def test_sglangs_older_word_for_no_cuda_graphs():
    told = arguments(ServerOptions(engine="sglang", enforce_eager=True), Method(), version="0.5.22")
    assert told[-1] == "--disable-cuda-graph"


def test_the_printed_command_can_be_pasted_into_a_shell():
    line = shell_line(engine_command("m/m", NGRAM, ServerOptions(engine="vllm"), port=8000))
    assert line.startswith("VLLM_SERVER_DEV_MODE=1 ")
    assert """--speculative-config '{"method":"ngram",""" in line


@pytest.mark.parametrize(
    "server",
    [
        ServerOptions(engine="vllm", arguments=["--api-key", "abc"]),
        ServerOptions(engine="vllm", arguments=["--api-key=abc"]),
        ServerOptions(engine="sglang", arguments=["--admin-api-key", "abc"]),
        ServerOptions(engine="vllm", environment={"HF_TOKEN": "abc"}),
        ServerOptions(engine="vllm", environment={"MY_SECRET": "abc"}),
    ],
)
def test_a_secret_is_kept_out_of_config_files_and_messages(server):
    with pytest.raises(UsageError) as caught:
        check_server(server)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("argument", ["--tokenizer", "--max-num-batched-tokens", "--speculative-token-map"])
def test_words_with_token_in_them_are_no_secrets(argument):
    check_server(ServerOptions(engine="vllm", arguments=[argument, "x"], environment={"OMP_NUM_THREADS": "1"}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"engine": "running"}, "go together"),
        ({"engine": "vllm", "url": "http://x"}, "go together"),
        ({"gpu_memory_utilization": 1.5}, "between 0 and 1"),
        ({"tensor_parallel_size": 0}, "at least 1"),
        ({"port": 70000}, "between 1 and 65535"),
        ({"ready_timeout_seconds": 0.0}, "above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(fields, said):
    with pytest.raises(UsageError, match=said):
        check_server(ServerOptions(**fields))
