"""The result of a run as a table for a terminal of 80 columns, or of 120 with more in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from nemo_skills_specdec.measurement.result import Evaluation, Part
    from nemo_skills_specdec.measurement.speed import Goodput, Percentiles, Speed, SteadyState
    from nemo_skills_specdec.records import Acceptance, Finding, Severity
    from nemo_skills_specdec.statistics import Average, Interval

WIDE = 120
"""Columns of a terminal from which on tables show more."""
WIDE_POSITIONS = 6
SHOWN_POSITIONS = 4
"""Conditional rates in the table; more do not fit into 80 columns, and all of them stand below it."""
MOST_ACROSS = 4
"""Percentiles side by side; with more of them they stand below each other, lest the table be wider than a terminal."""
_MARKS: dict[Severity, tuple[str, str]] = {
    "invalid": ("INVALID", "bold red"),
    "warning": ("warning", "yellow"),
    "info": ("info", "dim"),
}
_UNKNOWN = "-"
_SOURCES = {
    "response": "per-request statistics in the responses (exact)",
    "request_file": "SGLang's request-metric files (exact)",
    "counters": "difference of the server's counters (exact)",
    "bounds": "difference of the server's counters (only bounds)",
    "gauge_estimate": "a gauge (only an estimate)",
    None: "none: the server reports no acceptance",
}


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints tables, averages, speed and findings."""
    console.print(render_evaluation(evaluation, wide=console.width >= WIDE))


def render_evaluation(evaluation: Evaluation, *, wide: bool = False) -> RenderableType:
    """Everything a person wants to see of a run, in `WIDE` columns or in 80."""
    overall = evaluation.overall
    return Group(
        category_table(evaluation, wide=wide),
        Text(f"source: {_SOURCES[overall.acceptance.source]}"),
        *_averages_over(evaluation),
        *_positions(overall.acceptance),
        *_speed(overall),
        *latency_table(overall.speed),
        *_goodput(overall.speed.goodput),
        *_steady_state(overall),
        *_other_sources(evaluation),
        *findings_lines(overall.acceptance.findings),
    )


def category_table(evaluation: Evaluation, *, wide: bool = False) -> Table:
    """Per category D, AL with its interval, AR, conditional rates, speed; then the three averages.

    Args:
        wide: with the numbers of prompts and failures, more positions and the slowest answers.
    """
    parts = evaluation.categories
    positions = max((len(p.acceptance.conditional_acceptance_rates or ()) for p in parts.values()), default=0)
    shown = min(positions, WIDE_POSITIONS if wide else SHOWN_POSITIONS)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("category", overflow="ellipsis", no_wrap=True, max_width=20 if wide else 14)
    letter = "r" if reached_rates(evaluation.overall.acceptance) is not None else "c"
    more, slowest = (("prompts", "failed"), ("TTFT p99",)) if wide else ((), ())
    rates = [f"{letter}{i + 1}" for i in range(shown)]
    for name in (*more, "D", "AL", "95% CI", "AR%", *rates, "tok/s", "TTFT", *slowest):
        table.add_column(name, justify="right", no_wrap=True)

    def cells(part: Part) -> list[str]:
        numbers = [str(part.num_prompts), str(part.num_failed)] if wide else []
        return [*numbers, *_cells(part.acceptance, shown, letter), *_speed_cells(part.speed, slowest=wide)]

    for name, part in parts.items():
        table.add_row(Text(name), *cells(part))
    overall, averages = evaluation.overall, evaluation.averages
    table.add_section()
    table.add_row("pooled", *cells(overall), style="bold")
    for name, average in (("request mean", averages.request_mean), ("category macro", averages.category_macro)):
        table.add_row(name, *[""] * len(more), *_average_cells(average), *[""] * (shown + 2 + len(slowest)))
    return table


def findings_lines(findings: Sequence[Finding]) -> list[Text]:
    """One line a finding, the gravest first."""
    order = list(_MARKS)
    lines = []
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity)):
        mark, style = _MARKS[finding.severity]
        lines.append(Text.assemble((mark, style), " ", finding.message))
    return lines


def reached_rates(acceptance: Acceptance) -> tuple[float | None, ...] | None:
    """Conditional rates over the steps that drafted the position, where they differ from the plain ones; else None."""
    reached, plain = acceptance.reached_conditional_acceptance_rates, acceptance.conditional_acceptance_rates
    return reached if reached is not None and reached != plain else None


