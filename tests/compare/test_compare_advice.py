"""Advice from runs: one load, several loads, too little data."""

import numpy as np
import pytest
from compared_runs import make_run, row

from nemo_skills_specdec.acceptance import counts_from_steps
from nemo_skills_specdec.compare.advice import advise
from nemo_skills_specdec.compare.advice_text import conclusion_text, paying_text, step_text
from nemo_skills_specdec.compare.loads import advise_runs
from nemo_skills_specdec.compare.paying_load import LoadSpeedup, paying_load
from nemo_skills_specdec.compare.possible_lengths import RunNoise, TimedLength, possible_lengths
from nemo_skills_specdec.compare.repeats import group_runs
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.records import RequestRecord
from nemo_skills_specdec.statistics import Interval

DRAFT = 0.001
VERIFY = 0.008
WITHOUT = 0.007


def steps_of(name, length):
    """Accepted tokens in each of sixty steps of a prompt, as a drafter of this length would have them."""
    rng = np.random.default_rng(sum(map(ord, name)))
    runs = rng.geometric(1 - 0.7, 60) - 1
    return [int(min(accepted, length)) for accepted in runs]


def answered(name, category, length, *, slower=1.0, load=1.0):
    if length:
        accepted = steps_of(name, length)
        counts = counts_from_steps(accepted, [length] * len(accepted))
        tokens = 1 + len(accepted) + sum(accepted)
        seconds = len(accepted) * (VERIFY * load + DRAFT * load * length)
    else:
        counts, tokens = None, 151
        seconds = 150 * WITHOUT
    seconds *= slower
    return row(
        RequestRecord(
            question_id=name,
            category=category,
            turn=0,
            generation="x",
            completion_tokens=tokens,
            start_time=0.0,
            end_time=0.1 + seconds,
            ttft_seconds=0.1,
            tpot_seconds=seconds / (tokens - 1),
            counts=counts,
            counts_source="response" if counts else None,
        )
    )


def run_of(length, *, repeat=0, concurrency=4, slower=1.0, load=1.0, **more):
    rows = [answered(f"{n}", "ab"[n % 2], length, slower=slower, load=load) for n in range(40)]
    return make_run(
        rows,
        speculation="on" if length else "off",
        draft_length=length,
        directory=f"k{length}-c{concurrency}-{repeat}",
        load={"concurrency": concurrency},
        **more,
    )


def test_two_lengths_and_a_baseline_give_the_line_the_best_length_and_its_range():
    found = advise(group_runs([run_of(0), run_of(2), run_of(7)]), assumed_noise=0.01)
    assert found.step.fixed == pytest.approx(VERIFY, rel=1e-6)
    assert found.step.per_draft_token == pytest.approx(DRAFT, rel=1e-6)
    assert [one.draft_length for one in found.predictions] == [1, 2, 3, 4, 5, 6, 7]
    # With acceptance 0.7 and these costs, the shortest time per token lies at 4 in expectation.
    assert 3 <= found.best.draft_length <= 5
    assert found.best.low <= found.best.draft_length <= found.best.high
    assert found.possible[0] <= found.best.draft_length <= found.possible[1]
    best = next(one for one in found.predictions if one.draft_length == found.best.draft_length)
    assert best.speedup == pytest.approx(WITHOUT / best.tpot_seconds)
    assert found.leviathan.alpha == pytest.approx(0.7, abs=0.03)
    assert found.leviathan.cost == pytest.approx(DRAFT / WITHOUT, rel=1e-6)
    assert set(found.categories) == {"a", "b"}


def test_one_run_gives_lengths_but_no_best_length():
    found = advise(group_runs([run_of(5)]))
    assert [point.draft_length for point in found.lengths] == [1, 2, 3, 4, 5]
    assert found.best is None
    assert found.possible is None
    assert "two draft lengths" in step_text(found)
    assert conclusion_text(found) == []


def test_more_noise_makes_more_lengths_possible():
    groups = group_runs([run_of(2), run_of(7)])
    quiet, loud = advise(groups, assumed_noise=0.001), advise(groups, assumed_noise=0.2)
    assert loud.possible[1] - loud.possible[0] > quiet.possible[1] - quiet.possible[0]
    assert "(assumed)" in conclusion_text(loud)[1]


