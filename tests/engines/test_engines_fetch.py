"""Plain GETs and snapshots: every failure is one line that names the cause, and no key leaves its host."""

import socket
from pathlib import Path

import pytest
from server_recordings import text_of, tiny_server

from nemo_skills_specdec.engines.fetch import base_url, bearer, fetch, metrics_url, public_url
from nemo_skills_specdec.engines.scrape import take_snapshot
from nemo_skills_specdec.errors import UsageError

METRICS = text_of("vllm/ngram/metrics_after.txt")
KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h:8000", "http://h:8000"),
        ("http://h:8000/", "http://h:8000"),
        ("http://h:8000/v1", "http://h:8000"),
        ("http://h:8000/v1/", "http://h:8000"),
        ("http://h:8000/v1/chat/completions", "http://h:8000"),
        ("http://h:8000/metrics", "http://h:8000"),
        ("https://h/prefix/v1", "https://h/prefix"),
        ("localhost:8000", "http://localhost:8000"),
        (" http://[::1]:8000/v1 ", "http://[::1]:8000"),
    ],
)
def test_the_base_url_is_found_in_whatever_is_given(given: str, expected: str) -> None:
    assert base_url(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h:8000", "http://h:8000/metrics"),
        ("http://h:8000/v1", "http://h:8000/metrics"),
        ("http://h:8000/prefix", "http://h:8000/prefix/metrics"),
        ("http://h:8000/metrics", "http://h:8000/metrics"),
        ("http://h:8000/metrics/", "http://h:8000/metrics/"),
        ("http://h:8000/worker/prometheus", "http://h:8000/worker/prometheus"),
        ("http://h:8000/engine_metrics?x=1", "http://h:8000/engine_metrics?x=1"),
    ],
)
def test_a_url_of_metrics_is_taken_as_it_stands(given: str, expected: str) -> None:
    assert metrics_url(given) == expected


@pytest.mark.parametrize("given", ["", "http://", "ftp://h", "http://h:99999", "http://h:port", "http://[::1", "h:0"])
def test_what_is_no_url_is_wrong_use(given: str) -> None:
    with pytest.raises(UsageError, match="is not a server URL"):
        base_url(given)


def test_credentials_and_queries_are_never_shown() -> None:
    assert public_url(f"http://user:{KEY}@h:8000/metrics?key={KEY}#x") == "http://h:8000/metrics"


def test_a_snapshot_keeps_the_raw_text() -> None:
    with tiny_server({"/metrics": METRICS}) as server:
        snapshot = take_snapshot(server.url)
    assert (snapshot.url, snapshot.status, snapshot.error) == (f"{server.url}/metrics", 200, None)
    assert snapshot.text == METRICS
    assert snapshot.taken_at > 1.7e9


def test_the_key_is_sent_to_the_metrics_too() -> None:
    with tiny_server({"/metrics": METRICS}) as server:
        take_snapshot(server.url, bearer(KEY))
    assert server.headers_of("/metrics")["Authorization"] == f"Bearer {KEY}"


def test_a_netrc_file_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with tiny_server({"/metrics": METRICS}) as server:
        take_snapshot(server.url, bearer(KEY))
    assert server.headers_of("/metrics")["Authorization"] == f"Bearer {KEY}"


def test_a_redirect_on_the_same_host_keeps_the_key() -> None:
    with tiny_server({"/metrics": (307, "", {"Location": "/metrics/"}), "/metrics/": METRICS}) as server:
        snapshot = take_snapshot(server.url, bearer(KEY))
    assert snapshot.error is None
    assert server.headers_of("/metrics/")["Authorization"] == f"Bearer {KEY}"


def test_another_host_never_sees_the_key() -> None:
    with tiny_server({"/metrics": METRICS}) as other:
        elsewhere = f"{other.url}/metrics"
        with tiny_server({"/metrics": (302, "", {"Location": elsewhere})}) as server:
            snapshot = take_snapshot(server.url, {**bearer(KEY), "X-Api-Key": KEY})
    assert snapshot.error is None
    assert KEY not in str(other.asked)
    assert KEY in str(server.asked)


def test_endless_redirects_are_named() -> None:
    with tiny_server({"/metrics": (302, "", {"Location": "/metrics"})}) as server:
        assert "redirects without end" in str(take_snapshot(server.url).error)


