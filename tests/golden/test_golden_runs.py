"""Run directories that the first release wrote are read, and their numbers computed again are the stored ones."""

import tarfile

import msgspec
import pytest
from golden_cases import GOLDEN, differences, normalised

from nemo_skills_specdec.acceptance import total
from nemo_skills_specdec.measurement.result import prompts_of
from nemo_skills_specdec.measurement.run import Run, load_run
from nemo_skills_specdec.statistics import averages, intervals

RUNS = ("vllm", "sglang", "by-category", "two-samples", "interrupted")
WITH_STATISTICS = ("vllm", "sglang", "by-category", "interrupted")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    for name in RUNS:
        with tarfile.open(GOLDEN / "runs" / f"{name}.tar.gz") as packed:
            packed.extractall(folder, filter="data")
    return {name: load_run(folder / name) for name in RUNS}


def test_every_old_run_is_read_whole(runs: dict[str, Run]) -> None:
    told = {name: (len(run.rows), len(run.records), len(run.snapshots)) for name, run in runs.items()}
    assert told == {
        "vllm": (22, 33, 2),
        "sglang": (22, 33, 2),
        "by-category": (11, 17, 12),
        "two-samples": (22, 33, 12),
        "interrupted": (16, 24, 2),
    }
    assert runs["interrupted"].evaluation.status == "interrupted"
    assert all(runs[name].evaluation.status == "complete" for name in RUNS if name != "interrupted")


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_the_counts_of_an_old_run_are_the_sums_over_its_answers(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    stored = run.evaluation.sources["response"]
    whole = total(record.counts for record in run.records if record.counts is not None)
    assert (stored.num_drafts, stored.num_draft_tokens, stored.num_accepted_tokens, stored.accepted_per_position) == (
        whole.num_drafts,
        whole.num_draft_tokens,
        whole.num_accepted_tokens,
        whole.accepted_per_position,
    )


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_the_intervals_of_an_old_run_can_be_computed_again(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    prompts = prompts_of(run.records)
    found, stored = intervals([total(prompt.requests) for prompt in prompts]), run.evaluation.sources["response"]
    assert found.acceptance_length == stored.intervals.acceptance_length
    assert found.acceptance_rate == stored.intervals.acceptance_rate
    again = averages(prompts)
    for kind in ("pooled", "request_mean", "category_macro"):
        assert getattr(again, kind).acceptance_length_interval == (
            getattr(run.evaluation.averages, kind).acceptance_length_interval
        )


@pytest.mark.parametrize("name", RUNS)
def test_the_result_of_an_old_run_computed_again_is_the_stored_one(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    again, stored = msgspec.to_builtins(run.recompute()), msgspec.to_builtins(run.evaluation)
    assert list(differences(normalised(stored), normalised(again))) == []
