"""`kill -9` at random moments, small; `kills.py` does the same at full size."""

import pytest
from reliability.faults import fault
from reliability.kills import eval_kills, prepare_kills, study_kills


@fault(
    6,
    "`kill -9` at any moment of a run, then the same command",
    "how many prompts are complete already; acceptance of each answer once",
    0,
    "every answer that was a second old",
)
def test_a_run_that_is_killed_again_and_again_holds_every_request_once():
    told = eval_kills(3, 200, seed=1)
    assert (told["kills"], told["problems"]) == (3, [])


@fault(
    6,
    "`kill -9` at any moment where only counters know the acceptance",
    "`attempt_cut_off`; AL within what was in flight",
    0,
    "every answer that was a second old",
)
def test_counters_of_a_killed_run_are_off_by_no_more_than_was_in_flight():
    told = eval_kills(3, 200, seed=2, statistics=False)
    assert (told["kills"], told["problems"]) == (3, [])


@fault(6, "`kill -9` at any moment of a study", "which run it resumes", 0, "every answer that was a second old")
def test_a_study_that_is_killed_again_and_again_holds_every_request_once():
    told = study_kills(3, 200, seed=3)
    assert (told["kills"], told["problems"]) == (3, [])


@pytest.mark.timeout(170)
@fault(6, "`kill -9` at any moment of `prepare`", "the same files as undisturbed", 0, "what was downloaded")
def test_a_preparation_that_is_killed_again_and_again_gives_the_same_files():
    told = prepare_kills(3, seed=4)
    assert (told["kills"], told["problems"]) == (3, [])
