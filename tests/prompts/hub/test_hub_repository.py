from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from standin_hub import Fault, Repo, StandIn

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.patience import HttpError, Patience
from nemo_skills_specdec.prompts.hub.repository import (
    GatedError,
    Repository,
    TokenError,
    check_access,
    open_repository,
    whole_file,
)

SHA = "a" * 40


def fetcher(hub: StandIn, **options: object) -> Fetcher:
    return Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None, attempts=2), **options)  # type: ignore[arg-type]


@pytest.fixture
def gated(hub: StandIn) -> StandIn:
    hub.add("cais/hle", "data/test-00000-of-00001.parquet", b"x")
    hub.repos["cais/hle"] = Repo(sha=SHA, gated=True)
    hub.tokens = {"granted": {"cais/hle"}, "stranger": set()}
    return hub


def test_access_that_is_granted_passes(gated: StandIn) -> None:
    check_access(fetcher(gated, token="granted"), "cais/hle")


def test_without_a_token_a_gated_set_says_where_to_accept_and_how_to_log_in(gated: StandIn) -> None:
    with pytest.raises(GatedError, match=r"https://huggingface.co/datasets/cais/hle .* hf auth login"):
        check_access(fetcher(gated), "cais/hle")


def test_an_account_without_access_is_sent_to_the_terms(gated: StandIn) -> None:
    with pytest.raises(GatedError, match="your account has no access yet; accept its terms at https"):
        check_access(fetcher(gated, token="stranger"), "cais/hle")


def test_a_bad_token_is_not_taken_for_a_missing_set(gated: StandIn) -> None:
    with pytest.raises(TokenError, match=r"HF_ENDPOINT\) rejects the access token"):
        check_access(fetcher(gated, token="wrong"), "cais/hle")


def test_an_unknown_revision_is_named(gated: StandIn, tmp_path: Path) -> None:
    gated.add("a/b", "x.parquet", b"x")
    with pytest.raises(UsageError, match="a/b has no revision 'v9'"):
        open_repository(fetcher(gated), Cache(tmp_path), "a/b", "v9")


def test_an_unknown_set_is_named(gated: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the hub at http://.* \(HF_ENDPOINT\) knows no data set a/none"):
        open_repository(fetcher(gated), Cache(tmp_path), "a/none")


def test_what_a_branch_meant_the_first_time_stays(hub: StandIn, tmp_path: Path) -> None:
    hub.add("a/b", "test.parquet", b"x")
    hub.repos["a/b"].sha = SHA
    cache = Cache(tmp_path)
    open_repository(fetcher(hub), cache, "a/b")
    hub.repos["a/b"].sha = "b" * 40
    assert open_repository(fetcher(hub, offline=True), cache, "a/b").sha == SHA


def cached(hub: StandIn, tmp_path: Path, data: bytes = b"{}\n" * 100) -> Repository:
    hub.add("a/b", "test.jsonl", data)
    hub.repos["a/b"].sha = SHA
    return open_repository(fetcher(hub), Cache(tmp_path / "c"), "a/b")


def test_a_whole_file_goes_to_the_hubs_cache_and_is_read_once(
    hub: StandIn, tmp_path: Path, own_hub_cache: Path
) -> None:
    repository = cached(hub, tmp_path)
    stored = whole_file(fetcher(hub), repository, repository.file("test.jsonl"))
    assert Path(stored.path).is_relative_to(own_hub_cache / "datasets--a--b/snapshots" / SHA)
    before = len(hub.log)
    assert whole_file(fetcher(hub, offline=True), repository, repository.file("test.jsonl")) == stored
    assert len(hub.log) == before


def test_a_file_that_others_fetched_serves_offline(hub: StandIn, tmp_path: Path, own_hub_cache: Path) -> None:
    cached(hub, tmp_path)
    snapshot_download("a/b", repo_type="dataset", endpoint=hub.url, cache_dir=own_hub_cache)
    before = len(hub.log)
    reader = fetcher(hub, offline=True)
    repository = open_repository(reader, Cache(tmp_path / "empty"), "a/b")
    assert (repository.sha, [file.path for file in repository.files]) == (SHA, ["test.jsonl"])
    assert whole_file(reader, repository, repository.files[0]).size == 300
    assert len(hub.log) == before


@pytest.mark.parametrize("times", [1, 2])
def test_a_whole_file_is_waited_for(hub: StandIn, tmp_path: Path, times: int) -> None:
    repository = cached(hub, tmp_path)
    hub.faults.append(Fault("test.jsonl", times=times, status=429, headers={"Retry-After": "0"}))
    reader = Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None, attempts=3))
    assert whole_file(reader, repository, repository.file("test.jsonl")).size == 300