def test_repeats_measure_the_noise():
    slower = (1.0, 1.1, 0.9)
    runs = [run_of(k, repeat=n, slower=s) for k in (2, 7) for n, s in enumerate(slower)]
    found = advise(group_runs(runs), assumed_noise=0.5)
    logarithms = np.log(slower)
    assert found.noise == RunNoise(deviation=pytest.approx(logarithms.std(ddof=1)), freedom=4)


def test_trees_are_compared_only_where_they_were_measured():
    runs = [run_of(2), run_of(4)]
    for run in runs:
        run.manifest.server.topk = 4
    found = advise(group_runs(runs))
    assert "trees" in found.not_a_chain
    assert found.lengths == []
    assert [one.draft_length for one in found.predictions] == [2, 4]


def test_every_load_and_method_has_its_own_advice_and_knows_what_is_missing():
    runs = [
        run_of(0, concurrency=1),
        run_of(3, concurrency=1),
        run_of(0, concurrency=32),
        run_of(3, concurrency=32, load=3.0),
        run_of(3, concurrency=4, method="mtp"),
    ]
    eagle, mtp = advise_runs(group_runs(runs))
    assert [one.concurrency for one in eagle.loads] == [1, 32]
    assert [one.why for one in eagle.next if one.concurrency == 1] == ["one draft length", "no repeats"]
    assert [one.why for one in mtp.next] == ["no baseline", "one draft length", "no repeats"]
    assert eagle.paying.paying == "up to a load"
    assert 1 < eagle.paying.crossing < 32
    assert mtp.paying is None


def test_runs_without_speculation_alone_are_refused():
    with pytest.raises(DataError, match="none of the runs speculates"):
        advise_runs(group_runs([run_of(0)]))


def test_two_drafters_of_one_length_and_method_are_not_mixed_up():
    one, other = run_of(3), run_of(3, repeat=1)
    other.manifest.arguments["draft_model"] = "another"
    assert len(advise_runs(group_runs([one, other]))) == 2
    del other.manifest.arguments["draft_model"]
    other.manifest.server.settings["kv_cache_dtype"] = "fp8"
    one.manifest.server.settings["num_speculative_tokens"] = 3
    assert len(advise_runs(group_runs([one, other]))) == 2


def test_two_configurations_that_only_an_argument_tells_apart_are_refused():
    with pytest.raises(DataError, match="have the same draft length and load"):
        advise_runs(group_runs([run_of(3), run_of(3, repeat=1, dialect="sglang")]))


def speedup_at(concurrency, ratio, low, high):
    return LoadSpeedup(concurrency=concurrency, draft_length=3, ratio=ratio, interval=Interval(low, high))


def test_the_load_where_speculation_stops_paying_lies_between_two_measured_ones():
    points = [speedup_at(1, 2.0, 1.8, 2.2), speedup_at(16, 1.25, 0.9, 1.6), speedup_at(64, 0.8, 0.7, 0.9)]
    found = paying_load(points)
    assert found.crossing == pytest.approx(32)
    assert (found.surely_below, found.surely_above) == (1, 64)
    assert "stops paying at a concurrency of about 32" in paying_text(found, points)


def test_what_pays_everywhere_has_no_crossing():
    found = paying_load([speedup_at(1, 2.0, 1.8, 2.2), speedup_at(16, 1.5, 1.4, 1.6)])
    assert (found.paying, found.crossing, found.surely_below) == ("at every measured load", None, 16)
    assert paying_load([speedup_at(1, 2.0, 1.8, 2.2)]) is None


def test_of_lengths_that_cost_nothing_more_the_longest_wins_every_draw():
    counts = [counts_from_steps(steps_of(str(n), 6), [6] * 60) for n in range(20)]
    shorter = [counts_from_steps(steps_of(str(n), 2), [2] * 60) for n in range(20)]

    def timed(measured):
        tokens = [c.num_drafts + c.num_accepted_tokens for c in measured]
        return TimedLength(counts=measured, decoding=np.array([[t, 0.6] for t in tokens], dtype=float), runs=1)

    found = possible_lengths({2: timed(shorter), 6: timed(counts)}, RunNoise(deviation=0.0))
    assert found == (6, 6)
    assert possible_lengths({6: timed(counts)}, RunNoise(deviation=0.0)) is None
