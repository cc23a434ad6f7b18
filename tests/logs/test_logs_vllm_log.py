"""Lines of vLLM logs, whole and torn, of every form."""

import gzip
from pathlib import Path

import pytest

from nemo_skills_specdec.logs.vllm_log import read_vllm_log

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
HEAD = "(APIServer pid=41) INFO 11-22 19:16:20 [metrics.py:120] "
NEW = (
    "SpecDecoding metrics: Mean acceptance length: 3.12, Accepted throughput: 199.37 tokens/s, Drafted throughput: "
    "367.94 tokens/s, Accepted: 997 tokens, Drafted: 1840 tokens, Per-position acceptance rate: 0.698, 0.577, 0.438, "
    "0.409, Avg Draft acceptance rate: 54.2%"
)
MIDDLE = (
    "INFO 06-06 14:20:34 [metrics.py:86] SpecDecoding metrics: Draft acceptance rate: 38.8%, Mean acceptance length: "
    "2.16, Accepted: 150 tokens, Drafted: 387 tokens, Per-position acceptance rate: 0.543, 0.357, 0.264"
)
OLDEST = (
    "INFO 04-02 18:03:41 [metrics.py:53] SpecDecoding metrics: Draft acceptance rate: 38.8%, Accepted: 150 tokens, "
    "Drafted: 387 tokens"
)
IDLE = (
    "INFO 04-02 18:03:51 [metrics.py:53] SpecDecoding metrics: Draft acceptance rate: nan%, Accepted: 0 tokens, "
    "Drafted: 0 tokens"
)


def only(text: str):
    log = read_vllm_log(text)
    assert log.torn_lines == []
    assert len(log.intervals) == 1
    return log.intervals[0]


def test_a_line_of_today_gives_every_figure():
    line = only(HEAD + NEW)
    assert (line.line, line.time, line.server) == (1, "11-22 19:16:20", "(APIServer pid=41)")
    assert (line.num_draft_tokens, line.num_accepted_tokens) == (1840, 997)
    assert (line.length, line.rates) == ("3.12", ("0.698", "0.577", "0.438", "0.409"))


def test_a_line_of_vllm_0_9_gives_every_figure_too():
    line = only(MIDDLE)
    assert (line.num_draft_tokens, line.num_accepted_tokens, line.time) == (387, 150, "06-06 14:20:34")
    assert (line.length, line.rates, line.server) == ("2.16", ("0.543", "0.357", "0.264"), "")


def test_a_line_of_vllm_0_8_gives_the_totals_alone():
    line = only(OLDEST)
    assert (line.num_draft_tokens, line.num_accepted_tokens) == (387, 150)
    assert (line.length, line.rates) == (None, ())


def test_lines_of_idle_intervals_are_neither_intervals_nor_torn():
    log = read_vllm_log(f"{IDLE}\n{IDLE}\n")
    assert (log.intervals, log.torn_lines) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        f"\x1b[0;36m(APIServer pid=41)\x1b[0;0m \x1b[32mINFO\x1b[0m 11-22 19:16:20 [metrics.py:120] {NEW}\x1b[0m",
        HEAD + NEW + "\r",
        "\x1b]0;vllm serve\x07" + HEAD + NEW,
    ],
    ids=["colours", "carriage return", "window title"],
)
def test_what_terminals_add_to_a_line_is_ignored(text):
    line = only(text)
    assert (line.num_draft_tokens, line.time, line.server) == (1840, "11-22 19:16:20", "(APIServer pid=41)")


@pytest.mark.parametrize("width", [60, 80, 97, 120, 200])
def test_a_line_that_a_terminal_wrapped_is_put_together(width):
    text = HEAD + NEW
    wrapped = "\n".join(text[i : i + width] for i in range(0, len(text), width))
    assert (
        only(f"{wrapped}\n(APIServer pid=41) INFO 11-22 19:16:30 [loggers.py:310] Engine 000: idle").rates[3] == "0.409"
    )


def test_two_records_on_one_line_are_two_intervals():
    other = NEW.replace("997", "996").replace("54.2%", "54.1%")
    log = read_vllm_log(f"{HEAD}{NEW}{HEAD.replace('41', '42')}{other}\n")
    assert [(i.server, i.num_accepted_tokens) for i in log.intervals] == [
        ("(APIServer pid=41)", 997),
        ("(APIServer pid=42)", 996),
    ]


@pytest.mark.parametrize("kept", [*range(len(HEAD) + 25, len(HEAD + NEW) - 1, 13), len(HEAD + NEW) - 1])
def test_a_line_cut_off_anywhere_is_torn(kept):
    log = read_vllm_log(f"{(HEAD + NEW)[:kept]}\n{HEAD}{NEW}\n")
    assert log.torn_lines == [1]
    assert [line.line for line in log.intervals] == [2]


@pytest.mark.parametrize(
    "torn",
    [
        NEW.replace("Accepted: 997 tokens", "Accepted: 97 tokens"),
        NEW.replace("Drafted: 1840 tokens", "Drafted: 184 tokens"),
        NEW.replace("0.698, 0.577", "0.698, 0.777"),
        NEW.replace("0.409, Avg", "0.4, Avg"),
        NEW.replace("Mean acceptance length: 3.12, ", ""),
        NEW.replace("Per-position", "Per-(APIServer pid=9) INFO position"),
        MIDDLE.replace("0.264", "0.26"),
    ],
)
def test_a_line_that_contradicts_itself_is_torn(torn):
    log = read_vllm_log(HEAD + torn)
    assert (log.intervals, log.torn_lines) == ([], [1])


def test_processes_and_containers_are_told_apart():
    text = "\n".join([f"vllm-a  | {HEAD}{NEW}", f"vllm-b  | {HEAD}{NEW}", f"vllm-a  | {HEAD.replace('41', '77')}{NEW}"])
    assert [line.server for line in read_vllm_log(text).intervals] == [
        "vllm-a (APIServer pid=41)",
        "vllm-b (APIServer pid=41)",
        "vllm-a (APIServer pid=77)",
    ]


def test_engines_are_counted_from_the_throughput_lines():
    lines = [f"{HEAD}Engine 00{i % 3}: Avg prompt throughput: 1.0 tokens/s\n{HEAD}{NEW}" for i in range(6)]
    log = read_vllm_log("\n".join(lines))
    assert (log.engines, len(log.intervals)) == (3, 6)


@pytest.mark.parametrize(
    ("capture", "absence"),
    [("vllm/dp2_ngram", "api_servers"), ("vllm/ngram_nologstats", "log_stats"), ("vllm/off", "no_speculation")],
)
def test_a_recorded_log_without_intervals_says_why(capture, absence):
    log = read_vllm_log(gzip.decompress((CAPTURES / capture / "server.log.gz").read_bytes()).decode())
    assert (log.intervals, log.torn_lines, log.absence) == ([], [], absence)


@pytest.mark.parametrize(
    ("text", "absence"),
    [
        ("INFO [metrics.py:455] Speculative metrics: Draft acceptance rate: 0.5, System efficiency: 0.4", "old_engine"),
        ("[2026-11-22] Decode batch, #running-req: 1, accept len: 2.10, cuda graph: True", "sglang"),
        ("vllm serve model --disable-log-stats", "log_stats"),
        ("hello\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_any_other_log_without_intervals_says_why(text, absence):
    assert read_vllm_log(text).absence == absence
