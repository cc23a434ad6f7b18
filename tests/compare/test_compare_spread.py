"""Repeats: the spread from run to run beside what the choice of prompts leaves open."""

import pytest
from compared_runs import make_run, row

from nemo_skills_specdec.acceptance import counts_from_steps
from nemo_skills_specdec.compare.repeats import group_runs
from nemo_skills_specdec.compare.spread import spread
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.records import RequestRecord


def answer(number, *, slower=1.0, accepted=(1, 0)):
    return row(
        RequestRecord(
            question_id=str(number),
            category="a",
            turn=0,
            generation="x",
            completion_tokens=11,
            start_time=0.0,
            end_time=2.0 * slower,
            ttft_seconds=1.0 * slower,
            tpot_seconds=0.1 * slower,
            counts=counts_from_steps(list(accepted), [1] * len(accepted)),
            counts_source="response",
        )
    )


def repeats(*slower, accepted=lambda n: (1, 0)):
    return group_runs(
        [
            make_run([answer(n, slower=one, accepted=accepted(n)) for n in range(6)], directory=f"r{number}")
            for number, one in enumerate(slower)
        ]
    )[0]


def figure(found, name):
    return next(one for one in found.figures if one.figure == name)


def test_what_a_whole_run_shares_is_noise_of_runs():
    found = figure(spread(repeats(1.0, 1.1, 1.21)), "tpot_seconds")
    assert found.values == pytest.approx([0.1, 0.11, 0.121])
    assert found.mean == pytest.approx(0.11)
    # Logarithms a step of ln 1.1 apart; all prompts alike.
    assert found.runs_deviation == pytest.approx(0.0953102)
    assert found.prompts_deviation == pytest.approx(0.0, abs=1e-9)
    assert found.runs_share == pytest.approx(1.0)
    # 4.303, Student's t with two degrees of freedom, times ln 1.1 / sqrt(3).
    assert found.interval.high / found.mean == pytest.approx(1.2671, abs=2e-4)
    assert found.prompts_interval.low == pytest.approx(found.prompts_interval.high)


def test_what_prompts_differ_in_is_noise_of_prompts():
    found = figure(spread(repeats(1.0, 1.0, accepted=lambda n: (1, 1) if n % 2 else (0, 0))), "acceptance_length")
    assert found.mean == pytest.approx(1.5)
    assert found.runs_deviation == 0
    assert found.runs_share == 0
    assert found.interval == found.prompts_interval
    assert found.prompts_interval.low < 1.3 < 1.7 < found.prompts_interval.high


def test_without_speculation_there_are_speeds_only():
    runs = [make_run([answer(n) for n in range(6)], directory=f"r{i}", speculation="off") for i in range(2)]
    found = spread(group_runs(runs)[0])
    assert [one.title for one in found.figures] == ["tok/s per user", "tok/s of the system", "TTFT", "TPOT"]
    assert found.unknown == {"AL": "the server does not speculate", "AR": "the server does not speculate"}


def test_a_single_run_has_no_spread():
    with pytest.raises(DataError, match="takes two or more"):
        spread(repeats(1.0))
