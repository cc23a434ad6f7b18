"""One description of a method, in each engine's words."""

import json

import pytest

from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import (
    Method,
    MethodRefused,
    check_method,
    to_embedded,
    to_llamacpp,
    to_sglang,
    to_vllm,
)


def vllm_config(method, version=None):
    flag, value = to_vllm(method, version).arguments
    assert flag == "--speculative-config"
    return json.loads(value)


def flags(arguments):
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def test_no_method_gives_no_argument_to_either_engine():
    assert to_vllm(Method()).arguments == ()
    assert to_sglang(Method()).arguments == ()


def test_ngram_drafts_five_tokens_after_looking_up_four_unless_told_otherwise():
    assert vllm_config(Method(name="ngram")) == {
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 4,
    }


@pytest.mark.parametrize("name", ["draft_model", "eagle", "eagle3", "dflash"])
def test_vllm_is_told_the_drafter_and_the_draft_length(name):
    config = vllm_config(Method(name=name, draft_length=4, draft_model="some/drafter"))
    assert config == {"method": name, "num_speculative_tokens": 4, "model": "some/drafter"}


def test_mtp_needs_no_drafter():
    assert vllm_config(Method(name="mtp")) == {"method": "mtp", "num_speculative_tokens": 1}
    assert flags(to_sglang(Method(name="mtp", draft_length=3)).arguments) == {
        "--speculative-algorithm": "NEXTN",
        "--speculative-num-steps": "3",
        "--speculative-eagle-topk": "1",
        "--speculative-num-draft-tokens": "4",
    }


def test_suffix_decoding_is_vllms_alone():
    config = vllm_config(Method(name="suffix", draft_length=8))
    assert (config["num_speculative_tokens"], config["suffix_decoding_max_tree_depth"]) == (8, 24)
    with pytest.raises(MethodRefused, match="SGLang has no method suffix"):
        to_sglang(Method(name="suffix"))


def test_the_drafters_gpus_are_vllms_alone():
    method = Method(name="draft_model", draft_model="d", draft_tensor_parallel_size=2)
    assert vllm_config(method)["draft_tensor_parallel_size"] == 2
    with pytest.raises(MethodRefused, match="all GPUs"):
        to_sglang(method)
    with pytest.raises(MethodRefused, match="no drafter"):
        to_vllm(Method(name="ngram", draft_tensor_parallel_size=2))


def test_sglang_counts_one_draft_token_more_than_the_draft_length():
    assert flags(to_sglang(Method(name="draft_model", draft_length=3, draft_model="d")).arguments) == {
        "--speculative-algorithm": "STANDALONE",
        "--speculative-num-steps": "3",
        "--speculative-eagle-topk": "1",
        "--speculative-num-draft-tokens": "4",
        "--speculative-draft-model-path": "d",
    }


def test_a_tree_is_sglangs_alone():
    tree = Method(name="eagle3", draft_length=5, topk=4, num_draft_tokens=16, draft_model="d")
    told = flags(to_sglang(tree).arguments)
    assert (told["--speculative-num-steps"], told["--speculative-eagle-topk"]) == ("5", "4")
    assert told["--speculative-num-draft-tokens"] == "16"
    assert tree.label == "eagle3-k5-top4-n16"
    with pytest.raises(MethodRefused, match="no trees"):
        to_vllm(tree)


def test_sglangs_ngram_is_a_chain_and_says_that_it_is_another_thing_than_vllms():
    translated = to_sglang(Method(name="ngram", draft_length=3))
    assert flags(translated.arguments) == {
        "--speculative-algorithm": "NGRAM",
        "--speculative-num-draft-tokens": "4",
        "--speculative-ngram-min-bfs-breadth": "1",
        "--speculative-ngram-max-bfs-breadth": "1",
    }
    assert "must not be compared" in translated.remarks[0]


def test_dflash_drafts_a_block():
    told = flags(to_sglang(Method(name="dflash", draft_model="d")).arguments)
    assert told["--speculative-dflash-block-size"] == "16"


@pytest.mark.parametrize(
    ("method", "version", "first"),
    [
        (Method(name="ngram"), "0.5.2", "0.5.3"),
        (Method(name="draft_model", draft_model="d"), "0.5.1", "0.5.2"),
        (Method(name="dflash", draft_model="d"), "0.5.10.post1", "0.5.11"),
    ],
)
def test_a_version_of_sglang_that_is_too_old_is_refused_with_the_first_that_is_not(method, version, first):
    with pytest.raises(MethodRefused, match=f"came with {first}"):
        to_sglang(method, version)
    to_sglang(method, first)


def test_vllm_before_its_speculative_config_is_refused():
    with pytest.raises(MethodRefused, match=r"0\.8\.5"):
        to_vllm(Method(name="ngram"), "0.8.4")
    to_vllm(Method(name="ngram"), "0.32.0+cpu")


def test_what_an_engine_alone_knows_is_passed_on_and_wins():
    assert vllm_config(Method(name="ngram", vllm={"prompt_lookup_max": 7}))["prompt_lookup_max"] == 7
    told = to_sglang(Method(name="ngram", sglang=["--speculative-ngram-max-trie-depth", "9"])).arguments
    assert told[-2:] == ("--speculative-ngram-max-trie-depth", "9")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Method(name="none", draft_length=3), "drop draft_length"),
        (Method(name="as_served", draft_model="d"), "drop draft_model"),
        (Method(name="ngram", draft_length=0), "at least 1"),
        (Method(name="ngram", prompt_lookup_min=5), "between 1 and prompt_lookup_max"),
        (Method(name="ngram", draft_model="d"), "no draft model"),
        (Method(name="eagle3"), "needs a drafter"),
        (Method(name="eagle3", draft_model="d", topk=4), "needs num_draft_tokens"),
        (Method(name="eagle3", draft_model="d", topk=0), "at least 1"),
        (Method(name="eagle3", draft_model="d", draft_length=3, num_draft_tokens=3), "verifies 4 nodes"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(method, said):
    with pytest.raises(UsageError, match=said):
        check_method(method)


@pytest.mark.parametrize("translate", [to_vllm, to_sglang, to_llamacpp])
def test_as_served_is_for_running_servers(translate):
    with pytest.raises(MethodRefused, match="running server"):
        translate(Method(name="as_served"))


def test_the_embedded_engine_and_llamacpp_refuse_what_they_lack():
    with pytest.raises(MethodRefused, match="no eagle-k3"):
        to_embedded(Method(name="eagle"), EmbeddedOptions())
    with pytest.raises(MethodRefused, match="no draft_model-k3"):
        to_llamacpp(Method(name="draft_model", draft_model="d"))


def test_the_embedded_engine_takes_the_same_words():
    options = to_embedded(Method(name="ngram", draft_length=2, prompt_lookup_max=3), EmbeddedOptions(dialect="sglang"))
    assert (options.method, options.draft_length, options.prompt_lookup_min, options.prompt_lookup_max) == (
        "ngram",
        2,
        3,
        3,
    )
    assert options.dialect == "sglang"
    assert to_embedded(Method(name="draft_model", draft_length=6), EmbeddedOptions()).draft_length == 6
