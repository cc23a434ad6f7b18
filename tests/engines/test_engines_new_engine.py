"""A new engine is one module and its line in the registry: every other room takes it from there."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import toy_engine
from server_recordings import tiny_server

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import EngineFacts, EngineModule, ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.probe import probe_responses
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.registry import ENGINES, tells_per_request
from nemo_skills_specdec.engines.scrape import take_snapshot

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-engine.md"


def metrics(steps: int, prefix: str = "toy:") -> str:
    values = {"steps": steps, "drafted": 4 * steps, "accepted": 3 * steps, "tokens": 4 * steps}
    return "".join(f"{prefix}{name}_total {value}\n" for name, value in values.items()) + f"{prefix}running 0\n"


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "toy", toy_engine)


def routes(owner: str = "toyland") -> dict[str, Any]:
    return {
        "/v1/models": {"data": [{"id": "bear", "owned_by": owner}]},
        "/about": {"toys": ["bear"], "version": "2.1", "draft": 4},
        "/metrics": metrics(10),
        "/v1/chat/completions": {"toy": {"steps": 2, "accepted": 5}},
    }


@pytest.mark.parametrize("owner", ["toyland", "nobody"])
def test_a_new_engine_is_detected_scraped_read_and_probed(owner: str) -> None:
    with tiny_server(routes(owner)) as server:
        info = detect(server.url)
        before = take_snapshot(server.url)
        server.routes["/metrics"] = metrics(30, "ray_toy_")
        after = take_snapshot(server.url)
        probe_responses(info, server.url, {})
    assert (info.engine, info.version, info.speculation, info.draft_length) == ("toy", "2.1", "on", 4)
    assert [(item.source, item.available) for item in info.offers] == [("response", True), ("counters", True)]
    assert (before.engine, before.error, after.engine) == ("toy", None, "toy")
    reading = read_window([before], [after], info)
    assert reading.counts == AcceptanceCounts(num_drafts=20, num_draft_tokens=80, num_accepted_tokens=60)
    assert [finding.code for finding in reading.findings] == ["series_prefix"]


def test_a_new_engine_is_found_by_its_own_answers_where_all_else_is_hidden() -> None:
    with tiny_server({**routes("nobody"), "/metrics": (404, "", {})}) as server:
        info = detect(server.url)
    assert info.engine == "toy"
    assert "Toy with --toy-metrics" in info.offers[1].how


def test_what_holds_for_every_engine_holds_for_a_new_one() -> None:
    with tiny_server({"/metrics": metrics(10)}) as server:
        before = take_snapshot(server.url)
        server.routes["/metrics"] = metrics(30).replace("accepted_total 90", "accepted_total 111")
        after = take_snapshot(server.url)
        server.routes["/metrics"] = metrics(30)
        fine = take_snapshot(server.url)
    deep, flat = (ServerInfo(engine="toy", base_url="", draft_length=draft) for draft in (4, 2))
    assert [finding.code for finding in read_window([before], [after], deep).findings] == ["identity_broken"]
    assert {finding.code for finding in read_window([before], [fine], flat).findings} == {"impossible_figures"}
    assert tells_per_request("toy", "1.9") is False


def test_the_page_names_everything_that_a_module_offers() -> None:
    told = set(re.findall(r"`(\w+)", PAGE.read_text(encoding="utf-8")))
    members = {name for base in EngineModule.__mro__ for name in vars(base) if name.islower() and name[0] != "_"}
    assert members | {"FACTS"} <= set(vars(toy_engine))
    assert members - told == set()
    assert {field.name for field in msgspec.structs.fields(EngineFacts)} - told == set()
