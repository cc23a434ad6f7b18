"""Several drafters ranked by AL, prompt by prompt."""

import pytest
from compared_runs import make_run, row

from nemo_skills_specdec.acceptance import counts_from_steps
from nemo_skills_specdec.compare.ranking import DrafterRuns, rank_drafters, rankings_of
from nemo_skills_specdec.compare.repeats import RunGroup, group_runs
from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.records import RequestRecord

PROMPTS = 24


def drafter(name, order, accepted, *, repeats=1, told=True):
    """A drafter that has so many tokens of a draft of two accepted in each of ten steps, by prompt."""
    runs = []
    for repeat in range(repeats):
        rows = []
        for n in range(PROMPTS):
            counts = counts_from_steps(accepted(n, repeat), [2] * 10)
            rows.append(
                row(
                    RequestRecord(
                        question_id=str(n),
                        category="ab"[n % 2],
                        turn=0,
                        generation="x",
                        completion_tokens=21,
                        start_time=0.0,
                        end_time=1.0,
                        ttft_seconds=0.2,
                        tpot_seconds=0.04,
                        counts=counts if told else None,
                        counts_source="response" if told else None,
                    )
                )
            )
        runs.append(make_run(rows, directory=f"{name}-{repeat}"))
    return DrafterRuns(name=name, order=order, group=RunGroup(label=name, runs=runs))


def weak(n, _):
    return [1] * (n % 4) + [0] * (10 - n % 4)


def strong(n, _):
    return [2] * (3 + n % 4) + [0] * (7 - n % 4)


def strong_too(n, _):
    """As many over all prompts, with a little up and down."""
    return [2] * (3 + n % 4 + (1 if n % 8 < 4 else -1)) + [0] * (7 - n % 4 - (1 if n % 8 < 4 else -1))


def test_drafters_that_cannot_be_told_apart_share_a_rank():
    found = rank_drafters("x", [drafter("early", 0, weak), drafter("late", 1, strong), drafter("last", 2, strong_too)])
    assert [(one.drafter, one.rank) for one in found.overall][2] == ("early", 3)
    assert {one.drafter: one.rank for one in found.overall} == {"early": 3, "late": 1, "last": 1}
    assert sorted(found.best) == ["last", "late"]


def test_the_ratio_to_the_best_has_the_best_below_whatever_the_order_given():
    for order in (0, 1), (1, 0):
        made = [drafter("strong", order[0], strong), drafter("weak", order[1], weak)]
        found = rank_drafters("x", sorted(made, key=lambda one: one.order))
        best, other = found.overall
        assert (best.drafter, best.to_best, other.drafter) == ("strong", None, "weak")
        # 1.15 and 1.9 tokens a step.
        assert other.to_best == pytest.approx(1.15 / 1.9)
        assert other.to_best_interval.low < other.to_best < other.to_best_interval.high < 1


def test_every_category_has_ranks_of_its_own():
    def weak_in_a(n, repeat):
        return weak(n, repeat) if n % 2 == 0 else strong(n, repeat)

    found = rank_drafters("x", [drafter("one", 0, weak_in_a), drafter("two", 1, strong)])
    ranks = {name: {one.drafter: one.rank for one in ranks} for name, ranks in found.categories.items()}
    assert ranks == {"a": {"two": 1, "one": 2}, "b": {"one": 1, "two": 1}}


def test_noise_from_run_to_run_is_in_the_way_where_there_are_repeats():
    def wavering(n, repeat):
        return strong(n, repeat) if repeat == 0 else weak(n, repeat)

    made = [drafter("one", 0, wavering, repeats=2), drafter("two", 1, strong, repeats=2)]
    assert [one.rank for one in rank_drafters("x", made).overall] == [1, 1]


def test_speeds_are_shown_but_not_ranked():
    found = rank_drafters("x", [drafter("one", 0, weak), drafter("two", 1, strong)])
    assert [one.user_tokens_per_second for one in found.overall] == pytest.approx([25, 25])


@pytest.mark.parametrize(
    ("drafters", "words"),
    [
        ([drafter("one", 0, weak)], "two drafters or more"),
        ([drafter("one", 0, weak), drafter("two", 1, weak, told=False)], "do not report accepted tokens"),
    ],
)
def test_what_cannot_be_ranked_is_refused(drafters, words):
    with pytest.raises(DataError, match=words):
        rank_drafters("x", drafters)


def test_runs_are_ranked_at_each_draft_length_by_the_drafter_that_they_name():
    def run(name, order, length, accepted):
        made = drafter(name, order, accepted).group.runs[0]
        made.directory = made.directory / str(length)
        made.manifest.arguments |= {"drafter": name, "drafter_order": order, "method": "eagle3", "draft_length": length}
        made.manifest.arguments["draft_model"] = f"out/{name}"
        return made

    runs = [run("early", 0, k, weak) for k in (2, 3)] + [run("late", 1, k, strong) for k in (2, 3)]
    found = rankings_of(group_runs(runs))
    assert found.problems == []
    assert [[(one.drafter, one.order, one.rank) for one in ranking.overall] for ranking in found.rankings] == [
        [("late", 1, 1), ("early", 0, 2)]
    ] * 2


def test_runs_that_name_no_drafter_are_not_ranked():
    assert rankings_of([drafter("one", 0, weak).group]) is None
