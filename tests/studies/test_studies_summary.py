"""What a summary shows of little: few steps, few prompts, few runs."""

import math

import numpy as np
import pytest

from nemo_skills_specdec.compare.speedup import Speedup, repeated_speedup
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.measurement.result import Part
from nemo_skills_specdec.measurement.run import OutputRow
from nemo_skills_specdec.measurement.speed import Speed
from nemo_skills_specdec.records import Acceptance, RequestRecord
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.studies.config import RunConfig
from nemo_skills_specdec.studies.study import FoundRun, _by_server
from nemo_skills_specdec.studies.summary import Row
from nemo_skills_specdec.studies.summary_files import _length_and_steps, _user


def row(drafts=None, speedup=None):
    part = Part(
        num_prompts=2,
        num_requests=2,
        num_failed=0,
        acceptance=Acceptance(source="response", num_drafts=drafts, acceptance_length=2.5),
        speed=Speed(wall_seconds=1.0, prompt_tokens=None, completion_tokens=None, output_tokens_per_second=None),
    )
    run = FoundRun(directory=None, config=RunConfig(), config_hash="", state="finished")
    return Row(run=run, category="math", part=part, verification_efficiency=None, speedup=speedup or Speedup())


def test_few_steps_stand_beside_the_acceptance_length_that_rests_on_them():
    assert _length_and_steps(row(drafts=37)) == "2.50, D 37"
    assert _length_and_steps(row(drafts=370)) == "2.50"


def test_no_speedup_is_shown_without_an_interval():
    assert _user(row(speedup=Speedup(user=2.0))) == "-"
    assert _user(row(speedup=Speedup(user=2.0, user_interval=Interval(1.5, 2.6)))) == "2.00 (1.50 to 2.60)"


def test_repetitions_of_several_methods_take_turns():
    configs = [RunConfig(method=Method(name=name), repeat=repeat) for name in ("none", "ngram") for repeat in range(3)]
    order = [(config.method.name, config.repeat) for group in _by_server(configs) for config in group]
    assert order == [(name, repeat) for repeat in range(3) for name in ("none", "ngram")]


def test_repetitions_on_one_server_keep_it():
    assert [len(group) for group in _by_server([RunConfig(repeat=repeat) for repeat in range(3)])] == [3]


def rows_of(speeds):
    """Answers of 101 tokens, written with these speeds in tokens per second."""
    return [
        OutputRow(
            question_id=str(number),
            category="math",
            messages=[],
            requests=[
                RequestRecord(
                    question_id=str(number),
                    category="math",
                    turn=0,
                    status=200,
                    generation="text",
                    completion_tokens=101,
                    start_time=0.0,
                    end_time=0.1 + 100 / speed,
                    ttft_seconds=0.1,
                    tpot_seconds=1 / speed,
                    num_chunks=50,
                )
            ],
        )
        for number, speed in enumerate(speeds)
    ]


def test_the_interval_over_repeats_holds_what_whole_runs_differ_by():
    base = np.linspace(90, 110, 20)
    baselines = [rows_of(base * factor) for factor in (1.0, 0.9, 1.1)]
    runs = [rows_of(base * 1.2 * factor) for factor in (1.1, 0.9, 1.0)]
    found = repeated_speedup(baselines, runs, closed_loop=True)
    assert (found.runs, found.baseline_runs, found.prompts) == (3, 3, 20)
    assert found.user == pytest.approx(1.2)
    # Prompts are alike in all runs, so all of the width comes from the runs: t of 4 degrees of freedom is 2.776.
    deviation = np.std(np.log([1.0, 0.9, 1.1]), ddof=1)
    half = 2.776 * deviation * math.sqrt(2 / 3)
    assert found.user_interval.low == pytest.approx(1.2 * math.exp(-half), rel=1e-3)
    assert found.user_interval.high == pytest.approx(1.2 * math.exp(half), rel=1e-3)


def test_below_five_prompts_repeats_make_no_interval_either():
    few = [rows_of([100.0, 110.0]) for _ in range(4)]
    found = repeated_speedup(few[:2], few[2:], closed_loop=True)
    assert found.user == pytest.approx(1.0)
    assert found.user_interval is None
