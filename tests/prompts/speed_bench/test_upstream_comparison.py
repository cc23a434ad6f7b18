"""Every row equals what the upstream scripts make of the same stand-ins. See upstream.py for what this needs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from invented import SHA, Invented
from standin_hub import StandIn
from upstream import read_mo, run_mo, run_ns

from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.prepared.export import export
from nemo_skills_specdec.prompts.speed_bench.prepare import Options, prepare
from nemo_skills_specdec.prompts.speed_bench.texts import read_texts

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not {"SPECDEC_UPSTREAM_NS", "SPECDEC_UPSTREAM_MO"} <= set(os.environ), reason="the upstream files are not named"
    ),
]

COSER_ORDER = os.environ.get("SPECDEC_UPSTREAM_COSER_ORDER", "row")


@pytest.fixture
def published(hub: StandIn, plain_host: StandIn) -> Invented:
    path = os.environ["SPECDEC_UPSTREAM_NS"]
    texts = read_texts(Path(path).read_text(), path)
    return Invented(
        hub, plain_host, placeholder=texts.placeholder, ts_old=texts.ts_old, on_plain_host=True, answer_length=25
    )


def ours(published: Invented, folder: Path, config: str, flavor: Any, texts: str) -> list[dict[str, Any]]:
    fetcher = Fetcher(endpoint=published.hub.url, token="good", hosts=[published.plain.host])
    options = Options(
        configs=(config,),  # type: ignore[arg-type]
        folder=folder / "ours",
        flavor=flavor,
        coser_order=COSER_ORDER,  # type: ignore[arg-type]
        revision=SHA,
        texts_from=Path(os.environ[texts]),
    )
    (manifest,) = prepare(options, fetcher, Cache(folder / "cache"), lambda line: None)
    assert manifest.wording is not None
    assert manifest.wording.standing == "known"
    return [json.loads(line) for line in (folder / "ours" / f"{config}.jsonl").read_text().split("\n") if line]


def differences(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[str]:
    assert len(a) == len(b)
    return [f"{x['source']} {x['src_id']}" for x, y in zip(a, b, strict=True) if x != y]


@pytest.mark.parametrize("config", ["qualitative", "throughput_1k", "throughput_2k"])
def test_rows_equal_those_of_nemo_skills(published: Invented, tmp_path: Path, config: str) -> None:
    theirs = run_ns(published.hub, tmp_path / "ns", config)
    made = ours(published, tmp_path, config, "nemo-skills", "SPECDEC_UPSTREAM_NS")
    assert differences(made, theirs) == []
    assert [list(row) for row in made] == [list(row) for row in theirs]


@pytest.mark.parametrize("config", ["qualitative", "throughput_1k", "throughput_2k"])
def test_rows_equal_those_of_specdec_bench(published: Invented, tmp_path: Path, config: str) -> None:
    theirs = run_mo(published.hub, tmp_path / "mo", config)
    made = ours(published, tmp_path, config, "specdec_bench", "SPECDEC_UPSTREAM_MO")
    for row in made:
        row["turns"] = [message["content"] for message in row.pop("messages")]
    assert differences(made, theirs) == []


def test_the_wording_of_nemo_skills_follows_from_the_other(published: Invented, tmp_path: Path) -> None:
    one = ours(published, tmp_path / "1", "throughput_1k", "nemo-skills", "SPECDEC_UPSTREAM_NS")
    other = ours(published, tmp_path / "2", "throughput_1k", "nemo-skills", "SPECDEC_UPSTREAM_MO")
    assert one == other


def test_the_flavors_differ_in_exactly_the_sources_whose_wording_differs(published: Invented, tmp_path: Path) -> None:
    one = ours(published, tmp_path / "1", "throughput_1k", "nemo-skills", "SPECDEC_UPSTREAM_NS")
    other = ours(published, tmp_path / "2", "throughput_1k", "specdec_bench", "SPECDEC_UPSTREAM_MO")
    differing = {difference.split(" ")[0].removeprefix(published.plain.url) for difference in differences(one, other)}
    assert differing == {
        "/RUCAIBox/BAMBOO/lines.jsonl",
        "/RUCAIBox/BAMBOO/array.json",
        "/AdaLEval/stackselect/test.json",
        "/AdaLEval/textsort/test.json",
    }
    assert ours(published, tmp_path / "3", "qualitative", "nemo-skills", "SPECDEC_UPSTREAM_NS") == ours(
        published, tmp_path / "4", "qualitative", "specdec_bench", "SPECDEC_UPSTREAM_MO"
    )


def test_a_config_alone_is_what_upstream_makes_of_it_first(published: Invented, tmp_path: Path) -> None:
    """Upstream's generator runs on from config to config: `all` gives other rows than a config alone. Ours does not."""
    alone = run_ns(published.hub, tmp_path / "alone", "throughput_2k")
    fetcher = Fetcher(endpoint=published.hub.url, token="good", hosts=[published.plain.host])
    options = Options(
        configs=("throughput_1k", "throughput_2k"),
        folder=tmp_path / "both",
        revision=SHA,
        texts_from=Path(os.environ["SPECDEC_UPSTREAM_NS"]),
    )
    prepare(options, fetcher, Cache(tmp_path / "cache"), lambda line: None)
    both = [json.loads(line) for line in (tmp_path / "both/throughput_2k.jsonl").read_text().split("\n") if line]
    assert differences(both, alone) == []


def test_the_export_is_read_by_specdec_bench(published: Invented, tmp_path: Path) -> None:
    made = ours(published, tmp_path, "qualitative", "specdec_bench", "SPECDEC_UPSTREAM_MO")
    export(tmp_path / "ours", "specdec_bench", tmp_path / "out")
    read = read_mo(published.hub, tmp_path / "mo", tmp_path / "out/speed/qualitative")
    assert read == [[row["question_id"], row["category"], [m["content"] for m in row["messages"]]] for row in made]
