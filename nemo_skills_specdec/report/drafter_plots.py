"""The plots of several drafters for one target."""

from __future__ import annotations

from nemo_skills_specdec.compare.ranking import Rank, Ranking
from nemo_skills_specdec.report.plot import Column, Plot, PlotRow, with_tips
from nemo_skills_specdec.report.shapes import lines


def checkpoint_plot(ranking: Ranking) -> Plot:
    """AL against the order in which the drafters were given, such as that of a training run's checkpoints."""
    drafter = Column(key="drafter", title="drafter", kind="text")
    length = Column(key="acceptance_length", title="acceptance length", interval=True)
    rank = Column(key="rank", title="rank", kind="count")
    ordered = sorted(ranking.overall, key=lambda one: one.order)
    columns = [drafter, length, rank]
    first, last = ordered[0], ordered[-1]
    best = ", ".join(ranking.best)
    return Plot(
        name=f"acceptance-length-by-drafter-{_anchor(ranking.label)}",
        title=f"Acceptance length by drafter: {ranking.label}",
        alt=f"A line over {len(ordered)} drafters in the order given, from {first.drafter} with "
        f"{first.acceptance_length:.2f} to {last.drafter} with {last.acceptance_length:.2f}.",
        caption=f"Bars are 95 % intervals over prompts; drafters are told apart prompt by prompt, which shows smaller "
        f"differences than these. Not surely beaten by any: {best}.",
        spec=lines(drafter, length, ordinal=True),
        columns=columns,
        rows=with_tips([_row(one) for one in ordered], columns),
        wide=len(ordered) > 8,
    )


def checkpoint_categories_plot(ranking: Ranking) -> Plot | None:
    """The same for every category; None where there is one only."""
    if not ranking.categories:
        return None
    drafter = Column(key="drafter", title="drafter", kind="text")
    category = Column(key="category", title="category", kind="text")
    length = Column(key="acceptance_length", title="acceptance length")
    rank = Column(key="rank", title="rank", kind="count")
    columns = [category, drafter, length, rank]
    rows = [
        {"category": name, **_row(one)}
        for name, ranks in ranking.categories.items()
        for one in sorted(ranks, key=lambda one: one.order)
    ]
    return Plot(
        name=f"acceptance-length-by-drafter-and-category-{_anchor(ranking.label)}",
        title=f"Acceptance length by drafter and category: {ranking.label}",
        alt=f"Lines over {len(ranking.overall)} drafters for {len(ranking.categories)} categories.",
        caption="Drafters that share a rank in a category cannot be told apart there.",
        spec=lines(drafter, length, category, ordinal=True),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def _row(one: Rank) -> PlotRow:
    interval = one.interval
    return {
        "drafter": one.drafter,
        "acceptance_length": one.acceptance_length,
        "acceptance_length_low": interval.low if interval is not None else None,
        "acceptance_length_high": interval.high if interval is not None else None,
        "rank": one.rank,
    }


def _anchor(label: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split())