def _cells(acceptance: Acceptance, shown: int, letter: str) -> list[str]:
    reached = acceptance.reached_conditional_acceptance_rates if letter == "r" else None
    conditional = reached or acceptance.conditional_acceptance_rates or ()
    interval = acceptance.intervals.acceptance_length if acceptance.intervals is not None else None
    return [
        _count(acceptance.num_drafts),
        _number(acceptance.acceptance_length),
        _interval(interval or acceptance.acceptance_length_bounds),
        _percent(acceptance.acceptance_rate),
        *(_rate(conditional[i]) if i < len(conditional) else _UNKNOWN for i in range(shown)),
    ]


def _average_cells(average: Average) -> list[str]:
    return [
        "",
        _number(average.acceptance_length),
        _interval(average.acceptance_length_interval),
        _percent(average.acceptance_rate),
    ]


def _speed_cells(speed: Speed, *, slowest: bool) -> list[str]:
    user, ttft = speed.user_tokens_per_second, speed.ttft_seconds
    cells = [_speed_number(user.p50) if user else _UNKNOWN, _milliseconds(ttft.p50) if ttft else _UNKNOWN]
    return [*cells, _milliseconds(ttft.p99) if ttft else _UNKNOWN] if slowest else cells


def _positions(acceptance: Acceptance) -> list[Text]:
    """Unconditional and conditional rates of every position, pooled, in full."""
    rates, conditional = acceptance.per_position_acceptance_rates, acceptance.conditional_acceptance_rates
    if not rates or conditional is None:
        return []
    return [
        Text("per position, unconditional  p1.. " + " ".join(f"{rate:.3f}" for rate in rates)),
        Text("per position, conditional    c1.. " + " ".join(_rate(c, digits=3) for c in conditional)),
        *_reached(acceptance),
    ]


def _reached(acceptance: Acceptance) -> list[Text]:
    rates = reached_rates(acceptance)
    if rates is None:
        return []
    return [Text("per position, where drafted  r1.. " + " ".join(_rate(r, digits=3) for r in rates))]


def _averages_over(evaluation: Evaluation) -> list[Text]:
    """Over how many of how many each average is."""
    overall, averages = evaluation.overall, evaluation.averages
    told = []
    if overall.acceptance.source in ("response", "request_file"):
        told.append(f"{overall.num_requests - overall.num_failed} of {overall.num_requests} requests (pooled)")
    for name, average in (("request mean", averages.request_mean), ("macro", averages.category_macro)):
        if average.acceptance_length is not None and average.of is not None:
            told.append(f"{average.over} of {average.of} ({name})")
    return [Text(f"over {', '.join(told)}")] if told else []


def _speed(overall: Part) -> list[Text]:
    speed = overall.speed
    failed = f", {overall.num_failed} failed" if overall.num_failed else ""
    lines = [
        f"{overall.num_prompts} prompts, {overall.num_requests} requests{failed}, "
        f"{_count(speed.completion_tokens)} output tokens in {speed.wall_seconds:.1f} s",
        f"all users together: {_throughput(speed)}",
    ]
    if speed.mean_concurrency is not None:
        rate = speed.prompts_started_per_second
        started = f"; {_fine(rate)} prompts/s started" if rate is not None else ""
        lines.append(
            f"in flight: {speed.mean_concurrency:.1f} on average, {_count(speed.peak_concurrency)} at most{started}"
        )
    cache = overall.prompt_cache
    if cache is not None and cache.cached_tokens:
        told = f"{cache.cached_tokens} of {cache.prompt_tokens} ({100 * cache.fraction:.0f} %)"
        lines.append(f"prompt tokens from the prefix cache: {told}")
    if speed.user_tokens_per_second is not None:
        ttft = f", TTFT {_milliseconds(speed.ttft_seconds.p50)}" if speed.ttft_seconds else ""
        lines.append(
            f"median user: {_speed_number(speed.user_tokens_per_second.p50)} tok/s{ttft}  (columns tok/s, TTFT)"
        )
    if overall.acceptance.tokens_per_step is not None:
        lines.append(f"tokens per decode step, undrafted steps included: {overall.acceptance.tokens_per_step:.2f}")
    return [Text(line) for line in lines]


