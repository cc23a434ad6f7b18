"""The prompts a benchmark stands for, emulated ones among them."""

import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.studies.config import Benchmark
from nemo_skills_specdec.studies.prompts import emulated_rows, load_prompts, load_rows


def test_prompts_are_taken_in_turn_from_the_categories_and_keep_their_order():
    rows = load_rows(Benchmark(num_prompts=13))
    assert len(rows) == 13
    counts = {}
    for row in rows:
        counts[row.category] = counts.get(row.category, 0) + 1
    assert sorted(counts.values()) == [1] * 9 + [2] * 2
    everything = [row.question_id for row in load_rows(Benchmark())]
    positions = [everything.index(row.question_id) for row in rows]
    assert positions == sorted(positions)


def test_categories_are_filtered_and_limited():
    rows = load_rows(Benchmark(categories=["coding", "math"], limit_per_category=2))
    assert [row.category for row in rows] == ["coding", "coding", "math", "math"]


def test_an_unknown_category_is_named_with_those_there_are():
    with pytest.raises(UsageError, match="no category cooking in mini; there are coding"):
        load_rows(Benchmark(categories=["cooking"]))


def test_a_file_is_a_benchmark(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "hello"}\n')
    assert [row.messages[0].content for row in load_rows(Benchmark(prompts=str(path)))] == ["hello"]
    assert Benchmark(prompts=str(path)).label == "own"


def test_the_column_of_a_file_is_chosen(tmp_path):
    (tmp_path / "own.csv").write_text("ask,prompt\nyes,no\n")
    benchmark = Benchmark(prompts=str(tmp_path / "own.csv"), column="ask")
    assert [row.messages[0].content for row in load_rows(benchmark)] == ["yes"]
    with pytest.raises(UsageError, match="mini is a prompt set; drop it"):
        load_rows(Benchmark(column="ask"))


def test_a_set_that_is_not_prepared_says_how_to_prepare_it(tmp_path):
    with pytest.raises(UsageError, match="ns-specdec prepare gsm8k"):
        load_rows(Benchmark(name="gsm8k", data_dir=str(tmp_path)))


def words(text):
    return len(text.split())


@pytest.mark.parametrize("length", [5, 100, 3000])
def test_an_emulated_prompt_has_the_length_asked_for(length):
    rows = emulated_rows(Benchmark(name="emulated", prompt_tokens=length, num_prompts=4), words)
    assert [words(row.messages[0].content) for row in rows] == [length] * 4


def test_an_emulated_prompt_never_exceeds_its_length_when_tokens_are_finer_than_words():
    def letters(text):
        return len(text)

    (row,) = emulated_rows(Benchmark(name="emulated", prompt_tokens=50, num_prompts=1), letters)
    assert 35 < len(row.messages[0].content) <= 50


def test_emulated_prompts_are_drawn_from_their_seed_and_share_no_prefix():
    def make(seed):
        benchmark = Benchmark(name="emulated", prompt_tokens=50, num_prompts=5, seed=seed)
        return [row.messages[0].content for row in emulated_rows(benchmark, words)]

    assert make(1) == make(1)
    assert make(1) != make(2)
    assert len({text[:2] for text in make(1)}) == 5


def test_emulated_prompts_say_that_they_are_no_real_traffic():
    loaded = load_prompts(Benchmark(name="emulated", prompt_tokens=10, num_prompts=2))
    assert len(loaded.rows) == 2
    assert [finding.code for finding in loaded.findings] == ["emulated_prompts"]


def test_an_emulated_prompt_without_a_length_is_refused():
    with pytest.raises(UsageError, match="prompt_tokens"):
        load_rows(Benchmark(name="emulated"))
