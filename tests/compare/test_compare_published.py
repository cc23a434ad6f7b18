"""Published results: facts with their source, and how they differ from a run."""

from compared_runs import make_run, record, row

from nemo_skills_specdec.compare.published import nearest, published_results
from nemo_skills_specdec.compare.repeats import group_runs


def run_of(model, *, method="eagle3", benchmark="spec-bench", concurrency=1):
    run = make_run(
        [row(record("a", accepted=12))],
        method=method,
        request={"model": model},
        load={"concurrency": concurrency},
        benchmark=benchmark,
    )
    return group_runs([run])[0]


def test_every_entry_names_its_source_and_says_something():
    results = published_results()
    assert len(results) > 50
    for result in results:
        assert result.source.startswith("https://")
        assert result.acceptance_length is not None or result.speedup is not None
        assert result.acceptance_length is None or 1 <= result.acceptance_length < 10
        assert result.speedup is None or 0.2 < result.speedup < 10


def test_the_nearest_entries_have_the_runs_method_and_target():
    found = nearest(run_of("Qwen/Qwen3-8B", benchmark="gsm8k"))
    assert (found[0].result.method, found[0].result.target, found[0].result.prompts) == ("EAGLE-3", "Qwen3-8B", "GSM8K")
    assert not any(difference.startswith("target") for difference in found[0].differences)
    assert "which average of AL it is, is not told there" in found[0].differences


def test_a_model_of_another_size_is_another_target():
    for near in nearest(run_of("Qwen/Qwen3-0.6B")):
        assert any(difference.startswith("target (Qwen/Qwen3-0.6B here") for difference in near.differences)


def test_what_differs_is_named_with_both_values():
    found = nearest(run_of("lmsys/vicuna-7b-v1.3", method="medusa", concurrency=8))
    spec_bench = next(near for near in found if near.result.prompts == "Spec-Bench")
    assert spec_bench.result.method == "Medusa"
    assert "load (concurrency 8 here, batch size 1)" in spec_bench.differences
    assert "engine (vllm here, Hugging Face transformers there)" in spec_bench.differences


def test_a_draft_model_and_n_grams_are_found_under_the_engines_names():
    assert nearest(run_of("x", method="draft_model"))[0].result.drafter == "SpS"
    assert nearest(run_of("x", method="ngram"))[0].result.drafter == "PLD"
