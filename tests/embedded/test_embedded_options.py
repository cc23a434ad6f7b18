import pytest

from nemo_skills_specdec.embedded.options import EmbeddedOptions, check, from_json, to_json
from nemo_skills_specdec.errors import UsageError


@pytest.mark.parametrize(
    "options",
    [
        EmbeddedOptions(),
        EmbeddedOptions(
            dialect="sglang",
            method="ngram",
            draft_length=5,
            max_num_seqs=7,
            max_model_len=200,
            port=8123,
            protect_metrics=True,
            disable_log_stats=True,
            export_metrics_dir="some where",
            seed=None,
            served_model_name="--odd name",
        ),
    ],
)
def test_options_survive_as_an_argument(options):
    assert from_json(to_json(options), api_key=None) == options


def test_the_api_key_is_never_an_argument():
    options = EmbeddedOptions(api_key="tops3cret")
    assert "tops3cret" not in to_json(options)
    assert from_json(to_json(options), api_key="tops3cret") == options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draft_length": 0}, "draft_length is 0"),
        ({"draft_length": 33}, "draft_length is 33"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
        ({"prompt_lookup_min": 5, "prompt_lookup_max": 2}, "prompt_lookup_max"),
        ({"port": 70000}, "port is 70000"),
        ({"max_model_len": 4}, "max_model_len is 4"),
        ({"export_metrics_dir": "x"}, "sglang dialect"),
        ({"protect_metrics": True}, "API key"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_contradicting_options_are_refused_by_name(options, words):
    with pytest.raises(UsageError, match=words):
        check(EmbeddedOptions(**options))


def test_a_draft_length_does_not_matter_without_speculation():
    check(EmbeddedOptions(method="none", draft_length=0))


@pytest.mark.parametrize("text", ['{"dialect": "other"}', '{"no_such_option": 1}', "--method=ngram", "[]"])
def test_an_argument_that_says_something_else_is_refused(text):
    with pytest.raises(UsageError, match="options are one JSON object"):
        from_json(text, api_key=None)
