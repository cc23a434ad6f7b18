from __future__ import annotations

import email.utils
import time

import pytest
from standin_hub import Fault, StandIn

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.http import Fetcher, HttpError, OfflineError


def fetcher(hub: StandIn, waits: list[float] | None = None, **options: object) -> Fetcher:
    waits = [] if waits is None else waits
    return Fetcher(endpoint=hub.url, sleep=waits.append, attempts=4, **options)  # type: ignore[arg-type]


DATA = bytes(range(256)) * 4000
URL = "https://huggingface.co/datasets/a/b/resolve/main/x.bin"


@pytest.fixture
def filled(hub: StandIn) -> StandIn:
    hub.add("a/b", "x.bin", DATA)
    hub.tokens["good"] = {"a/b"}
    return hub


def test_the_public_address_is_read_from_the_endpoint_in_use(filled: StandIn) -> None:
    assert fetcher(filled).read(URL) == DATA
    assert filled.paths() == ["/datasets/a/b/resolve/main/x.bin"]


def test_a_range_is_read_alone(filled: StandIn) -> None:
    assert fetcher(filled).read(URL, 300, 310) == DATA[300:310]
    assert filled.bytes_sent == 10


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(filled: StandIn, status: int) -> None:
    filled.faults.append(Fault("x.bin", times=2, status=status))
    waits: list[float] = []
    assert fetcher(filled, waits).read(URL) == DATA
    assert waits == [1.0, 2.0]


def test_retry_after_in_seconds_is_honoured(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", status=429, headers={"Retry-After": "7"}))
    waits: list[float] = []
    fetcher(filled, waits).read(URL)
    assert waits == [7.0]


def test_retry_after_as_a_date_is_honoured(filled: StandIn) -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    filled.faults.append(Fault("x.bin", status=503, headers={"Retry-After": date}))
    waits: list[float] = []
    fetcher(filled, waits).read(URL)
    assert 90 < waits[0] <= 100


def test_a_server_that_stays_busy_fails_with_advice(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", times=99, status=503))
    with pytest.raises(HttpError, match="answers HTTP 503: try again later"):
        fetcher(filled).read(URL)
    assert len(filled.log) == 4


def test_a_body_cut_short_is_continued_from_where_it_broke(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", times=2, cut_after=98_304))
    assert fetcher(filled).read(URL) == DATA
    assert [entry.range for entry in filled.log] == [None, "bytes=98304-", "bytes=196608-"]


def test_a_body_that_never_advances_fails(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", times=99, cut_after=0))
    with pytest.raises(HttpError, match="run the command again to go on"):
        fetcher(filled).read(URL)


def test_a_file_that_changes_meanwhile_is_refused(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", cut_after=32_768))
    stream = fetcher(filled).stream(URL)
    assert next(stream) == DATA[:32_768]
    filled.add("a/b", "x.bin", DATA[::-1])
    filled.forget()
    with pytest.raises(HttpError, match="changed while it was read"):
        list(stream)


def test_a_host_that_is_not_allowed_is_refused_unasked(filled: StandIn, plain_host: StandIn) -> None:
    with pytest.raises(
        UsageError, match=r"not among the allowed hosts; if you trust it, allow it with --allow-host 127"
    ):
        fetcher(filled).read(plain_host.url + "/x")
    assert plain_host.log == []


@pytest.mark.parametrize("url", ["http://huggingface.co.evil.org/x", "http://github.com/x", "ftp://github.com/x", "x"])
def test_other_schemes_and_lookalike_hosts_are_refused(filled: StandIn, url: str) -> None:
    with pytest.raises(UsageError, match="not among the allowed hosts"):
        fetcher(filled).check_host(url)


def test_an_allowed_host_is_read_without_the_token(filled: StandIn, plain_host: StandIn) -> None:
    plain_host.root.mkdir(parents=True, exist_ok=True)
    (plain_host.root / "x.json").write_bytes(b"{}")
    reader = fetcher(filled, token="good", hosts=[plain_host.host])
    reader.read(URL)
    assert reader.read(plain_host.url + "/x.json") == b"{}"
    assert filled.log[0].token == "good"
    assert plain_host.log[0].token is None


def test_a_redirect_to_another_host_loses_the_token(filled: StandIn, plain_host: StandIn) -> None:
    plain_host.root.mkdir(parents=True, exist_ok=True)
    (plain_host.root / "blob").write_bytes(b"content")
    filled.faults.append(Fault("x.bin", redirect_to=plain_host.url + "/blob"))
    assert fetcher(filled, token="good", hosts=[plain_host.host]).read(URL) == b"content"
    assert plain_host.log[0].token is None


def test_a_redirect_away_from_https_is_not_followed(filled: StandIn, plain_host: StandIn) -> None:
    filled.faults.append(Fault("x.bin", redirect_to=plain_host.url + "/blob"))
    with pytest.raises(HttpError, match="away from HTTPS"):
        fetcher(filled).read(URL)
    assert plain_host.log == []


def test_offline_nothing_is_sent(filled: StandIn) -> None:
    with pytest.raises(OfflineError, match="run once without --offline"):
        fetcher(filled, offline=True).read(URL)
    assert filled.log == []


def test_the_token_is_in_no_message(filled: StandIn) -> None:
    with pytest.raises(HttpError) as caught:
        fetcher(filled, token="secret").read(URL)
    assert "secret" not in str(caught.value)
    assert "hf auth login" in str(caught.value)


def test_signatures_and_credentials_in_an_address_are_not_shown() -> None:
    reader = Fetcher(endpoint="http://127.0.0.1:9", sleep=lambda _: None, attempts=1)
    with pytest.raises(UsageError) as caught:
        reader.read("https://me:secret@example.org/file?signature=abc")
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_an_unreachable_server_is_named() -> None:
    reader = Fetcher(endpoint="http://127.0.0.1:9", sleep=lambda _: None, attempts=2)
    with pytest.raises(HttpError, match=r"cannot be reached.*check the network"):
        reader.read(URL)
