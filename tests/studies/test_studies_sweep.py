"""Lists of values become runs."""

import itertools

import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.studies.config import RunConfig, server_key
from nemo_skills_specdec.studies.sweep import numbers, sweep, whole_numbers

BASELINE = RunConfig()
NGRAM = RunConfig(method=Method(name="ngram", draft_length=5))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,4,16,64", [1, 4, 16, 64]),
        ("1..7", [1, 2, 3, 4, 5, 6, 7]),
        ("8..32:8", [8, 16, 24, 32]),
        ("1, 3..5 ,1", [1, 3, 4, 5]),
    ],
)
def test_lists_and_ranges_of_whole_numbers(text, values):
    assert whole_numbers(text, "--x") == values


@pytest.mark.parametrize("text", ["", "a", "7..1", "0", "-1", "1..", "1.5", "1..5:0"])
def test_what_is_no_list_of_whole_numbers_is_refused_by_the_options_name(text):
    with pytest.raises(UsageError, match="--x"):
        whole_numbers(text, "--x")


def test_rates_need_not_be_whole():
    assert numbers("0.5,2", "--x") == [0.5, 2.0]
    for wrong in ("0", "inf", "nan", "x"):
        with pytest.raises(UsageError, match="--x"):
            numbers(wrong, "--x")


def test_the_baseline_comes_once_for_each_load_however_many_draft_lengths_there_are():
    runs = sweep([BASELINE, NGRAM], draft_lengths=[1, 2, 3], concurrencies=[1, 8])
    assert [(run.method.label, run.load.concurrency) for run in runs] == [
        ("none", 1),
        ("none", 8),
        ("ngram-k1", 1),
        ("ngram-k1", 8),
        ("ngram-k2", 1),
        ("ngram-k2", 8),
        ("ngram-k3", 1),
        ("ngram-k3", 8),
    ]


def test_runs_that_share_a_server_come_one_after_the_other():
    runs = sweep([BASELINE, NGRAM], draft_lengths=[1, 2], concurrencies=[1, 8], request_rates=[2.0], repeats=2)
    keys = [server_key(run) for run in runs]
    changes = sum(a != b for a, b in itertools.pairwise(keys))
    assert len(runs) == 12
    assert changes == len(set(keys)) - 1 == 2


def test_a_rate_alone_has_no_limit_in_flight():
    (run,) = sweep([NGRAM], request_rates=[2.0])
    assert (run.load.concurrency, run.load.request_rate, run.load.in_flight) == (None, 2.0, None)


def test_repeats_are_numbered():
    assert [run.repeat for run in sweep([NGRAM], repeats=3)] == [0, 1, 2]


def test_a_running_servers_draft_length_cannot_be_swept():
    served = RunConfig(server=ServerOptions(engine="running", url="http://x"), method=Method(name="as_served"))
    with pytest.raises(UsageError, match="running server"):
        sweep([served], draft_lengths=[1])


def test_a_tree_has_no_draft_length_to_sweep():
    tree = RunConfig(method=Method(name="eagle3", draft_model="d", topk=4, num_draft_tokens=16))
    with pytest.raises(UsageError, match="tree"):
        sweep([tree], draft_lengths=[1])
