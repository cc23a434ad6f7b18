"""What refuses a comparison."""

import pytest
from compared_runs import invalid, make_run, record, row

from nemo_skills_specdec.compare.comparability import mismatches

ROWS = [row(record("a", accepted=12))]


def test_runs_that_were_asked_the_same_may_be_compared():
    assert mismatches(make_run(ROWS, speculation="off"), make_run(ROWS)) == []


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        ({"request": {"max_tokens": 128}}, "max_tokens", "request.max_tokens (64 and 128)"),
        ({"request": {"temperature": 0.8}}, "sampling", "sampling.temperature (0.0 and 0.8)"),
        ({"request": {"top_p": 0.9}}, "sampling", "sampling.top_p (not set and 0.9)"),
        ({"request": {"model": "n"}}, "model", 'request.model ("m" and "n")'),
        ({"load": {"concurrency": 32}}, "concurrency", "load.concurrency (4 and 32)"),
        ({"load": {"request_rate": 2.0}}, "load", "load.request_rate (not set and 2.0)"),
        ({"findings": [invalid()]}, "validity", "validity (valid and invalid: foreign_traffic)"),
    ],
)
def test_every_difference_is_named_with_both_values(change, key, text):
    (found,) = mismatches(make_run(ROWS), make_run(ROWS, **change))
    assert found.key == key
    assert str(found) == text


def test_other_prompts_are_another_run():
    other = [row(record("b", accepted=12))]
    (found,) = mismatches(make_run([*ROWS, *other]), make_run(ROWS))
    assert str(found) == "prompts (2, 1 of them in both and 1)"


def test_seeds_and_the_time_out_of_the_client_do_not_matter():
    other = make_run(ROWS, load={"seed": 5, "timeout_seconds": 9}, request={"seed": 3}, seed=4)
    assert mismatches(make_run(ROWS), other) == []
