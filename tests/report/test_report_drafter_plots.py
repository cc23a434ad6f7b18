"""AL against the order of checkpoints."""

from nemo_skills_specdec.compare.ranking import Rank, Ranking
from nemo_skills_specdec.report.drafter_plots import checkpoint_categories_plot, checkpoint_plot
from nemo_skills_specdec.statistics import Interval


def rank(name, order, place, length):
    return Rank(
        drafter=name,
        order=order,
        rank=place,
        acceptance_length=length,
        interval=Interval(length - 0.1, length + 0.1),
        to_best=None,
        to_best_interval=None,
        user_tokens_per_second=None,
    )


RANKS = [rank("step-2", 1, 1, 2.5), rank("step-3", 2, 1, 2.4), rank("step-1", 0, 3, 1.5)]
RANKING = Ranking(
    label="m vllm eagle3-k3, c8", prompts=9, left_out=0, significance=0.05, overall=RANKS, categories={"math": RANKS}
)


def test_checkpoints_stand_in_their_order_and_not_in_that_of_the_ranking():
    plot = checkpoint_plot(RANKING)
    assert [(row["drafter"], row["acceptance_length"], row["rank"]) for row in plot.rows] == [
        ("step-1", 1.5, 3),
        ("step-2", 2.5, 1),
        ("step-3", 2.4, 1),
    ]
    assert "step-2, step-3" in plot.caption
    assert plot.name == "acceptance-length-by-drafter-m-vllm-eagle3-k3-c8"


def test_every_category_is_a_line():
    plot = checkpoint_categories_plot(RANKING)
    assert [(row["category"], row["drafter"]) for row in plot.rows] == [
        ("math", "step-1"),
        ("math", "step-2"),
        ("math", "step-3"),
    ]