@pytest.mark.parametrize("fault", [Fault("test.jsonl", page=b"<html>log in</html>"), Fault("test.jsonl", cut_to=150)])
def test_a_wrong_answer_with_status_200_is_not_kept(
    hub: StandIn, tmp_path: Path, own_hub_cache: Path, fault: Fault
) -> None:
    repository = cached(hub, tmp_path)
    hub.faults.append(fault)
    with pytest.raises(UsageError):
        whole_file(fetcher(hub), repository, repository.file("test.jsonl"))
    hub.faults.clear()
    stored = whole_file(fetcher(hub), repository, repository.file("test.jsonl"))
    assert Path(stored.path).read_bytes() == b"{}\n" * 100


def test_a_damaged_file_in_the_hubs_cache_is_named_and_evicted(hub: StandIn, tmp_path: Path) -> None:
    repository = cached(hub, tmp_path)
    file = repository.file("test.jsonl")
    stored = whole_file(fetcher(hub), repository, file)
    Path(stored.path).write_bytes(b"{]\n" * 100)
    with pytest.raises(
        DataError, match=rf"{stored.path} is not the file test.jsonl of a/b that the hub lists .* removed"
    ):
        whole_file(fetcher(hub), repository, file)
    assert whole_file(fetcher(hub), repository, file) == stored


def test_the_token_stays_on_the_hub_when_files_lie_elsewhere(hub: StandIn, plain_host: StandIn, tmp_path: Path) -> None:
    hub.cdn = plain_host
    hub.tokens["secret"] = {"a/b"}
    hub.add("a/b", "test.parquet", b"x" * 1000)
    hub.repos["a/b"].sha = SHA
    hub.repos["a/b"].gated = True
    reader = fetcher(hub, token="secret", hosts=[plain_host.host])
    repository = open_repository(reader, Cache(tmp_path / "c"), "a/b")
    assert Cache(tmp_path / "c").range(reader, repository.url("test.parquet"), 0, 10, 1000) == b"x" * 10
    assert whole_file(reader, repository, repository.files[0]).size == 1000
    assert {entry.token for entry in hub.log} == {"secret"}
    assert len(plain_host.log) >= 2
    assert {entry.token for entry in plain_host.log} == {None}


def test_a_dead_network_is_named_with_the_endpoint(tmp_path: Path) -> None:
    said: list[str] = []
    patience = Patience(sleep=lambda _: None, attempts=2, say=said.append)
    with pytest.raises(HttpError, match=r"HF_ENDPOINT is http://127.0.0.1:9\) cannot be reached"):
        open_repository(Fetcher(endpoint="http://127.0.0.1:9", patience=patience), Cache(tmp_path), "a/b")
    assert [line.partition("; retrying")[2] for line in said] == [" in 1 s (attempt 2 of 2)"]


def test_an_endpoint_that_is_no_hub_is_said_so(hub: StandIn, tmp_path: Path) -> None:
    hub.faults.append(Fault("/api/", page=b"<html>hello</html>"))
    with pytest.raises(DataError, match="does not answer as a hub does; check HF_ENDPOINT"):
        open_repository(fetcher(hub), Cache(tmp_path), "a/b")


def test_a_name_that_no_data_set_can_have_is_said_so(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'a b' is not the name of a data set on the hub"):
        open_repository(fetcher(hub), Cache(tmp_path), "a b")
