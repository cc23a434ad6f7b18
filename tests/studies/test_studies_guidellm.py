"""guidellm as the load generator: its settings, and what is read of its report."""

import os

import msgspec
import pytest

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.errors import ServerError, UsageError
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.measurement.measure import Plan
from nemo_skills_specdec.records import Message, PromptRow
from nemo_skills_specdec.studies.config import Benchmark, Load, RunConfig, Sampling
from nemo_skills_specdec.studies.guidellm import Report, check, read_report, records_of, settings

INFO = ServerInfo(engine="vllm", base_url="http://x")
ROWS = [
    PromptRow(question_id="1", category="a", messages=[Message("user", "first prompt")]),
    PromptRow(question_id="2", category="b", messages=[Message("user", "second prompt")]),
]
PLAN = Plan(
    base_url="http://127.0.0.1:1",
    metrics_urls=("http://127.0.0.1:1",),
    request=RequestOptions(model="m"),
    load=LoadOptions(),
)


def request(text, *, statistics=None, tokens=11, error=None, body=None):
    content = [{"type": "text", "text": text}]
    arguments = {"method": None, "body": {"messages": [{"role": "user", "content": content}]}} if body is None else body
    return {
        "request_args": msgspec.json.encode(arguments).decode(),
        "response_id": "r",
        "output": "answer",
        "info": {
            "error": error,
            "status": "completed",
            "timings": {
                "targeted_start": 9.5,
                "request_start": 10.0,
                "first_output_token_iteration": 10.5,
                "last_token_iteration": 12.5,
                "token_iterations": 4,
                "request_end": 12.6,
            },
        },
        "response_metrics": {"speculative_decoding": statistics} if statistics else None,
        "prompt_tokens": 5,
        "output_tokens": tokens,
    }


STATISTICS = {
    "acceptance_histogram": [1, 1, 2],
    "num_spec_steps": 4,
    "num_accepted_draft_tokens": 5,
    "num_draft_tokens": 8,
    "num_spec_tokens": 2,
}


def report(successful=(), errored=(), incomplete=()):
    requests = {"successful": successful, "errored": errored, "incomplete": incomplete, "total": None}
    return msgspec.convert({"metadata": {}, "benchmarks": [{"requests": requests, "metrics": {}}]}, Report)


def test_a_request_is_joined_with_its_prompt_and_keeps_times_and_statistics():
    records, findings = records_of(report([request("second prompt", statistics=STATISTICS)]), ROWS, INFO)
    (record,) = records
    assert (record.question_id, record.category) == ("2", "b")
    assert record.ttft_seconds == pytest.approx(0.5)
    assert record.tpot_seconds == pytest.approx(2.0 / 10)
    assert record.queue_seconds == pytest.approx(0.5)
    assert record.end_time - record.start_time == pytest.approx(2.6)
    assert (record.counts.num_drafts, record.counts.num_accepted_tokens) == (4, 5)
    assert record.counts.accepted_per_position == (3, 2)
    assert findings == []


def test_requests_that_failed_or_did_not_finish_are_kept_as_failed():
    records, _ = records_of(
        report([], [request("first prompt", error="500\nserver error")], [request("second prompt")]), ROWS, INFO
    )
    assert [record.error for record in records] == ["failed: 500 server error", "not finished: no reason given"]
    assert all(record.counts is None for record in records)


def test_a_request_that_is_no_prompt_of_ours_is_counted_and_left_out():
    records, findings = records_of(report([request("another"), request("x", body={})]), ROWS, INFO)
    assert records == []
    assert [(finding.code, finding.numbers["requests"]) for finding in findings] == [("guidellm_unknown_requests", 2)]


def test_statistics_that_contradict_themselves_make_no_rate():
    broken = {**STATISTICS, "num_accepted_draft_tokens": 7}
    records, findings = records_of(report([request("first prompt", statistics=broken)]), ROWS, INFO)
    assert records[0].counts is None
    assert [finding.code for finding in findings] == ["identity_broken"]


