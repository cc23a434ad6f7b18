"""The plots of one run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.compare.breakdown import OUTPUT_TOKENS, PROMPT_TOKENS
from nemo_skills_specdec.compare.draft_length import acceptance_curve, not_a_chain
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.measurement.result import Evaluation, Part
from nemo_skills_specdec.records import Acceptance
from nemo_skills_specdec.report.answers import Answers, LengthSlice, length_slices, place_slices
from nemo_skills_specdec.report.plot import Column, Plot, PlotRow, with_known_ends, with_tips
from nemo_skills_specdec.report.shapes import bars, interval_dots, lines, marked

if TYPE_CHECKING:
    pass

NAME = Column(key="name", title="category", kind="text")
LENGTH = Column(key="acceptance_length", title="acceptance length", interval=True)
STEPS = Column(key="num_drafts", title="verification steps", kind="count")
PROMPTS = Column(key="prompts", title="prompts", kind="count")
RATE = Column(key="acceptance_rate", title="acceptance rate", kind="share")

MOST_LINES = 60
"""Categories that a plot has room for."""
TIME_PARTS = 24
"""Into which a run is cut, to show how acceptance went on."""


def acceptance_plots(evaluation: Evaluation, server: ServerInfo, answers: Answers) -> list[Plot]:
    """What there is to see of acceptance; a plot that the run has no data for is left out."""
    found = [
        category_plot(evaluation.categories, evaluation.overall.acceptance),
        position_plot(evaluation.overall.acceptance),
        curve_plot(evaluation.overall.acceptance, server),
        accepted_plot(evaluation.overall.acceptance),
        place_plot(answers),
        prompt_length_plot(answers),
        course_plot(answers),
    ]
    return [plot for plot in found if plot is not None]


def category_plot(categories: Mapping[str, Part], overall: Acceptance) -> Plot | None:
    """AL of every category, the highest on top."""
    rows = [
        _acceptance_row(name, part.num_prompts, part.acceptance)
        for name, part in categories.items()
        if part.acceptance.acceptance_length is not None
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: -row["acceptance_length"])
    left_out = len(rows) - MOST_LINES
    if left_out > 0:
        rows = [*rows[: MOST_LINES // 2], *rows[-MOST_LINES // 2 :]]
    columns = [NAME, LENGTH, RATE, STEPS, PROMPTS]
    first, last = rows[0], rows[-1]
    spec = interval_dots(with_known_ends(LENGTH, rows), NAME, len(rows))
    pooled = ""
    if overall.acceptance_length is not None:
        spec = marked(spec, overall.acceptance_length, "all categories")
        pooled = f" The dashed line is all categories pooled, {overall.acceptance_length:.3f}."
    return Plot(
        name="acceptance-length-by-category",
        title="Acceptance length by category",
        alt=f"Dots with 95 % intervals for {len(rows)} categories, from {first['name']} with "
        f"{first['acceptance_length']:.2f} down to {last['name']} with {last['acceptance_length']:.2f}.",
        caption=f"{bars_text(rows)}{pooled}"
        + (f" {left_out} categories in the middle are left out." if left_out > 0 else ""),
        spec=spec,
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def position_plot(acceptance: Acceptance) -> Plot | None:
    """Conditional and unconditional rates by draft position."""
    survival, conditional = acceptance.per_position_acceptance_rates, acceptance.conditional_acceptance_rates
    if not survival or conditional is None:
        return None
    intervals = acceptance.intervals
    position = Column(key="position", title="draft position", kind="count")
    rate = Column(key="rate", title="share accepted", kind="share", interval=True)
    kind = Column(key="rate_kind", title="rate", kind="text")
    told = [
        ("survival p_i", survival, intervals and intervals.per_position_acceptance_rates),
        (
            "conditional c_i",
            conditional,
            intervals and intervals.conditional_acceptance_rates,
        ),
    ]
    if acceptance.reached_conditional_acceptance_rates is not None:
        reached = acceptance.reached_conditional_acceptance_rates
        if reached != conditional:
            told.append(("conditional r_i, of steps that drafted it", reached, None))
    rows: list[PlotRow] = []
    for name, rates, ends in told:
        for index, value in enumerate(rates):
            end = ends[index] if ends else None
            low, high = (end.low, end.high) if end is not None else (None, None)
            rows.append({"rate_kind": name, "position": index + 1, "rate": value, "rate_low": low, "rate_high": high})
    columns = [kind, position, rate]
    rows = [row for row in rows if row["rate"] is not None]
    return Plot(
        name="acceptance-by-position",
        title="Acceptance by draft position",
        alt=f"Lines over {len(survival)} draft positions: the share of steps that accept position i falls from "
        f"{survival[0]:.1%} to {survival[-1]:.1%}.",
        caption="Survival: accepted, of all steps. Conditional: accepted, of the steps that accepted everything "
        "before. A conditional rate that rises with the position is common: a text that has been guessed so far is an "
        "easy one.",
        spec=lines(position, with_known_ends(rate, rows), kind, ordinal=True, zero=True),
        columns=columns,
        rows=with_tips(rows, columns),
    )


def curve_plot(acceptance: Acceptance, server: ServerInfo) -> Plot | None:
    """AL that shorter drafts would have had."""
    counts = _counts(acceptance)
    curve = acceptance_curve(counts) if counts is not None else []
    if counts is None or len(curve) < 3 or not_a_chain(server, counts) is not None:
        return None
    length = Column(key="draft_length", title="draft length k", kind="count")
    value = Column(key="acceptance_length", title="acceptance length AL(k)")
    gain = Column(key="gain", title="gained by the k-th draft token")
    rows = [
        {"draft_length": k, "acceptance_length": al, "gain": al - curve[k - 1]} for k, al in enumerate(curve) if k > 0
    ]
    columns = [length, value, gain]
    return Plot(
        name="acceptance-length-by-draft-length",
        title="What shorter drafts would accept",
        alt=f"A line that rises from {curve[1]:.2f} with one draft token to {curve[-1]:.2f} with {len(curve) - 1}.",
        caption="AL(k) = 1 + p_1 + ... + p_k: every draft of this run, cut after k tokens. As a forecast for a run at "
        "k it is approximate.",
        spec=lines(length, value, ordinal=True),
        columns=columns,
        rows=with_tips(rows, columns),
    )


def accepted_plot(acceptance: Acceptance) -> Plot | None:
    """How many draft tokens the steps accepted."""
    drafts, per_position = acceptance.num_drafts, acceptance.accepted_per_position
    if not drafts or not per_position:
        return None
    at_least = [drafts, *per_position, 0]
    steps = [here - more for here, more in itertools.pairwise(at_least)]
    accepted = Column(key="accepted", title="draft tokens accepted in a step", kind="count")
    share = Column(key="share", title="share of steps", kind="share")
    rows = [{"accepted": j, "share": number / drafts, "num_drafts": number} for j, number in enumerate(steps)]
    columns = [accepted, share, STEPS]
    return Plot(
        name="accepted-tokens-per-step",
        title="Accepted tokens per step",
        alt=f"Bars: {steps[0] / drafts:.1%} of {drafts:,} steps accept nothing, {steps[-1] / drafts:.1%} all "
        f"{len(steps) - 1} draft tokens.",
        caption="Each step also gives one token of the target model itself.",
        spec=bars(accepted, share),
        columns=columns,
        rows=with_tips(rows, columns),
    )


def place_plot(answers: Answers) -> Plot | None:
    """AL along the answer."""
    import numpy as np

    if not len(answers.places):
        return None
    starts = np.array([0, *OUTPUT_TOKENS])
    where = Column(key="name", title="tokens of the answer before the step", kind="text")
    return _slices_plot(
        place_slices(answers, starts),
        _bucket_names(OUTPUT_TOKENS),
        where,
        name="acceptance-length-along-the-answer",
        title="Acceptance length along the answer",
        caption="By the place of a step's first token. Only long answers reach the later places, so it is not the same "
        "text throughout.",
    )


def prompt_length_plot(answers: Answers) -> Plot | None:
    """AL against the length of the prompt."""
    import numpy as np

    tokens = answers.prompt_tokens[answers.counted]
    parts = np.where(np.isnan(tokens), -1, np.searchsorted((0, *PROMPT_TOKENS), tokens, side="right") - 1)
    where = Column(key="name", title="prompt tokens", kind="text")
    return _slices_plot(
        length_slices(answers, parts.astype(np.int64), len(PROMPT_TOKENS) + 1),
        _bucket_names(PROMPT_TOKENS),
        where,
        name="acceptance-length-by-prompt-length",
        title="Acceptance length by prompt length",
        caption="Categories differ in the length of their prompts, so this shows both.",
    )


def course_plot(answers: Answers) -> Plot | None:
    """AL over the course of the run."""
    import numpy as np

    ends = answers.end[answers.counted]
    number = min(TIME_PARTS, len(ends) // 8)
    if number < 3 or ends.max() <= 0:
        return None
    width = float(ends.max()) / number
    parts = np.minimum((ends / width).astype(np.int64), number - 1)
    time = Column(key="time", title="seconds since the start", kind="clock")
    rows = [
        {"time": (part + 0.5) * width, **_length_row(one)}
        for part, one in enumerate(length_slices(answers, parts, number))
        if one is not None
    ]
    if len(rows) < 3:
        return None
    columns = [time, LENGTH, STEPS, PROMPTS]
    low, high = (pick(row["acceptance_length"] for row in rows) for pick in (min, max))
    return Plot(
        name="acceptance-length-over-the-run",
        title="Acceptance length over the run",
        alt=f"A line with its interval over {ends.max():.0f} seconds, between {low:.2f} and {high:.2f}.",
        caption="Of the answers that ended in each part of the run. Prompts come in an order, so categories may show.",
        spec=lines(time, with_known_ends(LENGTH, rows)),
        columns=columns,
        rows=with_tips(rows, columns),
        wide=True,
    )


def bars_text(rows: Sequence[PlotRow]) -> str:
    """What the bars of AL are; that there are none where prompts are too few."""
    known = any(row.get("acceptance_length_low") is not None for row in rows)
    return "Bars are 95 % intervals over prompts." if known else "There are too few prompts for intervals."


def _slices_plot(
    slices: list[LengthSlice | None], names: list[str], where: Column, *, name: str, title: str, caption: str
) -> Plot | None:
    """AL by buckets; no plot where everything is in one of them."""
    rows = [
        {where.key: bucket, **_length_row(one)} for bucket, one in zip(names, slices, strict=True) if one is not None
    ]
    if len(rows) < 2:
        return None
    columns = [where, LENGTH, STEPS, PROMPTS]
    return Plot(
        name=name,
        title=title,
        alt=f"Dots with 95 % intervals from {rows[0]['acceptance_length']:.2f} at {rows[0][where.key]} tokens to "
        f"{rows[-1]['acceptance_length']:.2f} at {rows[-1][where.key]}.",
        caption=caption,
        spec=lines(where, with_known_ends(LENGTH, rows), ordinal=True),
        columns=columns,
        rows=with_tips(rows, columns),
    )


def _length_row(one: LengthSlice) -> PlotRow:
    low, high = (one.interval.low, one.interval.high) if one.interval is not None else (None, None)
    return {
        "acceptance_length": one.acceptance_length,
        "acceptance_length_low": low,
        "acceptance_length_high": high,
        "num_drafts": one.num_drafts,
        "prompts": one.prompts,
    }


def _acceptance_row(name: str, prompts: int, acceptance: Acceptance) -> PlotRow:
    interval = acceptance.acceptance_length_bounds
    if acceptance.intervals is not None and acceptance.intervals.acceptance_length is not None:
        interval = acceptance.intervals.acceptance_length
    return {
        "name": name,
        "prompts": prompts,
        "acceptance_length": acceptance.acceptance_length,
        "acceptance_length_low": interval.low if interval else None,
        "acceptance_length_high": interval.high if interval else None,
        "acceptance_rate": acceptance.acceptance_rate,
        "num_drafts": acceptance.num_drafts,
    }


def _counts(acceptance: Acceptance) -> AcceptanceCounts | None:
    if acceptance.num_accepted_tokens is None or acceptance.accepted_per_position is None:
        return None
    return AcceptanceCounts(
        num_drafts=acceptance.num_drafts,
        num_draft_tokens=acceptance.num_draft_tokens,
        num_accepted_tokens=acceptance.num_accepted_tokens,
        accepted_per_position=acceptance.accepted_per_position,
    )


def _bucket_names(starts: tuple[int, ...]) -> list[str]:
    bounds = (0, *starts)
    names = [f"{low} to {high - 1}" for low, high in zip(bounds, starts, strict=False)]
    return [*names, f"{starts[-1]} or more"]
