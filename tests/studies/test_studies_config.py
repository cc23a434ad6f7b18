"""Runs as files say them and as they are stored."""

import json

import msgspec
import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.studies.config import (
    Benchmark,
    Load,
    Model,
    RunConfig,
    Sampling,
    config_from,
    load_options,
    read_config,
    request_options,
    resolve,
    server_key,
)
from nemo_skills_specdec.studies.stored_config import config_hash, config_yaml

QWEN = {
    "model": "Qwen/Qwen2-7B-Instruct",
    "engine": {
        "name": "vllm",
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_max": 4,
        "tensor_parallel_size": 2,
    },
    "generation": {"temperature": 0.0, "max_tokens": 128},
}


def test_a_file_of_model_engine_and_generation_is_a_run():
    run = config_from(QWEN, "a.yaml")
    assert run.model == Model(path="Qwen/Qwen2-7B-Instruct")
    assert run.method == Method(name="ngram", draft_length=5, prompt_lookup_max=4)
    assert run.server == ServerOptions(engine="vllm", tensor_parallel_size=2)
    assert run.sampling.max_tokens == 128
    assert run.label == "Qwen2-7B-Instruct_vllm_ngram-k5_mini_c8"


def test_the_long_words_say_the_same():
    long = {
        "model": {"path": "Qwen/Qwen2-7B-Instruct"},
        "method": {"name": "ngram", "draft_length": 5, "prompt_lookup_max": 4},
        "server": {"engine": "vllm", "tensor_parallel_size": 2},
        "sampling": {"temperature": 0.0, "max_tokens": 128},
    }
    assert config_from(long, "b") == config_from(QWEN, "a")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modle": "x"}, "unknown key `modle`; did you mean `model`?"),
        ({"generation": {"max_token": 3}}, "unknown key `sampling.max_token`; did you mean `sampling.max_tokens`?"),
        ({"engine": {"name": "vllm", "tensor_paralel_size": 2}}, "did you mean `server.tensor_parallel_size`?"),
        ({"zzz": 1}, "there are model, method"),
        ({"engine": {"name": "tgi"}}, "Invalid enum value 'tgi'"),
        ({"generation": {"max_tokens": "many"}}, "Expected `int`, got `str` - at `$.sampling.max_tokens`"),
        ({"sampling": {}}, "mean the same"),
        ({"method": "ngram"}, "described twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(change, said):
    with pytest.raises(UsageError) as caught:
        config_from({**QWEN, **change}, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ")
    assert said in str(caught.value)


def test_the_model_names_the_drafter_by_method_and_engine():
    model = Model(path="m/m", drafters={"draft_model": "d/small", "eagle3": {"vllm": "d/v", "sglang": "d/s"}})
    for engine, method, drafter in [
        ("vllm", "draft_model", "d/small"),
        ("vllm", "eagle3", "d/v"),
        ("sglang", "eagle3", "d/s"),
    ]:
        run = resolve(RunConfig(model=model, method=Method(name=method), server=ServerOptions(engine=engine)))
        assert run.method.draft_model == drafter


def test_a_drafter_that_is_given_goes_before_the_models():
    model = Model(path="m/m", drafters={"eagle3": "d/v"})
    method = Method(name="eagle3", draft_model="mine")
    assert resolve(RunConfig(model=model, method=method, server=ServerOptions(engine="vllm"))).method == Method(
        name="eagle3", draft_model="mine", draft_length=3
    )


def test_a_model_without_a_drafter_for_the_engine_is_refused():
    model = Model(path="m/m", name="mm", drafters={"eagle": {"sglang": "d/s"}})
    with pytest.raises(UsageError, match="mm names no eagle drafter for vllm"):
        resolve(RunConfig(model=model, method=Method(name="eagle"), server=ServerOptions(engine="vllm")))


def test_an_engine_that_brings_no_model_wants_one():
    with pytest.raises(UsageError, match="vllm comes without a model"):
        resolve(RunConfig(server=ServerOptions(engine="vllm")))


def test_a_resolved_run_holds_its_defaults_and_reads_back_as_itself(tmp_path):
    run = resolve(config_from(QWEN, "a"))
    assert run.method.draft_length == 5
    path = tmp_path / "config.json"
    path.write_bytes(msgspec.json.encode(run))
    assert resolve(read_config(path)) == run


def test_a_run_is_stored_as_yaml_that_reads_back(tmp_path):
    run = resolve(config_from(QWEN, "a"))
    path = tmp_path / "config.yaml"
    path.write_bytes(config_yaml(run))
    assert read_config(path) == run


@pytest.mark.parametrize("text", ["[1, 2]", "", "{"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"a\.json"):
        read_config(path)


def test_the_hash_knows_what_changes_a_result_and_ignores_what_cannot():
    run = resolve(config_from(QWEN, "a"))
    hashes = {
        config_hash(other)
        for other in (
            run,
            msgspec.structs.replace(run, sampling=Sampling(max_tokens=64)),
            msgspec.structs.replace(run, load=Load(concurrency=2)),
            msgspec.structs.replace(run, benchmark=Benchmark(limit_per_category=1)),
            msgspec.structs.replace(run, repeat=1),
        )
    }
    assert len(hashes) == 5
    patient = msgspec.structs.replace(run.server, port=1234, ready_timeout_seconds=5.0)
    assert config_hash(msgspec.structs.replace(run, server=patient)) == config_hash(run)


def test_the_server_serves_runs_that_differ_in_load_and_prompts_only():
    run = resolve(config_from(QWEN, "a"))
    other = msgspec.structs.replace(run, load=Load(concurrency=2), benchmark=Benchmark(limit_per_category=1), repeat=3)
    assert server_key(other) == server_key(run)
    longer = msgspec.structs.replace(run.method, draft_length=6)
    assert server_key(msgspec.structs.replace(run, method=longer)) != server_key(run)


def test_requests_and_load_are_what_the_config_says():
    run = RunConfig(sampling=Sampling(temperature=0.5, max_tokens=7, seed=3), load=Load(request_rate=2.0))
    request = request_options(run, model="m")
    assert (request.model, request.temperature, request.max_tokens, request.seed) == ("m", 0.5, 7, 3)
    assert (load_options(run).concurrency, load_options(run).request_rate) == (None, 2.0)
    assert load_options(RunConfig()).concurrency == 8


@pytest.mark.parametrize(
    "change",
    [
        {"load": {"concurrency": 0}},
        {"load": {"request_rate": -1.0}},
        {"sampling": {"temperature": -0.1}},
        {"sampling": {"max_tokens": 0}},
        {"benchmark": {"num_prompts": 0}},
    ],
)
def test_numbers_that_cannot_be_are_refused(change):
    with pytest.raises(UsageError, match="must"):
        resolve(config_from({"model": "default", **json.loads(json.dumps(change))}, "x"))
