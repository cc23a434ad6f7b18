"""Studies on the embedded engine: resumed, failing, interrupted, summed up."""

import csv
import io
import json
import os
import signal
import threading
import time

import msgspec
import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.studies.config import Benchmark, Load, RunConfig, Sampling, resolve
from nemo_skills_specdec.studies.execute import Reporter
from nemo_skills_specdec.studies.study import find_runs, run_study
from nemo_skills_specdec.studies.summary_files import write_summary

EMBEDDED = ServerOptions(engine="embedded")


def run_config(method="none", *, concurrency=2, repeat=0, server=EMBEDDED, max_tokens=12, prompts=None):
    return resolve(
        RunConfig(
            method=Method(name=method),
            server=server,
            benchmark=Benchmark(prompts=prompts)
            if prompts
            else Benchmark(config="small", categories=["coding", "math"]),
            sampling=Sampling(max_tokens=max_tokens),
            load=Load(concurrency=concurrency),
            warmup=1,
            repeat=repeat,
        )
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Baseline, n-grams and a draft model; n-grams twice, and once under a load that the baseline has not."""
    folder = tmp_path_factory.mktemp("studies") / "three-methods"
    configs = [
        run_config(),
        run_config("ngram"),
        run_config("ngram", repeat=1),
        run_config("draft_model"),
        run_config("draft_model", concurrency=4),
        run_config("eagle"),
    ]
    outcome = run_study(configs, folder)
    write_summary(folder)
    return folder, configs, outcome


def rows_of(folder):
    return list(csv.DictReader(io.StringIO((folder / "summary.csv").read_text())))


def test_every_possible_run_is_made_and_the_others_are_noted(study):
    folder, _, outcome = study
    assert (outcome.done, outcome.failed, outcome.skipped) == (5, 1, 0)
    states = {run.config.label: run.state for run in find_runs(folder)}
    assert states["default_embedded_eagle-k3_mini-small_c2"] == "failed"
    assert list(states.values()).count("finished") == 5


def test_a_run_directory_holds_what_it_takes_to_run_it_again(study):
    folder, configs, _ = study
    run = next(run for run in find_runs(folder) if run.config == configs[1])
    names = {path.name for path in run.directory.iterdir()}
    assert {"config.yaml", "metrics.json", "manifest.json", "output.jsonl", "snapshots"} <= names
    again = run.directory.parent.parent / "again"
    assert run_study([run.config], again).done == 1
    assert find_runs(again)[0].evaluation.overall.acceptance.num_accepted_tokens == (
        run.evaluation.overall.acceptance.num_accepted_tokens
    )


def test_finished_runs_are_skipped_and_failed_ones_held_back(study):
    folder, configs, _ = study
    outcome = run_study(configs, folder)
    assert (outcome.done, outcome.skipped, outcome.held_back, outcome.failed) == (0, 5, 1, 0)


def test_failed_runs_are_made_again_when_asked_for(study):
    folder, configs, _ = study
    outcome = run_study(configs, folder, retry_failed=True)
    assert (outcome.skipped, outcome.held_back, outcome.failed) == (5, 0, 1)


def test_the_baseline_and_the_others_do_not_drain_the_server_between_categories(study):
    folder, _, _ = study
    for run in find_runs(folder):
        if run.state == "finished":
            assert run.manifest.arguments["windows"] == "one"


def test_speed_is_compared_with_the_baseline_overall_and_by_category(study):
    folder, _, _ = study
    found = {
        row["category"]: row for row in rows_of(folder) if row["method"] == "draft_model" and row["concurrency"] == "2"
    }
    assert set(found) == {"overall", "coding", "math"}
    low, value, high = (float(found["overall"][f"speedup_user{end}"]) for end in ("_low", "", "_high"))
    assert 0 < low <= value <= high
    for category in ("coding", "math"):
        assert float(found[category]["speedup_user"]) > 0
        assert found[category]["speedup_user_low"] == "", "four prompts make no interval"
        assert found[category]["speedup_reason"] == ""
    assert found["overall"]["speedup_prompts"] == "8"
    assert found["overall"]["same_text"] == "1.0"


def test_a_run_under_another_load_has_no_speedup_and_says_why(study):
    folder, _, _ = study
    (row,) = [r for r in rows_of(folder) if r["concurrency"] == "4" and r["category"] == "overall"]
    assert row["speedup_user"] == ""
    assert row["speedup_reason"] == "the baseline differs in load.concurrency (2 and 4)"


def test_rates_agree_with_each_other_in_the_summary(study):
    folder, _, _ = study
    for row in rows_of(folder):
        if row["acceptance_length"] and row["per_position_acceptance_rates"]:
            rates = [float(rate) for rate in row["per_position_acceptance_rates"].split()]
            assert float(row["acceptance_length"]) == pytest.approx(1 + sum(rates))
            drafts, drafted, accepted = (int(row[f"num_{n}"]) for n in ("drafts", "draft_tokens", "accepted_tokens"))
            assert float(row["draft_efficiency"]) == pytest.approx(accepted / drafted)
            assert float(row["verification_efficiency"]) == pytest.approx((drafts + accepted) / (drafts + drafted))


def test_the_baseline_has_no_acceptance_rather_than_a_zero(study):
    folder, _, _ = study
    (row,) = [r for r in rows_of(folder) if r["method"] == "none" and r["category"] == "overall"]
    assert (row["acceptance_length"], row["acceptance_rate"], row["draft_efficiency"]) == ("", "", "")
    assert float(row["output_tokens_per_second"]) > 0


def test_repetitions_show_their_spread(study):
    folder, _, _ = study
    summary = json.loads((folder / "summary.json").read_text())
    (repeated,) = summary["repeated"]
    assert repeated["label"] == "default_embedded_ngram-k5_mini-small_c2"
    assert repeated["figures"]["AL"]["runs"] == 2
    assert repeated["figures"]["AL"]["deviation"] == 0.0
    speeds = repeated["figures"]["output tokens/s"]
    assert speeds["low"] <= speeds["mean"] <= speeds["high"]
    assert "| category | ngram-k5 | ngram-k5 #1 |" in (folder / "summary.md").read_text(encoding="utf-8")


def test_the_summary_for_people_names_definitions_and_what_is_missing(study):
    folder, _, _ = study
    text = (folder / "summary.md").read_text()
    assert "| draft_model-k3 | 8 | 0 |" in text
    assert "| default_embedded_eagle-k3_mini-small_c2 | failed | the embedded engine has no eagle-k3" in text
    assert "AL is the acceptance length 1 + A/D" in text
    assert "no speedup, because the baseline differs in load.concurrency (2 and 4)." in text


def test_a_run_whose_prompts_changed_is_made_again(tmp_path):
    prompts = tmp_path / "own.jsonl"
    prompts.write_text('{"id": "1", "prompt": "Count to five."}\n')
    config = run_config(prompts=str(prompts))
    assert run_study([config], tmp_path / "s").done == 1
    assert run_study([config], tmp_path / "s").skipped == 1
    prompts.write_text('{"id": "1", "prompt": "Count to six."}\n')
    assert run_study([config], tmp_path / "s").done == 1


def test_runs_on_other_prompts_are_not_compared(tmp_path):
    prompts = tmp_path / "own.jsonl"
    prompts.write_text('{"id": "1", "prompt": "Count to five."}\n')
    run_study([run_config(prompts=str(prompts))], tmp_path / "s")
    prompts.write_text('{"id": "1", "prompt": "Count to six."}\n')
    run_study([run_config("ngram", prompts=str(prompts))], tmp_path / "s")
    summary = write_summary(tmp_path / "s")
    (row,) = [r for r in summary.rows if r.run.config.method.name == "ngram" and r.category == "overall"]
    assert row.speedup.user is None
    assert "prompts (1 and 1, 0 in common)" in row.speedup.reason


def test_the_same_run_twice_is_refused():
    with pytest.raises(UsageError, match="requested twice"):
        run_study([run_config(), run_config()], None)


def test_an_interrupt_keeps_what_is_done_and_the_rest_is_made_next_time(tmp_path):
    configs = [run_config(), run_config("draft_model", max_tokens=200)]
    measuring = threading.Event()

    def say(line):
        if line.startswith("measuring") and "draft-model" in line:
            measuring.set()

    def interrupt():
        assert measuring.wait(60)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome = run_study(configs, tmp_path / "s", reporter=Reporter(say=say))
    thread.join()
    assert outcome.interrupted
    assert find_runs(tmp_path / "s")[0].state == "finished"
    outcome = run_study(configs, tmp_path / "s")
    assert (outcome.done, outcome.skipped, outcome.interrupted) == (1, 1, False)
    summary = write_summary(tmp_path / "s")
    assert summary.not_done == []


def test_a_server_that_speculates_is_no_baseline(tmp_path):
    from nemo_skills_specdec.embedded.launch import start
    from nemo_skills_specdec.embedded.options import EmbeddedOptions

    with start(EmbeddedOptions(method="ngram")) as server:
        url = server.base_url
        running = ServerOptions(engine="running", url=url)
        outcome = run_study([run_config(server=running)], tmp_path / "s")
        assert outcome.failed == 1
        (run,) = find_runs(tmp_path / "s")
        assert "does; use method as_served" in run.error
        assert run_study([run_config("as_served", server=running)], tmp_path / "t").done == 1


def test_a_server_that_died_makes_the_run_a_failed_one(tmp_path):
    from nemo_skills_specdec.embedded.launch import start
    from nemo_skills_specdec.embedded.options import EmbeddedOptions

    with start(EmbeddedOptions()) as server:
        running = ServerOptions(engine="running", url=server.base_url)

        def kill(line):
            if line.startswith("measuring"):
                threading.Timer(1.5, os.kill, (server.pid, signal.SIGKILL)).start()

        config = msgspec.structs.replace(
            run_config("as_served", server=running, max_tokens=400), load=Load(concurrency=1)
        )
        outcome = run_study([config], tmp_path / "s", reporter=Reporter(say=kill))
    assert outcome.failed == 1
    assert find_runs(tmp_path / "s")[0].state == "failed"


def test_a_launched_server_that_does_not_start_fails_all_its_runs_and_no_other(tmp_path):
    missing = ServerOptions(engine="vllm", python="/no/such/python")
    broken = [
        msgspec.structs.replace(run_config("ngram", concurrency=c), server=missing, model=run_config().model)
        for c in (1, 2)
    ]
    outcome = run_study([*broken, run_config()], tmp_path / "s")
    assert (outcome.failed, outcome.done) == (2, 1)
    errors = [run.error for run in find_runs(tmp_path / "s") if run.state == "failed"]
    assert all("there is no Python at /no/such/python" in error for error in errors)
