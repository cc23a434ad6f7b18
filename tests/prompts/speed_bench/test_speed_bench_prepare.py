"""The whole of preparation, on stand-ins over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from invented import SHA, Invented, WordEncoder, parquet, raw
from standin_hub import Fault

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import ChangedError, Fetcher, HttpError, OfflineError
from nemo_skills_specdec.prompts.hub.patience import Patience
from nemo_skills_specdec.prompts.hub.repository import GatedError, TokenError
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest
from nemo_skills_specdec.prompts.speed_bench.prepare import Options, prepare


def changed(options: Options, **values: Any) -> Options:
    return msgspec.structs.replace(options, **values)


def run(options: Options, fetcher: Fetcher, cache: Path, said: list[str] | None = None) -> list[PreparedManifest]:
    # The fixture `own_hub_cache` puts the variable back.
    os.environ["HF_HUB_CACHE"] = str(cache / "hf")
    return prepare(options, fetcher, Cache(cache), (said if said is not None else []).append)


def rows(options: Options, config: str = "qualitative") -> list[dict[str, Any]]:
    text = (options.folder / f"{config}.jsonl").read_text()
    return [json.loads(line) for line in text.split("\n") if line]


def turns(options: Options, name: str, config: str = "qualitative") -> list[str]:
    identity = hashlib.md5(name.encode()).hexdigest()
    (row,) = [row for row in rows(options, config) if row["question_id"] == identity]
    return [message["content"] for message in row["messages"]]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_source_completes_its_rows(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    run(options, fetcher, tmp_path / "cache")
    assert turns(options, "open1") == ["An open {row}.", "And its second turn."]
    assert turns(options, "cnn1") == ["Short:\nAn article with {braces} and {article} and 100% “quotes”.\n\n{x}"]
    assert turns(options, "hle1")[0].startswith("Q5 ")
    assert turns(options, "lcb1")[0].startswith("Content of e ")
    assert turns(options, "lcb1")[0].endswith("+def e():")
    assert turns(options, "lcb2")[0].startswith("Do Content of b ")
    assert turns(options, "cc1")[0].startswith("Solve ")
    assert turns(options, "mt1") == ["u1.0 {x}", "u1.1 {x}", "u1.2 {x}"]
    assert turns(options, "opus1") == ["To English: Satz 3 ü"]
    assert turns(options, "opus2") == ["{'de': 'Satz 0 ü', 'en': 'Sentence 0'}"]
    assert turns(options, "rag1") == ["READ passage 2\n\nanother {x} ANSWER first 2 {context}", "second 2"]
    assert turns(options, "rag2") == ["READ passage 4\n\nanother {x} ANSWER first 4 {context}", "second 4"]
    assert turns(options, "mmlu1") == [
        "ABOUT law/ethics: Q What is 7? O <A> 7\n<B> 8\n<C> {none} E",
        "Q What is 8? O <A> 8\n<B> 9 E",
        "Q What is 9? O <A> 9\n<B> 10\n<C> {none} E",
    ]
    assert turns(options, "role1") == ["Be Ada: She counts; “first”.\nAda, hello?", "why {x}?", " and then?"]
    assert turns(options, "role2") == ["You are Zoë.\nZoë, what now?"]
    assert turns(options, "coser1") == [
        "BE Mia IN The {Book}; YOU tall; NOW A storm.; OTHERS [Ole: old\n\nFinn: young\n\nAnn: quiet]; WHY Mia wants 1"
    ]
    assert turns(options, "coser2") == [
        "BE Bea IN Other; YOU loud; NOW Sun.; OTHERS [Ann: calm\n\nMia: far\n\nOle: near]; WHY NO REASON"
    ]


def test_profiles_in_the_order_of_the_whole_file(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    wanted = changed(options, coser_order="union")
    run(wanted, fetcher, tmp_path / "cache")
    assert turns(wanted, "coser2") == [
        "BE Bea IN Other; YOU loud; NOW Sun.; OTHERS [Ole: near\n\nMia: far\n\nAnn: calm]; WHY NO REASON"
    ]


def test_rows_have_nemo_skills_shape_and_the_order_of_the_data_set(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    run(options, fetcher, tmp_path / "cache")
    keys = ["question_id", "category", "sub_category", "source", "src_id", "difficulty", "multiturn", "messages"]
    assert all(list(row) == keys for row in rows(options))
    assert [row["question_id"] for row in rows(options)] == [r["question_id"] for r in invented.rows["qualitative"]]


def test_throughput_rows_have_the_budget_and_hle_one_more(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    wanted = changed(options, configs=("throughput_1k",))
    run(wanted, fetcher, tmp_path / "cache")
    encoder = WordEncoder()
    counts = {
        row["src_id"]: len(encoder.encode(row["messages"][0]["content"], disallowed_special=()))
        for row in rows(wanted, "throughput_1k")
        if row["src_id"] != "r_0"
    }
    assert {count for key, count in counts.items() if key.startswith("hle")} == {1001}
    assert {count for key, count in counts.items() if not key.startswith("hle")} <= {1000, 999}


def test_a_config_is_the_same_alone_and_among_others(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    alone = changed(options, configs=("throughput_2k",), folder=tmp_path / "alone")
    among = changed(options, configs=("qualitative", "throughput_1k", "throughput_2k"), folder=tmp_path / "among")
    run(alone, fetcher, tmp_path / "cache")
    run(among, fetcher, tmp_path / "cache")
    assert files(alone.folder)["throughput_2k.jsonl"] == files(among.folder)["throughput_2k.jsonl"]
    assert files(alone.folder)["throughput_2k.manifest.json"] == files(among.folder)["throughput_2k.manifest.json"]


def test_the_limit_takes_the_first_rows_of_each_category_as_they_are_built(
    options: Options, fetcher: Fetcher, tmp_path: Path
) -> None:
    whole = changed(options, configs=("throughput_1k",), folder=tmp_path / "whole")
    part = changed(whole, folder=tmp_path / "part", limit_per_category=2)
    run(whole, fetcher, tmp_path / "cache")
    (manifest,) = run(part, fetcher, tmp_path / "cache")
    assert manifest.rows_per_category == {"low_entropy": 2, "high_entropy": 2, "mixed": 2}
    assert manifest.comparable is False
    built = {row["question_id"]: row for row in rows(whole, "throughput_1k")}
    assert all(built[row["question_id"]] == row for row in rows(part, "throughput_1k"))


def test_only_what_is_needed_is_fetched(options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path) -> None:
    run(options, fetcher, tmp_path / "cache")
    asked = invented.hub.paths() + invented.plain.paths()
    assert not [path for path in asked if "train" in path]
    assert not [path for path in asked if path.endswith("test6.jsonl")]
    assert not [path for path in asked if "throughput" in path]
    assert not [path for path in asked if "BAMBOO" in path or "AdaLEval" in path]


def test_a_second_config_reads_its_own_rows_only(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    run(changed(options, configs=("throughput_1k",)), fetcher, tmp_path / "cache")
    before = len(invented.hub.log), len(invented.plain.log)
    run(changed(options, configs=("throughput_2k",)), fetcher, tmp_path / "cache")
    # The hub's client also asks for properties of the file.
    asked = [e.path for e in invented.hub.log[before[0] :] if e.method == "GET" and "/tree/" not in e.path]
    assert asked == [
        "/api/datasets/cais/hle/auth-check",
        f"/datasets/nvidia/SPEED-Bench/resolve/{SHA}/throughput_2k/test-00000-of-00001.parquet",
    ]
    assert len(invented.plain.log) == before[1]


def test_images_are_read_once_and_only_for_throughput(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    rng = random.Random(3)
    exam = [
        {
            "id": f"hle-{n}",
            "question": f"Q{n}",
            "image": base64.b64encode(rng.randbytes(50_000)).decode() if n % 7 == 3 else "",
            "rationale": f"R{n}",
            "category": "Math",
        }
        for n in range(61)
    ]
    data = parquet(exam, row_group_size=20)
    invented.hub.add("cais/hle", "data/test-00000-of-00001.parquet", data)
    invented.hub.forget()
    shares = []
    for config in ("qualitative", "throughput_1k", "throughput_2k"):
        before = sent_of_hle(invented)
        run(changed(options, configs=(config,)), fetcher, tmp_path / "cache")
        shares.append((sent_of_hle(invented) - before) / len(data))
    assert shares[0] < 0.15
    assert 0.9 < shares[1] < 1.2
    assert shares[2] == 0


def sent_of_hle(invented: Invented) -> int:
    return sum(entry.sent for entry in invented.hub.log if "cais/hle/resolve" in entry.path)


def test_offline_a_second_run_gives_the_same_and_sends_nothing(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    run(options, fetcher, tmp_path / "cache")
    first = files(options.folder)
    shutil.rmtree(options.folder)
    before = len(invented.hub.log), len(invented.plain.log)
    offline = Fetcher(endpoint=invented.hub.url, hosts=[invented.plain.host], offline=True)
    run(changed(options, offline=True), offline, tmp_path / "cache")
    assert files(options.folder) == first
    assert (len(invented.hub.log), len(invented.plain.log)) == before


def test_offline_with_an_empty_cache_says_what_to_do(options: Options, invented: Invented, tmp_path: Path) -> None:
    offline = Fetcher(endpoint=invented.hub.url, offline=True)
    with pytest.raises(OfflineError, match="run once without --offline"):
        run(changed(options, offline=True), offline, tmp_path / "cache")


def with_token(invented: Invented, token: str | None) -> Fetcher:
    return Fetcher(
        endpoint=invented.hub.url, token=token, hosts=[invented.plain.host], patience=Patience(sleep=lambda _: None)
    )


@pytest.mark.parametrize(
    ("token", "error"), [(None, GatedError), ("stranger", GatedError), ("not-a-token", TokenError)]
)
def test_without_access_it_stops_before_anything_is_fetched(
    options: Options, invented: Invented, tmp_path: Path, token: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(options, with_token(invented, token), tmp_path / "cache")
    assert invented.hub.paths() == ["/api/datasets/cais/hle/auth-check"]
    assert not options.folder.exists()


def test_gated_rows_are_left_out_loudly_on_request(options: Options, invented: Invented, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = changed(options, skip_gated=True)
    (manifest,) = run(wanted, with_token(invented, None), tmp_path / "cache", said)
    assert manifest.skipped == {"cais/hle": 2}
    assert manifest.num_rows == 16
    assert manifest.comparable is False
    assert [line for line in said if "2 of 18 rows of qualitative are LEFT OUT because cais/hle is gated" in line]
    assert "rows_left_out" in {finding.code for finding in manifest.findings}
    assert not [path for path in invented.hub.paths() if "cais/hle" in path]


def test_the_manifest_says_where_everything_is_from(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    (manifest,) = run(options, fetcher, tmp_path / "cache")
    assert (manifest.num_rows, manifest.num_turns, manifest.num_multiturn_rows) == (18, 27, 6)
    assert manifest.num_placeholders == 0
    assert [(o.source, o.revision, o.file) for o in manifest.dataset] == [
        ("nvidia/SPEED-Bench", SHA, "qualitative/test-00000-of-00001.parquet")
    ]
    used = {origin.source: origin for origin in manifest.sources}
    assert used["abisee/cnn_dailymail"].revision == "c" * 40
    assert used["livecodebench/code_generation_lite"].file in ("test.jsonl", "test5.jsonl")
    assert used["TIGER-Lab/MMLU-Pro"].sha256 is not None
    assert all(origin.sha256 for origin in manifest.sources if "RoleBench" in origin.source)
    assert set(manifest.row_sha256) == {row["question_id"] for row in rows(options)}


def test_the_manifest_holds_neither_token_nor_path(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    run(options, fetcher, tmp_path / "cache")
    text = (options.folder / "qualitative.manifest.json").read_text()
    assert "good" not in text
    assert str(tmp_path) not in text


def test_own_wording_marks_rows_and_manifest(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = changed(options, own_texts=True, texts_from=None, configs=("qualitative", "throughput_1k"))
    qualitative, _ = run(wanted, fetcher, tmp_path / "cache", said)
    assert qualitative.comparable is False
    assert qualitative.wording is not None
    assert qualitative.wording.standing == "own"
    marked = {row["src_id"] for row in rows(wanted) if row["source"].startswith("own-texts:")}
    assert marked == {"chatrag_2", "chatrag_4", "mmlu_pro(7, 10)", "coser_0", "coser_1"}
    assert [line for line in said if line.startswith("WARNING: Prompts are made with our own wording")]
    throughput = rows(wanted, "throughput_1k")
    assert {row["src_id"] for row in throughput if not row["source"].startswith("own-texts:")} == {"r_0"}


def test_the_notice_is_said_once(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    first: list[str] = []
    second: list[str] = []
    run(options, fetcher, tmp_path / "cache", first)
    run(options, fetcher, tmp_path / "cache", second)
    notices = [[line for line in said if "License Agreement" in line] for said in (first, second)]
    assert [len(found) for found in notices] == [1, 0]


def test_the_folder_keeps_its_data_out_of_git(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    run(options, fetcher, tmp_path / "cache")
    assert "*" in (options.folder / ".gitignore").read_text().split("\n")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("test5.jsonl", status=503),
        Fault("3.0.0/test", status=429, headers={"Retry-After": "1"}, times=2),
        Fault("SPEED-Bench/resolve", cut_after=1000),
        Fault("revision", status=500),
    ],
    ids=["503", "429", "truncation", "500"],
)
def test_passing_faults_change_nothing(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path, fault: Fault
) -> None:
    run(changed(options, folder=tmp_path / "calm"), fetcher, tmp_path / "calm-cache")
    invented.hub.faults.append(fault)
    run(options, fetcher, tmp_path / "cache")
    assert fault.times == 0
    assert files(options.folder) == files(tmp_path / "calm")


def test_a_run_that_failed_goes_on_where_it_was(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    invented.hub.faults.append(Fault("test5.jsonl", times=9, status=503))
    with pytest.raises(HttpError):
        run(options, fetcher, tmp_path / "cache")
    assert not (options.folder / "qualitative.jsonl").exists()
    invented.hub.faults.clear()
    before = len(invented.hub.log)
    run(options, fetcher, tmp_path / "cache")
    again = [entry.path for entry in invented.hub.log[before:]]
    assert not [path for path in again if "lite/resolve" in path and not path.endswith("test5.jsonl")]
    assert not [path for path in again if "3.0.0" in path or "SPEED-Bench" in path]


def test_problems_of_a_file_that_was_replaced_are_read_again(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    run(changed(options, folder=tmp_path / "calm"), fetcher, tmp_path / "calm-cache")
    place = invented.hub.root / "datasets/livecodebench/code_generation_lite/test5.jsonl"
    whole = place.read_bytes()
    invented.hub.faults.append(Fault("test5.jsonl", cut_after=3_500))
    invented.hub.faults.append(Fault("test5.jsonl", times=9, status=503))
    with pytest.raises(HttpError, match="HTTP 503"):
        run(options, fetcher, tmp_path / "cache")
    invented.hub.faults.clear()
    place.write_bytes(whole + b"\n")
    invented.hub.forget()
    with pytest.raises(ChangedError, match=r"changed at its source .*; its cache entry .* was removed"):
        run(options, fetcher, tmp_path / "cache")
    place.write_bytes(whole)
    invented.hub.forget()
    run(options, fetcher, tmp_path / "cache")
    assert files(options.folder) == files(tmp_path / "calm")


def published(invented: Invented, *more: dict[str, Any]) -> None:
    rows = [*invented.rows["qualitative"], *more]
    invented.hub.add("nvidia/SPEED-Bench", "qualitative/test-00000-of-00001.parquet", parquet(rows))
    invented.hub.forget()


def test_a_source_of_no_known_kind_is_an_error_and_not_a_placeholder(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    published(invented, raw("new", "qa", "some/new-source", "x_1", invented.masked()))
    with pytest.raises(DataError, match="is of no known kind"):
        run(options, fetcher, tmp_path / "cache")
    assert not (options.folder / "qualitative.jsonl").exists()


def test_a_record_that_is_not_there_is_named(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    published(invented, raw("new", "qa", "cais/hle", "hle-999", invented.masked()))
    with pytest.raises(DataError, match="holds no record 'hle-999'; was the source changed"):
        run(options, fetcher, tmp_path / "cache")


def test_a_placeholder_of_another_form_is_refused(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    published(invented, raw("new", "qa", "cais/hle", "hle-1", ["FULL BENCHMARK DATA OF ANOTHER FORM"]))
    with pytest.raises(DataError, match="placeholder of an unknown form"):
        run(options, fetcher, tmp_path / "cache")


def test_a_host_that_is_not_allowed_is_refused_before_it_is_asked(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path
) -> None:
    published(invented, raw("new", "qa", "https://example.org/mtbench101/mt-bench-101/x", "m_1", invented.masked()))
    before = len(invented.plain.log)
    with pytest.raises(UsageError, match=r"allow it with --allow-host example\.org"):
        run(options, fetcher, tmp_path / "cache")
    assert len(invented.plain.log) == before


def test_an_unknown_revision_is_named(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nvidia/SPEED-Bench has no revision 'v7'"):
        run(changed(options, revision="v7"), fetcher, tmp_path / "cache")


def test_a_full_disk_is_noticed_before_fetching(
    options: Options, fetcher: Fetcher, invented: Invented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"has 0 MB free, about 0 MB are needed; free space, or choose"):
        run(options, fetcher, tmp_path / "cache")
    assert not [path for path in invented.hub.paths() if "/resolve/" in path]
