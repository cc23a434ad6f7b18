"""Emptying what a server remembers of earlier prompts."""

import contextlib
import http.server
import threading

import msgspec
import pytest

from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch import caches
from nemo_skills_specdec.launch.caches import empty_caches
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.start import Started
from nemo_skills_specdec.studies.config import Benchmark, RunConfig, Sampling, ServerOptions, resolve
from nemo_skills_specdec.studies.one_run import run_once
from nemo_skills_specdec.studies.study import find_runs, run_study


@contextlib.contextmanager
def answering(*statuses):
    """A server that answers one POST after the other with these statuses, the last one for ever; and the paths."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(statuses[min(len(asked), len(statuses)) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Started(engine="running", base_url=f"http://127.0.0.1:{server.server_port}", metrics_urls=()), asked
        finally:
            server.shutdown()


@pytest.mark.parametrize(("engine", "path"), [("vllm", "/reset_prefix_cache"), ("sglang", "/flush_cache")])
def test_each_engine_is_asked_by_its_own_route(engine, path):
    with answering(200) as (started, asked):
        assert empty_caches(started, engine) is None
    assert asked == [path]


def test_a_server_that_is_still_busy_is_asked_again(monkeypatch):
    monkeypatch.setattr(caches, "_PAUSE_SECONDS", 0)
    with answering(400, 400, 200) as (started, asked):
        assert empty_caches(started, "sglang") is None
    assert len(asked) == 3


def test_a_route_that_is_missing_is_told_at_once():
    with answering(404) as (started, asked):
        assert empty_caches(started, "vllm") == "/reset_prefix_cache answers with HTTP status 404"
    assert len(asked) == 1


def test_a_server_that_somebody_else_started_is_left_alone_unless_asked():
    with answering(200) as (started, asked):
        assert empty_caches(started) == "its caches may hold the prompts of an earlier run"
    assert asked == []


def config(url, **more):
    return resolve(
        RunConfig(
            method=Method(name="as_served"),
            server=ServerOptions(engine="running", url=url),
            benchmark=Benchmark(config="small", categories=["coding"], limit_per_category=1),
            sampling=Sampling(max_tokens=4),
            warmup=1,
            fresh_cache=True,
            **more,
        )
    )


def test_a_run_with_a_fresh_cache_empties_it_or_says_how_else(tmp_path, monkeypatch):
    asked = []
    real = caches.fetch
    monkeypatch.setattr(caches, "fetch", lambda url, *rest, **more: asked.append(url) or real(url, *rest, **more))
    with start(EmbeddedOptions()) as server:
        run_once(config(server.base_url), tmp_path / "one")
        assert asked == [f"{server.base_url}/reset_prefix_cache"]
        monkeypatch.setattr(caches, "fetch", lambda *_, **__: real(f"{server.base_url}/missing", {}, 5.0, body=b""))
        with pytest.raises(UsageError, match=r"--fresh-cache.*VLLM_SERVER_DEV_MODE=1, or restart it"):
            run_once(config(server.base_url), tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_repetitions_on_a_running_server_start_with_an_empty_cache(tmp_path, monkeypatch):
    asked = []
    real = caches.fetch
    monkeypatch.setattr(caches, "fetch", lambda url, *rest, **more: asked.append(url) or real(url, *rest, **more))
    with start(EmbeddedOptions()) as server:
        plain = msgspec.structs.replace(config(server.base_url), fresh_cache=False)
        run_study([msgspec.structs.replace(plain, repeat=number) for number in range(3)], tmp_path)
    assert asked == [f"{server.base_url}/reset_prefix_cache"] * 2
    findings = [run.evaluation.overall.acceptance.findings for run in find_runs(tmp_path)]
    assert all(finding.code != "server_not_fresh" for found in findings for finding in found)
