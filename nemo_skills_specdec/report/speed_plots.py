"""The plots of how fast one run went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_skills_specdec.measurement.speed import Percentiles, Speed
from nemo_skills_specdec.report.answers import Answers
from nemo_skills_specdec.report.plot import Column, Kind, Plot, PlotRow, value_text, with_tips
from nemo_skills_specdec.report.shapes import distribution, lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

MOST_SLICES = 200
"""Into which a run is cut at most to show its load; each holds the mean of what happened in it."""
QUANTILES = 120


def speed_plots(speed: Speed, answers: Answers) -> list[Plot]:
    """What there is to see of latency and load; a plot that the run has no data for is left out."""
    answered = ~answers.failed
    found = [
        distribution_plot("ttft", "Time to first token", "seconds", answers.ttft[answered], speed.ttft_seconds),
        distribution_plot(
            "tpot", "Time per output token after the first", "seconds", answers.tpot[answered], speed.tpot_seconds
        ),
        distribution_plot(
            "user-speed",
            "Tokens per second of a user",
            "speed",
            answers.user_speed[answered],
            speed.user_tokens_per_second,
        ),
        distribution_plot(
            "end-to-end",
            "End-to-end time",
            "seconds",
            (answers.end - answers.start)[answered],
            speed.end_to_end_seconds,
        ),
        distribution_plot(
            "between-chunks", "Time between chunks", "seconds", chunk_gaps(answers), speed.inter_chunk_pooled_seconds
        ),
        in_flight_plot(answers),
        throughput_plot(answers),
    ]
    return [plot for plot in found if plot is not None]


def distribution_plot(
    name: str, title: str, kind: Kind, values: Values, percentiles: Percentiles | None
) -> Plot | None:
    """Which share of the answers stays below each value, with the percentiles of `metrics.json` marked."""
    import numpy as np

    values = values[~np.isnan(values)]
    if percentiles is None or len(values) < 2:
        return None
    value = Column(key="value", title=title.lower(), kind=kind)
    share = Column(key="share", title="share of answers at or below", kind="share")
    which = Column(key="percentile", title="percentile", kind="text")
    shares = np.linspace(0, 1, min(len(values), QUANTILES))
    quantiles = np.quantile(values, shares)
    rows: list[PlotRow] = [{"value": float(q), "share": float(s)} for q, s in zip(quantiles, shares, strict=True)]
    marks = {"p50": (percentiles.p50, 0.5), "p90": (percentiles.p90, 0.9), "p99": (percentiles.p99, 0.99)}
    rows += [{"percentile": name, "value": at, "share": part} for name, (at, part) in marks.items()]
    columns = [which, value, share]
    told = ", ".join(f"{name} {value_text(at, kind)}" for name, (at, _) in marks.items())
    return Plot(
        name=name,
        title=title,
        alt=f"A rising curve of the share of {len(values):,} answers: {told}.",
        caption=told + ".",
        spec=distribution(value, share, which),
        columns=columns,
        rows=with_tips(rows, columns),
    )


def in_flight_plot(answers: Answers) -> Plot | None:
    """How many requests were on their way, over time."""
    import numpy as np

    edges = _edges(answers)
    if edges is None:
        return None
    # The time that all requests together have been under way until each edge; its slope is their number.
    until = np.array([np.clip(edge - answers.start, 0, answers.end - answers.start).sum() for edge in edges])
    mean = np.diff(until) / np.diff(edges)
    return _over_time(
        edges,
        mean,
        Column(key="in_flight", title="requests in flight", kind="speed"),
        name="requests-in-flight",
        title="Requests in flight",
        alt=f"A line over {edges[-1]:.0f} seconds, at most {mean.max():.0f} requests at a time.",
        caption=f"Mean number of requests sent and not yet answered, in slices of {edges[1]:.2g} seconds.",
    )


def throughput_plot(answers: Answers) -> Plot | None:
    """Output tokens a second, over time."""
    import numpy as np

    edges = _edges(answers)
    known = ~np.isnan(answers.completion_tokens) & ~answers.failed
    if edges is None or not known.any():
        return None
    chunked = known & (answers.num_chunks > 0)
    whole = _spread_evenly(answers, known & ~chunked, edges)
    rate = (whole + _by_chunks(answers, chunked, edges)) / np.diff(edges)
    over = "over its chunks" if (chunked == known).all() else "from its first to its last"
    return _over_time(
        edges,
        rate,
        Column(key="tokens_per_second", title="output tokens/s", kind="speed"),
        name="throughput-over-the-run",
        title="Throughput over the run",
        alt=f"A line over {edges[-1]:.0f} seconds, at most {rate.max():.0f} output tokens per second.",
        caption=f"The tokens of each answer, spread evenly {over}.",
    )


def _over_time(edges: Values, values: Values, column: Column, *, name: str, title: str, alt: str, caption: str) -> Plot:
    time = Column(key="time", title="seconds since the start", kind="clock")
    columns = [time, column]
    return Plot(
        name=name,
        title=title,
        alt=alt,
        caption=caption,
        spec=lines(time, column, dots=False, steps=True, zero=True),
        columns=columns,
        rows=with_tips(_course(edges, values, column.key), columns),
        wide=True,
    )


def chunk_gaps(answers: Answers) -> Values:
    """Seconds between two chunks of one answer, of all answers together."""
    import numpy as np

    firsts = np.cumsum(answers.num_chunks) - answers.num_chunks
    gaps: Values = np.delete(answers.chunk_microseconds, firsts[answers.num_chunks > 0]) / 1e6
    return gaps


def _by_chunks(answers: Answers, which: NDArray[np.bool_], edges: Values) -> Values:
    """Tokens in each slice of time, each chunk of an answer holding as many."""
    import numpy as np

    numbers = answers.num_chunks
    so_far = np.cumsum(answers.chunk_microseconds, dtype=np.int64)
    before = np.concatenate([[0], so_far])[np.cumsum(numbers) - numbers]
    times = np.repeat(answers.start - before / 1e6, numbers) + so_far / 1e6
    tokens = np.where(which, answers.completion_tokens / np.maximum(numbers, 1), 0.0)
    found: Values = np.histogram(np.minimum(times, edges[-1]), bins=edges, weights=np.repeat(tokens, numbers))[0]
    return found


def _spread_evenly(answers: Answers, which: NDArray[np.bool_], edges: Values) -> Values:
    """Tokens in each slice of time, those of an answer spread from the first chunk to the last."""
    import numpy as np

    first = (answers.start + np.where(np.isnan(answers.ttft), 0.0, answers.ttft))[which]
    last, tokens = answers.end[which], answers.completion_tokens[which]
    length = np.maximum(last - first, 1e-9)
    written = np.array([(np.clip((edge - first) / length, 0, 1) * tokens).sum() for edge in edges])
    found: Values = np.diff(written)
    return found


def _edges(answers: Answers) -> Values | None:
    """The edges of the slices of time; None where there is no time to cut."""
    import numpy as np

    if len(answers.end) < 2 or answers.end.max() <= 0:
        return None
    number = min(max(len(answers.end) // 2, 20), MOST_SLICES)
    edges: Values = np.linspace(0.0, float(answers.end.max()), number + 1)
    return edges


def _course(edges: Values, values: Values, key: str) -> list[PlotRow]:
    """A row for each slice of time at its beginning, and one more at the end of the last."""
    return [{"time": float(edge), key: float(value)} for edge, value in zip(edges, [*values, values[-1]], strict=True)]
