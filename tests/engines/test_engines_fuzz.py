"""Whatever JSON a server answers with, nothing is raised but the package's own errors."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_recordings import snapshot

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import Ask, EngineName, ServerInfo, decoded
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.engines.sglang.answers import sample_counts
from nemo_skills_specdec.engines.sglang.files import parse_lines
from nemo_skills_specdec.errors import IdentityError

WORDS = """usage completion_tokens metrics speculative_decoding num_spec_steps num_accepted_draft_tokens
num_draft_tokens num_spec_tokens acceptance_histogram per_step_accepted per_step_drafted sglext spec_tokens_details
choices meta_info spec_verify_ct spec_num_correct_drafts spec_num_proposed_drafts spec_correct_drafts_histogram timings
draft_n draft_n_accepted predicted_n version speculative_algorithm speculative_num_draft_tokens speculative_eagle_topk
speculative_num_steps speculative_accept_threshold_acc dp_size decode internal_states vllm_config speculative_config
method num_speculative_tokens rejection_sample_method device_config device build_info speculative id
default_generation_settings export_metrics_to_file frontend request_parameters"""
KEYS = st.sampled_from(WORDS.split())
NUMBERS = st.one_of(st.integers(-2, 5), st.sampled_from([10**7, 10**40, 0.5, float("nan"), float("inf"), True]))
LEAVES = st.one_of(NUMBERS, st.none(), st.sampled_from(["", "NGRAM", "0.5.23", "9" * 5000, "\ud800"]))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6))


JSON = st.recursive(LEAVES, nested, max_leaves=25)
ENGINE = st.sampled_from(sorted(ENGINES))


def speaks(engine: EngineName, value: Any) -> dict[str, Any]:
    """An answer with statistics at the place where this engine has them."""
    return {
        "vllm": {"metrics": {"speculative_decoding": value}},
        "sglang": {"sglext": {"spec_tokens_details": value}},
        "llamacpp": {"timings": value},
        "trtllm": {"metrics": value},
    }[engine]


def same_or_refused(engine: EngineName, body: Any) -> None:
    try:
        counts = ENGINES[engine].request_counts(body, None)
    except IdentityError:
        return
    assert counts is None or isinstance(counts, AcceptanceCounts)


@settings(max_examples=50)
@given(ENGINE, st.dictionaries(KEYS, JSON, max_size=6), st.booleans())
def test_no_answer_raises_anything_but_its_own_error(engine: EngineName, value: dict[str, Any], placed: bool) -> None:
    same_or_refused(engine, speaks(engine, value) if placed else value)


@settings(max_examples=50)
@given(ENGINE, st.lists(st.one_of(st.binary(max_size=40), st.dictionaries(KEYS, JSON).map(repr).map(str.encode))))
def test_no_stream_raises_anything_but_its_own_error(engine: EngineName, frames: list[bytes]) -> None:
    with contextlib.suppress(IdentityError):
        ENGINES[engine].stream_counts([b'{"timings":' + frame + b"}" for frame in frames] + frames)


@settings(max_examples=50)
@given(ENGINE, st.dictionaries(st.sampled_from(["/version", "/server_info", "/props", "/slots"]), JSON))
def test_no_server_info_raises_anything(engine: EngineName, told: dict[str, Any]) -> None:
    module = ENGINES[engine]
    ask = Ask(get=lambda path: told.get(path.partition("?")[0]))
    info = ServerInfo(engine=engine, base_url="")
    module.describe(info, ask)
    assert module.answers_to(ask) in (True, False)
    assert all(offer.how for offer in module.offers(info, [], "no metrics"))


@settings(max_examples=50)
@given(st.lists(st.one_of(st.binary(max_size=40), JSON.map(json.dumps).map(str.encode))))
def test_no_request_metric_file_raises_anything_but_its_own_error(lines: list[bytes]) -> None:
    records, broken = parse_lines(b"\n".join([*lines, b""]))
    assert broken + len(records) <= sum(line.count(b"\n") + 1 for line in lines)
    for record in records:
        with contextlib.suppress(IdentityError):
            sample_counts(record, None)


@pytest.mark.parametrize("depth", [100_000])
def test_endless_nesting_is_no_record(depth: int) -> None:
    assert parse_lines(b"[" * depth + b"\n") == ([], 1)
    assert ENGINES["llamacpp"].stream_counts([b'{"timings":' + b"[" * depth]) is None


def test_half_a_surrogate_pair_is_replaced_wherever_a_server_says_it() -> None:
    assert decoded(b'{"a": ["\\ud800x", "\\ud83d\\ude00"]}') == {"a": ["?x", "\U0001f600"]}
    text = 'vllm:generation_tokens_total{model_name="\ud800"} 5\n'
    assert snapshot(text).samples.series == {"vllm:generation_tokens_total": {frozenset({("model_name", "?")}): 5.0}}