def test_a_refused_connection_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    snapshot = take_snapshot(f"http://127.0.0.1:{port}", bearer(KEY))
    assert snapshot.error == (
        f"nothing listens at http://127.0.0.1:{port}/metrics (connection refused): "
        "is the server running, and is this its port?"
    )
    assert snapshot.status is None


def test_an_unknown_host_is_named() -> None:
    snapshot = take_snapshot("http://no-such-host.invalid:8000")
    assert snapshot.error == (
        "the host no-such-host.invalid is unknown; check the spelling of http://no-such-host.invalid:8000/metrics"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_wanted_key_is_named_with_its_variable_and_without_its_value(status: int) -> None:
    with tiny_server({"/metrics": (status, f'{{"error":"key {KEY} is wrong"}}', {})}) as server:
        error = take_snapshot(server.url, bearer(KEY)).error
    assert error is not None
    assert "SPECDEC_API_KEY" in error
    assert KEY not in error


def test_metrics_that_are_not_there_name_the_flags() -> None:
    with tiny_server({}) as server:
        error = str(take_snapshot(server.url).error)
    assert "404" in error
    assert "--enable-metrics" in error
    assert "--metrics-url" in error


def test_llamacpp_without_metrics_names_its_flag() -> None:
    with tiny_server({"/metrics": (501, '{"error":{"code":501}}', {})}) as server:
        assert "llama.cpp with --metrics" in str(take_snapshot(server.url).error)


def test_a_server_error_is_named() -> None:
    with tiny_server({"/metrics": (500, "oops", {})}) as server:
        assert "HTTP status 500" in str(take_snapshot(server.url).error)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<!DOCTYPE html><html></html>", "web page"),
        ('{"ok": true}', "JSON"),
        ("", "empty"),
        ("what is this", "not Prometheus text"),
        ("process_start_time_seconds 5\n", "--disable-log-stats"),
    ],
)
def test_a_body_that_is_no_metrics_of_an_engine_is_named(body: str, told: str) -> None:
    with tiny_server({"/metrics": body}) as server:
        snapshot = take_snapshot(server.url)
    assert told in str(snapshot.error)
    assert snapshot.status == 200


def test_a_slow_server_is_named_after_the_timeout() -> None:
    with tiny_server({"/metrics": METRICS}, delay=0.6) as server:
        assert "did not answer within 0.2 s" in str(take_snapshot(server.url, timeout=0.2).error)


def test_a_server_that_speaks_no_http_is_named() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.settimeout(5)

        import threading

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        error = take_snapshot(url, timeout=3).error
        thread.join()
    assert "closed the connection without an answer" in str(error)


def test_tls_asked_of_a_plain_server_is_named() -> None:
    with tiny_server({"/metrics": METRICS}) as server:
        error = take_snapshot(server.url.replace("http://", "https://"), timeout=3).error
    assert error is not None
    assert "http://" in error


def test_what_is_no_url_becomes_an_error_of_the_snapshot() -> None:
    assert "is not a server URL" in str(take_snapshot("ftp://h").error)


def test_an_answer_that_is_no_json_has_none() -> None:
    with tiny_server({"/a": "text", "/b": (500, "{}", {}), "/c": {"x": 1}}) as server:
        assert [fetch(f"{server.url}/{path}").json() for path in "abc"] == [None, None, {"x": 1}]


def test_a_body_that_breaks_off_is_no_body() -> None:
    with tiny_server({"/metrics": (200, METRICS, {"Content-Length": str(len(METRICS) + 5)})}) as server:
        snapshot = take_snapshot(server.url, timeout=3)
    assert snapshot.text == ""
    assert snapshot.error is not None


def test_a_proxy_of_the_environment_never_sees_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with tiny_server({}) as proxy, tiny_server({"/metrics": METRICS}) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        snapshot = take_snapshot(server.url, bearer(KEY))
    assert (snapshot.error, proxy.asked) == (None, [])


def test_credentials_of_a_url_are_sent_and_never_shown() -> None:
    with tiny_server({"/metrics": METRICS}) as server:
        snapshot = take_snapshot(server.url.replace("http://", "http://me:p%40ss@"))
    assert server.headers_of("/metrics")["Authorization"] == "Basic bWU6cEBzcw=="
    assert snapshot.url == f"{server.url}/metrics"


@pytest.mark.parametrize(
    "url", ["http://h:99999/", "http://[::1", "http://h/\n", "http://\ud800/", "file:///etc/passwd"]
)
def test_no_address_raises(url: str) -> None:
    assert fetch(url, timeout=0.5).error