def latency_table(speed: Speed) -> list[Table]:
    """Latencies and the speed of users: mean, standard deviation and percentiles; nothing where none is known."""
    rows: list[tuple[str, Percentiles | None]] = [
        ("TTFT, ms", speed.ttft_seconds),
        ("TPOT, ms", speed.tpot_seconds),
        ("between chunks, ms", speed.inter_chunk_pooled_seconds),
        ("end to end, ms", speed.end_to_end_seconds),
        ("user, tok/s", speed.user_tokens_per_second),
    ]
    known = [(name, figures) for name, figures in rows if figures is not None]
    if not known:
        return []
    names = list(known[0][1].others) or ["50", "90", "99"]
    grid = [["latency", "mean", "sd", *(f"p{name}" for name in names), "n"]]
    for name, figures in known:
        scale = 1.0 if figures is speed.user_tokens_per_second else 1000.0
        values = [figures.mean, figures.standard_deviation, *(percentile(figures, name) for name in names)]
        grid.append([name, *(_latency(value, scale) for value in values), _over(figures.over, figures.of)])
    if len(names) > MOST_ACROSS:
        grid = [list(column) for column in zip(*grid, strict=True)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, name in enumerate(grid[0]):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in grid[1:]:
        table.add_row(*row)
    return [table]


def percentile(figures: Percentiles, name: str) -> float | None:
    """A percentile by its name; None if it was not computed."""
    always = {"50": figures.p50, "90": figures.p90, "95": figures.p95, "99": figures.p99}
    return figures.others.get(name, always.get(name))


def _goodput(goodput: Goodput | None) -> list[Text]:
    if goodput is None:
        return []
    bounds = [
        f"{name} <= {1000 * bound:g} ms"
        for name, bound in (
            ("TTFT", goodput.slo.ttft_seconds),
            ("TPOT", goodput.slo.tpot_seconds),
            ("end to end", goodput.slo.e2e_seconds),
        )
        if bound is not None
    ]
    share = "" if goodput.fraction is None else f" ({100 * goodput.fraction:.1f} % of all)"
    rate = f"{_fine(goodput.requests_per_second)} requests/s, {goodput.requests} requests{share}"
    return [Text(f"goodput: {rate}, with {', '.join(bounds)}")]


def _steady_state(part: Part) -> list[RenderableType]:
    """The same figures without ramp-up and tail."""
    steady: SteadyState | None = part.steady_state
    if steady is None:
        return []
    return [
        Text(
            f"steady state: {steady.concurrency} in flight for {steady.seconds:.1f} of {part.speed.wall_seconds:.1f} "
            f"s, {steady.num_requests} requests within"
        ),
        Text(f"steady state, all users together: {_throughput(steady.speed)}"),
        *latency_table(steady.speed),
        *_goodput(steady.speed.goodput),
    ]


def _throughput(speed: Speed) -> str:
    total = speed.total_tokens_per_second
    prompts = f" ({_speed_number(total)} with the prompts')" if total is not None else ""
    return (
        f"{_speed_number(speed.output_tokens_per_second)} tok/s{prompts}, {_fine(speed.requests_per_second)} requests/s"
    )


def _other_sources(evaluation: Evaluation) -> list[Text]:
    """The same figure from every other source, side by side, so that agreement can be seen."""
    lines = []
    for name, acceptance in evaluation.sources.items():
        if name != evaluation.overall.acceptance.source and acceptance.acceptance_length is not None:
            bounds = acceptance.acceptance_length_bounds
            told = f" within {_interval(bounds)}" if bounds else f" (D {_count(acceptance.num_drafts)})"
            lines.append(Text(f"also from {name}: AL {acceptance.acceptance_length:.3f}{told}"))
    return lines


def _count(value: int | None) -> str:
    return _UNKNOWN if value is None else str(value)


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{100 * value:.1f}"


def _rate(value: float | None, digits: int = 2) -> str:
    """A rate without its leading zero, `.63`."""
    if value is None:
        return _UNKNOWN
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0") else text


def _interval(value: Interval | None) -> str:
    return "" if value is None else f"{value.low:.2f}-{value.high:.2f}"


def _over(over: int | None, of: int | None) -> str:
    if over is None:
        return ""
    return str(over) if of is None or over == of else f"{over} of {of}"


def _latency(value: float | None, scale: float) -> str:
    if value is None:
        return _UNKNOWN
    scaled = value * scale
    return f"{scaled:.0f}" if scaled >= 1000 else f"{scaled:.1f}" if scaled >= 10 else f"{scaled:.2f}"


def _fine(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def _speed_number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 10 else f"{seconds:.1f}s"