def test_a_closed_loop_is_a_number_of_streams_and_each_prompt_comes_once(tmp_path):
    config = RunConfig(load=Load(concurrency=4, max_seconds=30.0), sampling=Sampling(max_tokens=64, seed=7))
    spec = settings(config, ROWS, PLAN, tmp_path)["spec"]
    assert spec["profile"] == {"kind": "concurrent", "streams": [4]}
    assert spec["constraints"] == [{"kind": "max_requests", "count": 2}, {"kind": "max_duration", "seconds": 30.0}]
    assert spec["backend"]["max_tokens"] == 64
    assert spec["backend"]["extras"]["body"] == {"temperature": 0.0, "seed": 7, "ignore_eos": False}


@pytest.mark.parametrize("arrival", ["poisson", "constant"])
def test_a_request_rate_is_a_profile_of_its_arrival(tmp_path, arrival):
    load = Load(request_rate=2.0, concurrency=16, arrival=arrival)
    profile = settings(RunConfig(load=load), ROWS, PLAN, tmp_path)["spec"]["profile"]
    assert profile == {"kind": arrival, "rate": [2.0], "max_concurrency": 16}


def test_only_prompts_of_a_single_user_message_are_sent():
    several = PromptRow(question_id="3", category="a", messages=[Message("user", "one"), Message("user", "two")])
    system = PromptRow(question_id="4", category="a", messages=[Message("system", "be"), Message("user", "x")])
    single, (left_out,) = check(RunConfig(), [*ROWS, several, system], {})
    assert single == ROWS
    assert (left_out.code, left_out.numbers) == ("turns_left_out", {"left_out": 2, "prompts": 4})
    with pytest.raises(UsageError, match="single user message"):
        check(RunConfig(), [several], {})


@pytest.mark.parametrize(
    ("config", "headers", "said"),
    [
        (RunConfig(), {"Authorization": "Bearer secret-key"}, "without a key"),
        (RunConfig(sampling=Sampling(stream=False)), {}, "streamed chat only"),
        (RunConfig(sampling=Sampling(api="completions")), {}, "streamed chat only"),
        (RunConfig(by_category=True), {}, "all categories together"),
    ],
)
def test_what_guidellm_cannot_do_is_refused(config, headers, said):
    with pytest.raises(UsageError, match=said) as caught:
        check(config, ROWS, headers)
    assert "secret-key" not in str(caught.value)


def test_a_missing_or_strange_report_is_named(tmp_path):
    with pytest.raises(ServerError, match=r"guidellm\.log"):
        read_report(tmp_path / "report.json")
    (tmp_path / "report.json").write_text('{"benchmarks": 3}')
    with pytest.raises(ServerError, match="cannot be read"):
        read_report(tmp_path / "report.json")


@pytest.mark.skipif("SPECDEC_GUIDELLM_PYTHON" not in os.environ, reason="SPECDEC_GUIDELLM_PYTHON names no environment")
def test_a_real_guidellm_gives_the_acceptance_that_our_own_client_gives(tmp_path):
    from nemo_skills_specdec.launch.options import ServerOptions
    from nemo_skills_specdec.studies.study import find_runs, run_study

    def config(generator):
        return RunConfig(
            method=Method(name="draft_model", draft_length=3),
            server=ServerOptions(engine="embedded"),
            benchmark=Benchmark(categories=["coding", "stem"], limit_per_category=3),
            sampling=Sampling(max_tokens=24),
            load=Load(concurrency=2, generator=generator, guidellm_python=os.environ["SPECDEC_GUIDELLM_PYTHON"]),
        )

    assert run_study([config("client"), config("guidellm")], tmp_path).done == 2
    client, guidellm = find_runs(tmp_path)
    mine = {r.question_id: r for r in rows_of(client.directory) if len(r.requests) == 1}
    theirs = {r.question_id: r for r in rows_of(guidellm.directory)}
    assert set(theirs) <= set(mine)
    assert len(theirs) >= 4
    for key, row in theirs.items():
        assert row.requests[0].generation == mine[key].requests[0].generation
        assert row.requests[0].counts == mine[key].requests[0].counts
    assert (guidellm.directory / "guidellm" / "report.json").exists()
    assert all(f.severity != "invalid" for f in guidellm.evaluation.overall.acceptance.findings)


def rows_of(directory):
    from nemo_skills_specdec.measurement.run import load_run

    return load_run(directory).rows
