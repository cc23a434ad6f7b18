"""The tables of how fast one run went: throughput, latencies, goodput, and the same without ramp-up and tail."""

from __future__ import annotations

from nemo_skills_specdec.measurement.result import Part
from nemo_skills_specdec.measurement.speed import Goodput, Percentiles, Speed
from nemo_skills_specdec.report.page import PageTable
from nemo_skills_specdec.report.plot import Kind, value_text
from nemo_skills_specdec.report.terminal import percentile

_ALWAYS = ("50", "90", "95", "99")


def speed_tables(part: Part) -> list[PageTable]:
    """What is known of the speed of a run."""
    tables = [_throughput_table("Throughput", part.speed), _latency_table("Speed of one answer", part.speed)]
    steady = part.steady_state
    if steady is not None:
        span = f"{steady.seconds:.1f} of {part.speed.wall_seconds:.1f} s, {steady.num_requests:,} requests within"
        title = f"steady state: {steady.concurrency} in flight for {span}"
        tables += [
            _throughput_table(f"Throughput, {title}", steady.speed),
            _latency_table(f"Speed of one answer, {title}", steady.speed),
        ]
    return [table for table in tables if table.rows]


def _throughput_table(title: str, speed: Speed) -> PageTable:
    named: list[tuple[str, float | None, Kind]] = [
        ("output tokens/s", speed.output_tokens_per_second, "speed"),
        ("tokens/s with the prompts'", speed.total_tokens_per_second, "speed"),
        ("requests/s", speed.requests_per_second, "number"),
        ("prompts started/s", speed.prompts_started_per_second, "number"),
        ("requests in flight, mean", speed.mean_concurrency, "number"),
        ("requests in flight, most", speed.peak_concurrency, "count"),
    ]
    rows = [[name, value_text(value, kind)] for name, value, kind in named if value is not None]
    rows += _goodput_rows(speed.goodput) if speed.goodput is not None else []
    return PageTable(title=title, head=["figure", "value"], rows=rows)


def _goodput_rows(goodput: Goodput) -> list[list[str]]:
    bounds = {
        "TTFT": goodput.slo.ttft_seconds,
        "TPOT": goodput.slo.tpot_seconds,
        "end-to-end": goodput.slo.e2e_seconds,
    }
    asked = ", ".join(f"{name} at most {value_text(v, 'seconds')}" for name, v in bounds.items() if v is not None)
    return [
        [f"goodput, requests/s with {asked}", value_text(goodput.requests_per_second, "number")],
        ["share of all requests", value_text(goodput.fraction, "share")],
    ]


def _latency_table(title: str, speed: Speed) -> PageTable:
    named: list[tuple[str, Percentiles | None, Kind]] = [
        ("TTFT", speed.ttft_seconds, "seconds"),
        ("TPOT", speed.tpot_seconds, "seconds"),
        ("time between chunks, mean of an answer", speed.inter_chunk_seconds, "seconds"),
        ("time between chunks, all", speed.inter_chunk_pooled_seconds, "seconds"),
        ("end-to-end", speed.end_to_end_seconds, "seconds"),
        ("waiting to be sent", speed.queue_seconds, "seconds"),
        ("tok/s per user", speed.user_tokens_per_second, "speed"),
    ]
    known = [(name, told, kind) for name, told, kind in named if told is not None]
    asked = {name for _, told, _ in known for name in told.others}
    names = sorted({*_ALWAYS, *asked}, key=float)
    rows = [
        [
            name,
            *(value_text(value, kind) for value in (told.mean, told.standard_deviation)),
            *(value_text(percentile(told, name), kind) for name in names),
            value_text(told.over, "count"),
        ]
        for name, told, kind in known
    ]
    head = ["figure", "mean", "SD", *(f"p{name}" for name in names), "values"]
    note = "A chunk holds several tokens under speculation, so the time between chunks is not that between tokens."
    return PageTable(title=title, head=head, rows=rows, note=note)
