from __future__ import annotations

import email.utils
import time

import pytest
from standin_hub import Fault, StandIn

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.http import ChangedError, Fetcher, FileVersion, OfflineError
from nemo_skills_specdec.prompts.hub.patience import HttpError, Patience


def read(reader: Fetcher, url: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(reader.stream(url, start, stop, name="x"))


def fetcher(hub: StandIn, waits: list[float] | None = None, **options: object) -> Fetcher:
    waits = [] if waits is None else waits
    patience = Patience(sleep=waits.append, attempts=4)
    return Fetcher(endpoint=hub.url, patience=patience, **options)  # type: ignore[arg-type]


DATA = bytes(range(256)) * 4000
URL = "https://huggingface.co/datasets/a/b/resolve/main/x.bin"


@pytest.fixture
def filled(hub: StandIn) -> StandIn:
    hub.add("a/b", "x.bin", DATA)
    hub.tokens["good"] = {"a/b"}
    return hub


def test_the_public_address_is_read_from_the_endpoint_in_use(filled: StandIn) -> None:
    assert read(fetcher(filled), URL) == DATA
    assert filled.paths() == ["/datasets/a/b/resolve/main/x.bin"]


def test_a_range_is_read_alone(filled: StandIn) -> None:
    assert read(fetcher(filled), URL, 300, 310) == DATA[300:310]
    assert filled.bytes_sent == 10


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(filled: StandIn, status: int) -> None:
    filled.faults.append(Fault("x.bin", times=2, status=status))
    waits: list[float] = []
    assert read(fetcher(filled, waits), URL) == DATA
    assert waits == [1.0, 2.0]


def test_retry_after_in_seconds_is_honoured(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", status=429, headers={"Retry-After": "7"}))
    waits: list[float] = []
    read(fetcher(filled, waits), URL)
    assert waits == [7.0]


def test_retry_after_as_a_date_is_honoured(filled: StandIn) -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    filled.faults.append(Fault("x.bin", status=503, headers={"Retry-After": date}))
    waits: list[float] = []
    read(fetcher(filled, waits), URL)
    assert 90 < waits[0] <= 100


def test_every_wait_is_told_with_its_reason_and_length(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", status=429, headers={"Retry-After": "42"}))
    filled.faults.append(Fault("x.bin", cut_after=65_536))
    said: list[str] = []
    patience = Patience(sleep=lambda _: None, attempts=3, say=said.append)
    read(Fetcher(endpoint=filled.url, patience=patience), URL)
    assert [line.partition(") ")[2] for line in said] == [
        "answers HTTP 429; retrying in 42 s (attempt 2 of 3)",
        said[1].partition(") ")[2],
    ]
    assert said[1].endswith("retrying in 1 s (attempt 2 of 3)")


def test_a_server_that_asks_for_a_long_wait_is_not_waited_for(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(HttpError, match="asks to wait 3600 s; run the command again later"):
        read(fetcher(filled), URL)
    assert len(filled.log) == 1


def test_a_web_page_in_place_of_a_file_is_refused(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", page=b"<html>log in</html>"))
    with pytest.raises(HttpError, match="answers with a web page instead of the file"):
        read(fetcher(filled), URL)


@pytest.mark.parametrize("shifted", [1, -1])
def test_a_range_one_byte_off_is_refused(filled: StandIn, shifted: int) -> None:
    filled.faults.append(Fault("x.bin", shifted=shifted))
    with pytest.raises(HttpError, match=r"other bytes than asked for: bytes .* instead of 300-309"):
        read(fetcher(filled), URL, 300, 310)


def test_a_range_of_another_version_is_refused(filled: StandIn) -> None:
    version = FileVersion(len(DATA), '"another"', None)
    with pytest.raises(ChangedError, match="changed at its source"):
        list(fetcher(filled).stream(URL, 300, 310, known=version, name="x"))
    assert filled.log[-1].if_range == '"another"'


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (FileVersion(5), FileVersion(6)),
        (FileVersion(5, '"a"'), FileVersion(5, '"b"')),
        (FileVersion(5, None, "Mon"), FileVersion(5, '"a"', "Tue")),
    ],
)
def test_size_tag_and_date_each_tell_a_version(known: FileVersion, found: FileVersion) -> None:
    assert known.change_to(found) is not None
    assert known.change_to(known) is None


def test_a_gated_file_says_where_to_accept_its_terms(filled: StandIn) -> None:
    filled.repos["a/b"].gated = True
    filled.tokens["stranger"] = set()
    with pytest.raises(
        HttpError, match=r"HTTP 403: a/b is gated; accept its terms at https://huggingface.co/datasets/a/b"
    ):
        read(fetcher(filled, token="stranger"), URL)


def test_the_environment_forbids_the_network_as_the_option_does(
    filled: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="without HF_HUB_OFFLINE"):
        read(fetcher(filled), URL)
    assert filled.log == []


def test_a_server_that_stays_busy_fails_with_advice(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", times=99, status=503))
    with pytest.raises(HttpError, match=r"answers HTTP 503; check the network, then run the command again to resume"):
        read(fetcher(filled), URL)
    assert len(filled.log) == 4


def test_a_body_cut_short_is_continued_from_where_it_broke(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", times=2, cut_after=98_304))
    assert read(fetcher(filled), URL) == DATA
    assert [entry.range for entry in filled.log] == [None, "bytes=98304-", "bytes=196608-"]


def test_a_body_that_never_advances_fails(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", times=99, cut_after=0))
    with pytest.raises(
        HttpError,
        match=r"could not be read \(IncompleteRead.*\); check the network, then run the command again to resume",
    ):
        read(fetcher(filled), URL)


def test_a_file_that_changes_meanwhile_is_refused(filled: StandIn) -> None:
    filled.faults.append(Fault("x.bin", cut_after=32_768))
    stream = fetcher(filled).stream(URL, name="x")
    assert next(stream) == DATA[:32_768]
    filled.add("a/b", "x.bin", DATA[::-1])
    filled.forget()
    with pytest.raises(HttpError, match=r"changed at its source \(etag .* instead of .*\); run the command again"):
        list(stream)


def test_a_host_that_is_not_allowed_is_refused_unasked(filled: StandIn, plain_host: StandIn) -> None:
    with pytest.raises(
        UsageError, match=r"not among the allowed hosts; if you trust it, allow it with --allow-host 127"
    ):
        read(fetcher(filled), plain_host.url + "/x")
    assert plain_host.log == []


@pytest.mark.parametrize("url", ["http://huggingface.co.evil.org/x", "http://github.com/x", "ftp://github.com/x", "x"])
def test_other_schemes_and_lookalike_hosts_are_refused(filled: StandIn, url: str) -> None:
    with pytest.raises(UsageError, match="not among the allowed hosts"):
        fetcher(filled).check_host(url)


def test_an_allowed_host_is_read_without_the_token(filled: StandIn, plain_host: StandIn) -> None:
    plain_host.root.mkdir(parents=True, exist_ok=True)
    (plain_host.root / "x.json").write_bytes(b"{}")
    reader = fetcher(filled, token="good", hosts=[plain_host.host])
    read(reader, URL)
    assert read(reader, plain_host.url + "/x.json") == b"{}"
    assert filled.log[0].token == "good"
    assert plain_host.log[0].token is None


def test_a_redirect_to_another_host_loses_the_token(filled: StandIn, plain_host: StandIn) -> None:
    plain_host.root.mkdir(parents=True, exist_ok=True)
    (plain_host.root / "blob").write_bytes(b"content")
    filled.faults.append(Fault("x.bin", redirect_to=plain_host.url + "/blob"))
    assert read(fetcher(filled, token="good", hosts=[plain_host.host]), URL) == b"content"
    assert plain_host.log[0].token is None


def test_a_redirect_away_from_https_is_not_followed(filled: StandIn, plain_host: StandIn) -> None:
    filled.faults.append(Fault("x.bin", redirect_to=plain_host.url + "/blob"))
    with pytest.raises(HttpError, match="away from HTTPS"):
        read(fetcher(filled), URL)
    assert plain_host.log == []


def test_offline_nothing_is_sent(filled: StandIn) -> None:
    with pytest.raises(OfflineError, match="run once without --offline"):
        read(fetcher(filled, offline=True), URL)
    assert filled.log == []


def test_the_token_is_in_no_message(filled: StandIn) -> None:
    with pytest.raises(HttpError) as caught:
        read(fetcher(filled, token="secret"), URL)
    assert "secret" not in str(caught.value)
    assert "hf auth login" in str(caught.value)


def test_signatures_and_credentials_in_an_address_are_not_shown() -> None:
    reader = Fetcher(endpoint="http://127.0.0.1:9", patience=Patience(sleep=lambda _: None, attempts=1))
    with pytest.raises(UsageError) as caught:
        read(reader, "https://me:secret@example.org/file?signature=abc")
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_an_unreachable_server_is_named() -> None:
    said: list[str] = []
    patience = Patience(sleep=lambda _: None, attempts=2, say=said.append)
    reader = Fetcher(endpoint="http://127.0.0.1:9", patience=patience)
    with pytest.raises(HttpError, match=r"HF_ENDPOINT is http://127.0.0.1:9\) cannot be reached.*check the network"):
        read(reader, URL)
    (line,) = said
    assert line.endswith("retrying in 1 s (attempt 2 of 2)")
