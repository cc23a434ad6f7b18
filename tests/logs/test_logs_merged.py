"""Logs that are not of one server: told apart, and never summed without a finding."""

import gzip
from pathlib import Path

import pytest
from reliability.faults import fault

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.logs.analysis import LogAnalysis, analyse_log

KS = {
    3: "Mean acceptance length: 2.50, Accepted throughput: 60.00 tokens/s, Drafted throughput: 120.00 tokens/s, "
    "Accepted: 600 tokens, Drafted: 1200 tokens, Per-position acceptance rate: 0.750, 0.500, 0.250, "
    "Avg Draft acceptance rate: 50.0%",
    5: "Mean acceptance length: 2.16, Accepted throughput: 58.00 tokens/s, Drafted throughput: 250.00 tokens/s, "
    "Accepted: 580 tokens, Drafted: 2500 tokens, Per-position acceptance rate: 0.800, 0.200, 0.100, 0.040, 0.020, "
    "Avg Draft acceptance rate: 23.2%",
}


def record(before: str = "", *, length: int = 3, time: str = "11-22 19:16:20", after: str = "") -> str:
    return f"{before}INFO {time} [metrics.py:100] SpecDecoding metrics: {KS[length]}{after}\n"


def analysed(tmp_path: Path, text: str | bytes, **how: str) -> LogAnalysis:
    path = tmp_path / "server.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return analyse_log(path, **how)


def warnings(analysis: LogAnalysis) -> dict[str, str]:
    return {f.code: f.message for f in analysis.acceptance.findings if f.severity == "warning"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[pod/vllm-a/vllm] ", "[pod/vllm-b/vllm] "),
        ("[pod/vllm-a/vllm] (APIServer pid=1) ", "[pod/vllm-b/vllm] (APIServer pid=1) "),
        ("vllm-a  | ", "vllm-b  | "),
        ("Nov 22 19:16:20 node1 vllm[7]: ", "Nov 22 19:16:20 node2 vllm[7]: "),
        ("(ServeReplica:a:b pid=1) ", "(ServeReplica:a:b pid=2) "),
        ("(ServeReplica:a:b pid=1, ip=10.0.0.1) ", "(ServeReplica:a:b pid=1, ip=10.0.0.2) "),
        ("0: ", "1: "),
    ],
)
@pytest.mark.parametrize("length", [3, 5])
def test_two_printers_are_told_apart_and_warned_of(tmp_path, one, other, length):
    analysis = analysed(tmp_path, record(one) + record(other, length=length))
    assert [server.num_draft_tokens for server in analysis.servers.values()] == [1200, 1200 if length == 3 else 2500]
    message = warnings(analysis)["log_several_servers"]
    assert "2 servers or processes" in message
    assert ("read each by itself" in message) == (length == 5)


@fault(4, "several logs in one by `tail`", "each by itself, and a warning", 0, "all intervals")
def test_files_that_tail_shows_together_are_told_apart(tmp_path):
    text = f"==> a.log <==\n{record()}\n==> b.log <==\n{record(time='11-22 19:16:30')}"
    assert list(analysed(tmp_path, text).servers) == ["a.log", "b.log"]


@fault(4, "logs merged without a name of the server", "`processes_merged` or its sign", 0, "all intervals")
@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (record() + record(length=5, time="11-22 19:16:30"), "The draft length changes from 3 to 5 at line 2"),
        (record() + record(time="11-22 19:16:10"), "Times run backwards at line 2"),
        (record() + record(), "2 intervals end in one second at line 1"),
        (
            "with config: model='a', speculative_config=None\nwith config: model='b', speculative_config=None\n"
            + record(),
            "The log names 2 models (a, b)",
        ),
    ],
)
def test_servers_merged_without_a_name_are_noticed(tmp_path, text, sign):
    analysis = analysed(tmp_path, text)
    assert analysis.servers == {}
    assert warnings(analysis)["log_mixed"].startswith(f"{sign}: ")


def test_data_parallel_engines_and_a_new_year_are_no_sign_of_merging(tmp_path):
    engines = "".join(f"INFO 11-22 19:16:20 [loggers.py:1] Engine 00{i}: idle\n{record()}" for i in range(2))
    assert "log_mixed" not in warnings(analysed(tmp_path, engines))
    new_year = record(time="12-31 23:59:55") + record(time="01-01 00:00:05")
    assert "log_mixed" not in warnings(analysed(tmp_path, new_year))


@fault(4, "`[repeated 3x across cluster]`", "that totals are too low", 0, "what was printed")
@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (record("(ServeReplica:a:b pid=1) ", after=" [repeated 3x across cluster] (Ray deduplicates logs)"), 2),
        (record() + "Nov 22 19:16:21 node1 systemd-journald[5]: Suppressed 1042 messages from vllm.service\n", 1042),
    ],
)
def test_lines_that_a_collector_dropped_make_totals_too_low(tmp_path, text, lost):
    analysis = analysed(tmp_path, text)
    assert analysis.acceptance.num_draft_tokens == 1200
    assert warnings(analysis)["log_lines_suppressed"].startswith(f"{lost} lines were dropped")


@fault(2, "a log that PowerShell redirected", "AL", 0, "all intervals")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_log_that_powershell_redirected_is_read(tmp_path, encoding):
    assert analysed(tmp_path, record().encode(encoding)).acceptance.num_draft_tokens == 1200


@fault(2, "a log of an idle server", "several causes, none of them proved", 2, "-")
@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "INFO SpecDecoding metrics: Draft acceptance rate: nan%, Accepted: 0 tokens, Drafted: 0 tokens",
            "set up to speculate, but logged no interval",
        ),
        ("non-default args: {'speculative_config': {'method': 'ngram'}}\n", "set up to speculate"),
        (
            "INFO 11-22 19:16:20 [loggers.py:1] Engine 000: Running: 0 reqs\n",
            "whether the server speculates is unknown",
        ),
        (
            "config: speculative_config=None\nconfig: speculative_config=SpeculativeConfig(method='ngram')\n",
            "set up to",
        ),
        ("INFO vllm serve sglang-tuned-model\n", "whether the server speculates is unknown"),
        (gzip.compress(record().encode(), mtime=0), "not a text file"),
    ],
)
def test_no_interval_is_no_proof_that_speculation_is_off(tmp_path, text, cause):
    with pytest.raises(DataError, match=cause):
        analysed(tmp_path, text)


def test_intervals_that_no_time_places_are_named_when_a_span_is_asked_for(tmp_path):
    text = record() + "SpecDecoding metrics: " + KS[3] + "\n"
    analysis = analysed(tmp_path, text, since="11-22 00:00:00")
    assert analysis.acceptance.num_intervals == 1
    assert warnings(analysis)["log_lines_untimed"].startswith("1 interval was left out")
