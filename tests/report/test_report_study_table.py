"""The table that `experiment` and `sweep` end in."""

import io

from rich.console import Console

from nemo_skills_specdec.report.study_table import print_study


def row(method, concurrency, *, user=None, total=None, reason=None):
    return {
        "category": "overall",
        "model": "m",
        "engine": "vllm",
        "engine_version": "1.0",
        "method": method,
        "draft_length": 3 if method != "none" else None,
        "repeat": 0,
        "concurrency": concurrency,
        "request_rate": None,
        "output_tokens_per_second": 10.0,
        "ms_per_token_mean": 2.0,
        "acceptance_length": 2.5,
        "acceptance_length_low": 2.25,
        "acceptance_length_high": 2.75,
        "ttft_ms_p50": 31.4,
        "acceptance_rate": 0.5,
        "tokens_per_step": 1.9,
        "speedup_reason": reason,
        "speedup_user": user,
        "speedup_user_low": None,
        "speedup_user_high": None,
        "speedup_total": total,
        "speedup_total_low": None,
        "speedup_total_high": None,
    }


def shown(*rows, not_done=(), repeated=(), noise_unknown=(), width=110):
    out = io.StringIO()
    summary = {"rows": rows, "not_done": not_done, "repeated": repeated, "noise_unknown": noise_unknown}
    print_study(summary, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_runs_without_a_speedup_for_one_reason_share_a_line():
    lines = shown(row("ngram", 1, reason="there is no baseline"), row("ngram", 8, reason="there is no baseline"))
    assert lines[-1] == "no speedup of ngram k3 c1, ngram k3 c8: there is no baseline"


def test_where_only_the_user_speedup_is_unknown_the_reason_says_so():
    lines = shown(row("none", 8), row("ngram", 8, total=1.5, reason="answers were not streamed"))
    assert lines[-1] == "no user speedup of ngram k3 c8: answers were not streamed"
    assert lines[-2].split() == ["ngram", "k3", "c8", "10.0", "2.00", "2.50", "1.90", "50.0", "-", "1.50"]


def test_a_baseline_needs_no_reason():
    assert len(shown(row("none", 8, reason="it is the baseline"))) == 3


def test_a_speedup_over_all_repeats_has_a_line_of_its_own():
    speedup = {"runs": 3, "user": 1.2, "user_interval": [1.05, 1.38], "total": 1.1, "total_interval": None}
    lines = shown(row("none", 8), repeated=[{"method": "ngram-k5", "load": "c8", "speedup": speedup}])
    assert lines[-2].split() == ["ngram-k5", "c8", "3", "1.20", "1.05-1.38", "1.10"]


def test_a_speedup_of_a_single_run_says_that_its_noise_is_unknown():
    assert "noise" not in "".join(shown(row("none", 8)))
    assert shown(row("none", 8), noise_unknown=["ngram"])[-1].startswith("Noise from run to run is unknown")


def test_a_hundred_and_twenty_columns_have_room_for_the_interval_of_al_and_ttft():
    lines = shown(row("none", 8), row("ngram", 8, user=1.25, total=1.5), width=120)
    assert lines[-1].split() == [
        *("ngram", "k3", "c8", "10.0", "2.00", "31", "2.50", "2.25-2.75", "1.90", "50.0", "1.25", "1.50"),
    ]
