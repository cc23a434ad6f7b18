"""The rules and the dashboard as written, without a Prometheus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from nemo_skills_specdec.cli import app
from nemo_skills_specdec.cli.grafana import MeteredEngine
from nemo_skills_specdec.grafana.dashboard import dashboard
from nemo_skills_specdec.grafana.queries import queries_of
from nemo_skills_specdec.grafana.rules import counts, rates, rules_yaml


def rule(name: str, engine: str = "vllm") -> str:
    told = {one.name: one.expr for one in [*counts(queries_of(engine, "", "5m"), "5m"), *rates("5m")]}
    return told[name]


def test_an_acceptance_length_is_a_ratio_of_sums_of_rates() -> None:
    assert rule("specdec_drafts:rate5m") == "rate(vllm:spec_decode_num_drafts_total[5m])"
    assert (
        rule("specdec_acceptance_length_low:rate5m")
        == "1 + specdec_accepted_tokens_low:rate5m / (specdec_drafts:rate5m > 0)"
    )
    assert rule("job_model:specdec_acceptance_length_low:rate5m") == (
        "1 + sum by (job, model_name) (specdec_accepted_tokens_low:rate5m)"
        " / (sum by (job, model_name) (specdec_drafts:rate5m) > 0)"
    )


@pytest.mark.parametrize("engine", get_args(MeteredEngine))
def test_every_engine_on_offer_has_queries_for_its_acceptance(engine: str) -> None:
    told = queries_of(engine, "", "5m")
    assert f"rate({engine}:" in told.drafts
    assert f"rate({engine}:" in told.accepted_low


def test_exact_engines_have_one_line_and_sglang_has_two() -> None:
    pooled = dashboard(["vllm", "sglang"])["panels"][0]
    assert [target["legendFormat"] for target in pooled["targets"]] == [
        "{{job}} {{model_name}}",
        "{{job}} {{model_name}} low",
        "{{job}} {{model_name}} high",
    ]


def test_a_dashboard_of_one_engine_asks_for_no_series_of_another() -> None:
    assert "sglang:" not in json.dumps(dashboard(["vllm"]))


def test_the_panels_do_not_overlap() -> None:
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard(["vllm", "sglang", "llamacpp"])["panels"]]
    assert len(set(places)) == len(places) == 10


def test_the_limit_stands_in_the_alert() -> None:
    assert "job_model:specdec_acceptance_length_high:rate1m < 2.25" in rules_yaml(["vllm"], window="1m", min_al=2.25)


def test_the_command_writes_both_files_and_prints_their_paths(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["grafana", "--output-dir", str(tmp_path), "--engine", "vllm"])
    names = ["specdec-dashboard.json", "specdec-rules.yml"]
    assert (done.exit_code, done.output.split()) == (0, [str(tmp_path / name) for name in names])
    assert json.loads((tmp_path / names[0]).read_text())["title"] == "Speculative decoding"


@pytest.mark.parametrize("window", ["5", "5 m", "0m", "5x"])
def test_a_window_that_prometheus_does_not_know_is_refused(window: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["grafana", "--output-dir", str(tmp_path), "--window", window])
    assert "is not a Prometheus duration" in str(done.exception)
