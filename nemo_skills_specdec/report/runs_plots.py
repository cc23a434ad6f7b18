"""The plots of several configurations side by side."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.change import FigureChange
from nemo_skills_specdec.compare.comparison import Comparison
from nemo_skills_specdec.compare.pareto import pareto
from nemo_skills_specdec.report.configurations import Configuration, figures_of, part_figures
from nemo_skills_specdec.report.plot import Column, Plot, PlotRow, with_known_ends, with_tips
from nemo_skills_specdec.report.run_plots import bars_text
from nemo_skills_specdec.report.shapes import heat_map, interval_dots, lines, marked, scatter

CONFIGURATION = Column(key="configuration", title="configuration", kind="text")
CATEGORY = Column(key="category", title="category", kind="text")
LENGTH = Column(key="acceptance_length", title="acceptance length", interval=True)
USER = Column(key="user_tokens_per_second", title="tok/s per user (p50)", kind="speed", interval=True)
TOTAL = Column(key="output_tokens_per_second", title="throughput, tok/s", kind="speed", interval=True)
SERIES = Column(key="series", title="series", kind="text")

FRONT = "on the Pareto front"
MOST_SHARED = 6
"""Configurations that dots of one category can be told apart of; more go into the heat map alone."""

Compared = Sequence[tuple[Configuration, Comparison]]


def runs_plots(found: Sequence[Configuration], compared: Compared) -> list[Plot]:
    """What there is to see of several configurations; a plot that there is no data for is left out."""
    plots = [
        lengths_plot(found),
        speedup_plot(compared),
        pareto_plot(found),
        categories_plot(found),
        length_heat_map(found),
        speedup_heat_map(compared),
    ]
    return [plot for plot in plots if plot is not None]


def sweep_plots(found: Sequence[Configuration]) -> list[Plot]:
    """AL and speed against draft length and concurrency, where these vary."""
    plots = []
    if len({one.draft_length for one in found if one.draft_length}) > 1:
        plots += [
            _draft_length_plot(found, LENGTH, "acceptance-length-by-measured-draft-length", baseline=False),
            _draft_length_plot(found, USER, "user-speed-by-draft-length", baseline=True),
            _draft_length_plot(found, TOTAL, "throughput-by-draft-length", baseline=True),
        ]
    if len({one.concurrency for one in found if one.concurrency}) > 1:
        plots += [
            _concurrency_plot(found, LENGTH, "acceptance-length-by-concurrency"),
            _concurrency_plot(found, USER, "user-speed-by-concurrency"),
            _concurrency_plot(found, TOTAL, "throughput-by-concurrency"),
        ]
    return [plot for plot in plots if plot is not None]


def lengths_plot(found: Sequence[Configuration]) -> Plot | None:
    """AL of every configuration, and beside it what is left of it once steps without a draft are counted."""
    rows: list[PlotRow] = []
    for one in found:
        row = figures_of(one)
        if row["acceptance_length"] is not None:
            rows.append({**row, "figure": "acceptance length"})
        if row["tokens_per_step"] is not None:
            named = {"configuration": one.name, "figure": "tokens per step"}
            rows.append({**named, "acceptance_length": row["tokens_per_step"]})
    names = list(dict.fromkeys(row["configuration"] for row in rows))
    if len(names) < 2:
        return None
    figure = Column(key="figure", title="figure", kind="text")
    value = Column(key="acceptance_length", title="tokens", interval=True)
    columns = [CONFIGURATION, figure, value, Column(key="acceptance_rate", title="acceptance rate", kind="share")]
    lengths = [row["acceptance_length"] for row in rows]
    return Plot(
        name="acceptance-length-by-configuration",
        title="Acceptance length and tokens per step",
        alt=f"Dots with intervals for {len(names)} configurations, from {min(lengths):.2f} to {max(lengths):.2f}.",
        caption="Bars are 95 % intervals over prompts; of a configuration that was run several times, the range. "
        "Acceptance length leaves out steps without a draft: across kinds of drafters, compare tokens per step.",
        spec=interval_dots(with_known_ends(value, rows), CONFIGURATION, len(names), figure, 2),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def speedup_plot(compared: Compared) -> Plot | None:
    """Speedups with their intervals, for one user and for all."""
    ratio = Column(key="ratio", title="speedup over the baseline", interval=True)
    figure = Column(key="figure", title="speed", kind="text")
    verdict = Column(key="verdict", title="verdict", kind="text")
    named = {"user_tokens_per_second": "of one user", "system_tokens_per_second": "of the system"}
    rows = [
        {"configuration": one.name, "figure": title, "verdict": change.verdict, **_ratio(change)}
        for one, comparison in compared
        for name, title in named.items()
        if (change := comparison.figure(name)).ratio is not None
    ]
    if not rows:
        return None
    columns = [CONFIGURATION, figure, ratio, verdict]
    names = len({row["configuration"] for row in rows})
    fastest = max(rows, key=lambda row: row["ratio"])
    return Plot(
        name="speedup",
        title="Speedup",
        alt=f"Dots with intervals of {names} configurations; the highest is {fastest['ratio']:.2f} "
        f"({fastest['figure']}, {fastest['configuration']}). 1 is as fast as the baseline.",
        caption="The dashed line is the baseline. What the intervals hold is said below, at the differences.",
        spec=marked(interval_dots(with_known_ends(ratio, rows), CONFIGURATION, names, figure, 2), 1.0, "baseline"),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def pareto_plot(found: Sequence[Configuration]) -> Plot | None:
    """Speed of one user against that of all together."""
    named = [msgspec.structs.replace(one.group, label=one.name) for one in found]
    rows: list[PlotRow] = [
        {
            "configuration": point.label,
            "user_tokens_per_second": point.user_tokens_per_second,
            "output_tokens_per_second": point.gpu_tokens_per_second,
            "front": FRONT if point.best else "beaten by another one",
            "label": point.label if point.best else "",
        }
        for point in pareto(named)
    ]
    if len(rows) < 2:
        return None
    which = Column(key="front", title="Pareto", kind="text")
    label = Column(key="label", title="label", kind="text")
    rows.sort(key=lambda row: row["front"] != FRONT)
    columns = [
        CONFIGURATION,
        Column(key="user_tokens_per_second", title="tok/s per user (p50)", kind="speed"),
        Column(key="output_tokens_per_second", title="throughput, tok/s", kind="speed"),
        which,
    ]
    best = [row["configuration"] for row in rows if row["front"] == FRONT]
    return Plot(
        name="pareto",
        title="One user against all together",
        alt=f"{len(rows)} points, right is faster for one user, up is faster for all; on the Pareto front: "
        f"{'; '.join(best)}.",
        caption="Up and to the right is better. On the Pareto front: no other configuration is at least as fast in "
        "both and faster in one.",
        spec=scatter(columns[1], columns[2], which, label),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def categories_plot(found: Sequence[Configuration]) -> Plot | None:
    """AL of every category and configuration as dots, where these are few."""
    rows = _category_rows(found)
    names = list(dict.fromkeys(row["configuration"] for row in rows))
    categories = list(dict.fromkeys(row["category"] for row in rows))
    if not 2 <= len(names) <= MOST_SHARED or len(categories) < 2:
        return None
    columns = [CATEGORY, CONFIGURATION, LENGTH]
    return Plot(
        name="acceptance-length-by-category-and-configuration",
        title="Acceptance length by category",
        alt=f"Dots with intervals for {len(categories)} categories and {len(names)} configurations.",
        caption=bars_text(rows),
        spec=interval_dots(with_known_ends(LENGTH, rows), CATEGORY, len(categories), CONFIGURATION, len(names)),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def length_heat_map(found: Sequence[Configuration]) -> Plot | None:
    """AL of every category and configuration as cells."""
    rows = _category_rows(found)
    names = list(dict.fromkeys(row["configuration"] for row in rows))
    if len(names) < 2 or len({row["category"] for row in rows}) < 2:
        return None
    values = [row["acceptance_length"] for row in rows]
    middle = (min(values) + max(values)) / 2
    columns = [CONFIGURATION, CATEGORY, LENGTH]
    return Plot(
        name="acceptance-length-heat-map",
        title="Acceptance length by configuration and category",
        alt=f"A heat map of {len(names)} configurations, from {min(values):.2f} to {max(values):.2f}.",
        caption="Lighter is higher.",
        spec=heat_map(CATEGORY, CONFIGURATION, LENGTH, len(names)),
        columns=columns,
        rows=with_tips([{**row, "shade_middle": middle} for row in rows], columns),
        wide=True,
    )


def speedup_heat_map(compared: Compared) -> Plot | None:
    """Speedups of one user by category."""
    ratio = Column(key="ratio", title="speedup of one user", interval=True)
    verdict = Column(key="verdict", title="verdict", kind="text")
    rows = [
        {"configuration": one.name, "category": category, "verdict": change.verdict, **_ratio(change)}
        for category in sorted({name for _, comparison in compared for name in comparison.categories})
        for one, comparison in compared
        for change in comparison.categories.get(category, ())
        if change.figure == "user_tokens_per_second" and change.ratio is not None
    ]
    names = list(dict.fromkeys(row["configuration"] for row in rows))
    if not rows:
        return None
    values = [row["ratio"] for row in rows]
    reach = max(abs(value - 1) for value in values)
    columns = [CONFIGURATION, CATEGORY, ratio, verdict]
    return Plot(
        name="speedup-heat-map",
        title="Speedup of one user by configuration and category",
        alt=f"A heat map of {len(names)} configurations, from {min(values):.2f} to {max(values):.2f}.",
        caption="Blue is faster than the baseline, brown slower.",
        spec=heat_map(CATEGORY, CONFIGURATION, ratio, len(names), middle=1.0),
        columns=columns,
        rows=with_tips([{**row, "shade_reach": reach} for row in rows], columns),
        wide=True,
    )


def _category_rows(found: Sequence[Configuration]) -> list[PlotRow]:
    categories = sorted({name for one in found for name in one.first.evaluation.categories})
    return [
        {"configuration": one.name, "category": name, **row}
        for name in categories
        for one in found
        if (row := part_figures(one, lambda run, name=name: run.evaluation.categories.get(name)))["acceptance_length"]  # type: ignore[misc]
        is not None
    ]


def _ratio(change: FigureChange) -> PlotRow:
    ends = change.ratio_interval
    return {
        "ratio": change.ratio,
        "ratio_low": ends.low if ends else None,
        "ratio_high": ends.high if ends else None,
    }


def _draft_length_plot(found: Sequence[Configuration], y: Column, name: str, *, baseline: bool) -> Plot | None:
    """A figure against the draft length; with `baseline`, the run without speculation stands at 0."""
    x = Column(key="draft_length", title="draft length", kind="count")
    drafting = [one for one in found if one.draft_length]
    rows: list[PlotRow] = []
    for method, load in dict.fromkeys((one.method, one.load) for one in drafting):
        members = [one for one in drafting if (one.method, one.load) == (method, load)]
        if baseline:
            members += [one for one in found if one.draft_length == 0 and one.load == load]
        series = ", ".join(part for part in (method, load) if part)
        rows += [{"series": series, "draft_length": one.draft_length, **figures_of(one)} for one in members]
    return _sweep(rows, x, y, name, f"{_title(y)} by draft length")


def _concurrency_plot(found: Sequence[Configuration], y: Column, name: str) -> Plot | None:
    """A figure against the number of prompts in flight."""
    x = Column(key="concurrency", title="prompts in flight", kind="count")
    rows = [
        {
            "series": one.method + (f" k={one.draft_length}" if one.draft_length else ""),
            "concurrency": one.concurrency,
            **figures_of(one),
        }
        for one in found
        if one.concurrency
    ]
    return _sweep(rows, x, y, name, f"{_title(y)} by concurrency")


def _title(y: Column) -> str:
    return y.title[0].upper() + y.title[1:]


def _sweep(rows: Sequence[PlotRow], x: Column, y: Column, name: str, title: str) -> Plot | None:
    rows = sorted((row for row in rows if row[y.key] is not None), key=lambda row: row[x.key])
    places = list(dict.fromkeys(row[x.key] for row in rows))
    if len(places) < 2:
        return None
    columns = [SERIES, x, y]
    return Plot(
        name=name,
        title=title,
        alt=f"Lines of {len({row['series'] for row in rows})} series over {x.title} {places[0]} to {places[-1]}, "
        f"between {min(row[y.key] for row in rows):.4g} and {max(row[y.key] for row in rows):.4g}.",
        caption="Bands: 95 % intervals over prompts, or the range of repeats." if y is LENGTH else "",
        spec=lines(x, with_known_ends(y, rows), SERIES, ordinal=True, zero=y is not LENGTH),
        columns=columns,
        rows=with_tips(rows, columns),
    )
