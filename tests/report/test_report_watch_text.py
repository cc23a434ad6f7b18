"""A watch as people read it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nemo_skills_specdec.report.watch_text import breach_line, live_view, round_lines, summary_view
from nemo_skills_specdec.watch.alarm import Breach
from nemo_skills_specdec.watch.figures import WatchFigures, add_up
from nemo_skills_specdec.watch.replica import WatchEvent, WatchInterval
from nemo_skills_specdec.watch.run import ReplicaResult, WatchResult
from nemo_skills_specdec.watch.session import Round

EXACT = WatchFigures(
    source="counters",
    num_drafts=100_000,
    num_draft_tokens=300_000,
    accepted_low=120_000,
    accepted_high=120_000,
    accepted_per_position=(70_000, 40_000, 10_000),
    requests=12_345,
    prompt_tokens=1000,
    generation_tokens=250_000,
    first_tokens=12_345,
    decode_steps=110_000,
    cached_prompt_tokens=500,
)
BRACKETED = WatchFigures(
    source="bounds", num_drafts=1000, num_draft_tokens=3000, accepted_low=1000, accepted_high=1300, requests=10
)
RESTART = WatchEvent(at=0.0, replica="a", kind="restarted", message="5 s are not counted")


def observed(figures: WatchFigures, replicas: int = 2) -> tuple[Round, WatchResult]:
    names = [f"inference-server-{number}.cluster.example:8000 engine 0" for number in range(replicas)]
    intervals = [
        WatchInterval(at=10.0, seconds=5.0, replica=name, engine="vllm", figures=figures, in_flight=4) for name in names
    ]
    total = add_up([figures] * replicas)
    results = [ReplicaResult(replica=name, engine="vllm", seconds=60.0, figures=figures) for name in names]
    result = WatchResult(started_at=0.0, seconds=3700.0, total=total, replicas=results, events=[RESTART])
    return Round(at=10.0, intervals=intervals, events=[], total=total), result


def lines(shown: object, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(shown)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("figures", [EXACT, BRACKETED])
def test_the_table_fits_into_80_columns_and_cuts_nothing_off(figures: WatchFigures) -> None:
    latest, result = observed(figures)
    shown = lines(live_view(latest, result, [latest, latest], every=5.0))
    assert not any("…" in line for line in shown)
    assert shown[0] == "watching for 1:01:40, every 5 s; in flight: 8"
    assert "inference-server-0.cluster.example:8000 engine 0" in shown
    heads = next(line for line in shown if "tok/step" in line)
    assert len(heads) <= 80


def test_the_figures_of_the_interval_stand_over_those_since_the_start() -> None:
    latest, result = observed(EXACT, replicas=1)
    shown = lines(live_view(latest, result, [], every=5.0))
    rows = [line.split() for line in shown if line.startswith("  ")]
    heads = ["AL", "AR%", "p1", "p2", "p3", "tok/step", "requests", "tok/s", "cache%"]
    assert next(line.split() for line in shown if "tok/step" in line) == heads
    assert rows[-2][3:] == ["2.20", "40.0", "0.70", "0.40", "0.10", "2.16", "12345", "50000", "50"]
    assert rows[-1][2:] == ["2.20", "40.0", "0.70", "0.40", "0.10", "2.16", "12345", "4167", "50"]


def test_bounds_are_called_bounds() -> None:
    latest, result = observed(BRACKETED)
    assert "AL 2.00..2.30 (since start 2.00..2.30)" in str(round_lines(latest, result)[0])
    assert any("SGLang's counters only bracket the value" in line for line in lines(summary_view(result)))


def test_the_summary_tells_what_was_lost() -> None:
    _, result = observed(EXACT)
    shown = lines(summary_view(result), width=100)
    assert shown[0] == "watched for 1:01:40, counted 1:00"
    assert shown[-1].endswith("a restarted: 5 s are not counted")


def test_an_alarm_names_its_time_and_its_steps() -> None:
    told = breach_line(Breach(min_al=2.2, acceptance_length=2.05, seconds=300.0, num_drafts=1234))
    assert told == "acceptance length 2.050 over 5:00 (1234 verification steps) is below 2.2"
