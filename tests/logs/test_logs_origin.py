"""Who printed a line, in the forms that log collectors give it."""

import json

import pytest

from nemo_skills_specdec.logs.origin import origin

LINE = "INFO 11-22 19:16:20 [metrics.py:120] "


def printed_by(before: str, head: str | None = None) -> str:
    whole = before + LINE
    return origin(f"{whole}SpecDecoding metrics: ...", head or whole)


@pytest.mark.parametrize(
    ("before", "server"),
    [
        ("", ""),
        ("(APIServer pid=41) ", "(APIServer pid=41)"),
        ("vllm-a  | (APIServer pid=41) ", "vllm-a (APIServer pid=41)"),
        ("[pod/vllm-a/vllm] ", "[pod/vllm-a/vllm]"),
        ("[pod/vllm-a/vllm] 2026-11-22T19:16:20.123456789Z (APIServer pid=1) ", "[pod/vllm-a/vllm] (APIServer pid=1)"),
        ("vllm-7d9f-x2 vllm ", "vllm-7d9f-x2 vllm"),
        ("Nov 22 19:16:20 node7 vllm[123]: ", "node7 vllm[123]:"),
        ("2026-11-22T19:16:20+0000 node7 vllm[123]: (APIServer pid=3) ", "node7 vllm[123]: (APIServer pid=3)"),
        ("[ 1234.567890] node7 vllm[123]: ", "node7 vllm[123]:"),
        ("1732303000.123 node7: ", "node7:"),
        ("3: ", "3:"),
        ("[1,0]<stdout>: ", "[1,0]<stdout>:"),
        ("(ServeReplica:default:LLM pid=7, ip=10.0.0.2) ", "(ServeReplica:default:LLM pid=7, ip=10.0.0.2)"),
        ("(ServeReplica:a:b pid=7) (APIServer pid=5) ", "(ServeReplica:a:b pid=7) (APIServer pid=5)"),
    ],
)
def test_what_a_collector_puts_before_a_line_names_its_printer_without_the_time(before, server):
    assert printed_by(before) == server


@pytest.mark.parametrize(("before", "file"), [("12:", ""), ("   12\t", ""), ("server.log:12:", "server.log: ")])
def test_line_numbers_of_grep_and_cat_name_nobody(before, file):
    assert printed_by(f"{before}(APIServer pid=1) ") == f"{file}(APIServer pid=1)"


def test_a_record_behind_that_of_another_process_is_of_the_last_process_named():
    head = f"web | (APIServer pid=1) {LINE}Engine 000: idle (APIServer pid=2) {LINE}"
    assert origin(f"{head}SpecDecoding metrics: ...", head) == "web (APIServer pid=2)"


@pytest.mark.parametrize(
    ("fields", "server"),
    [
        ({"insertId": "x1", "resource": {"labels": {"pod_name": "vllm-0"}}}, "pod_name=vllm-0 (APIServer pid=1)"),
        ({"__REALTIME_TIMESTAMP": "1732303000123456", "_HOSTNAME": "node7"}, "_HOSTNAME=node7 (APIServer pid=1)"),
        ({"stream": "stdout", "time": "2026-11-22T19:16:20Z"}, "(APIServer pid=1)"),
    ],
)
def test_a_json_line_is_told_apart_by_its_pod_or_host_alone(fields, server):
    head = f'{{"log": "(APIServer pid=1) {LINE}'
    line = f'{head}SpecDecoding metrics: ...", {json.dumps(fields)[1:]}'
    assert origin(line, head) == server
