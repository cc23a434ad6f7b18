"""Acceptance by part of a run, and speed of a user against speed of a GPU."""

import msgspec
import pytest
from compared_runs import make_run, record, row
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.acceptance import counts_from_steps, total
from nemo_skills_specdec.compare.breakdown import KEYS, breakdown
from nemo_skills_specdec.compare.pareto import pareto
from nemo_skills_specdec.compare.repeats import group_runs
from nemo_skills_specdec.records import StepCount


def rows():
    first = row(
        record("a", category="x", accepted=12, prompt_tokens=100),
        record("a", category="x", accepted=20, turn=1, prompt_tokens=300),
        sub_category="s",
    )
    return [first, row(record("b", category="y", accepted=4, prompt_tokens=5000))]


@pytest.mark.parametrize(
    ("by", "lengths"),
    [
        ("category", {"x": 2.6, "y": 1.4}),
        ("sub_category", {"x: s": 2.6}),
        ("turn", {"1": 1.8, "2": 3.0}),
        ("prompt_length", {"0 to 255": 2.2, "256 to 1023": 3.0, "4096 to 16383": 1.4}),
    ],
)
def test_every_part_is_pooled_over_its_own_steps(by, lengths):
    found = breakdown(rows(), by)
    assert {part.name: part.acceptance_length for part in found} == pytest.approx(lengths)
    assert list(lengths) == [part.name for part in found]


def test_a_language_is_a_multilingual_prompt_s_sub_category_or_the_pair_in_its_name():
    found = breakdown(
        [
            row(record("a", category="multilingual", accepted=12), sub_category="German"),
            row(record("b", category="multilingual", accepted=4), src_id="opus_de-en_12"),
            row(record("c", category="coding", accepted=4), sub_category="python"),
        ],
        "language",
    )
    assert {part.name: part.acceptance_length for part in found} == pytest.approx({"German": 2.2, "de-en": 1.4})


def test_speed_is_tokens_after_the_first_over_their_time():
    (part,) = breakdown([row(record("a", accepted=12, tokens=11, tpot=0.01))], "category")
    assert part.user_tokens_per_second == pytest.approx(100)


def test_steps_count_where_their_first_token_stands():
    steps = [StepCount(3, 3)] * 8 + [StepCount(3, 0)] * 4
    (early, late) = breakdown([row(record("a", accepted=12, steps=steps))], "output_position")
    # The eight steps start at tokens 1, 5 .. 29, the four at 33 and after.
    assert (early.name, early.num_drafts, early.acceptance_length) == ("0 to 31", 8, 4.0)
    assert (late.name, late.num_drafts, late.acceptance_length) == ("32 to 127", 4, 1.0)
    assert early.user_tokens_per_second is None


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200))
def test_places_in_the_answer_lose_no_step(accepted):
    steps = [StepCount(3, a) for a in accepted]
    parts = breakdown([row(record("a", accepted=12, steps=steps))], "output_position")
    assert sum(part.num_drafts for part in parts) == len(accepted)
    pooled = sum(part.num_drafts * part.acceptance_length for part in parts) / len(accepted)
    assert pooled == pytest.approx(total([counts_from_steps(accepted, [3] * len(accepted))]).acceptance_length)


@pytest.mark.parametrize("by", KEYS)
def test_answers_without_counts_have_no_parts(by):
    assert breakdown([row(record("a"))], by) == []


def test_a_configuration_that_is_beaten_in_both_speeds_is_not_best():
    def run(name, tpot, concurrency, wall):
        found = make_run([row(record("a", tpot=tpot))], load={"concurrency": concurrency}, directory=name)
        overall = found.evaluation.overall
        overall.speed = msgspec.structs.replace(overall.speed, output_tokens_per_second=wall)
        return found

    groups = group_runs([run("fast", 0.01, 1, 100.0), run("full", 0.02, 8, 400.0), run("bad", 0.04, 4, 90.0)])
    points = pareto(groups, gpus=2)
    assert [(point.gpu_tokens_per_second, point.best) for point in points] == [
        (50.0, True),
        (200.0, True),
        (45.0, False),
    ]
    assert points[0].user_tokens_per_second == pytest.approx(100)
