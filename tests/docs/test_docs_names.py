"""The worked example of docs/names.md: every cell from the times of chunks, by the definitions of each tool.

Tests marked `peers` have the tools' released code compute theirs, where a Python that has them is named.
"""

import json
import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.exchange import Exchange
from nemo_skills_specdec.client.timing import to_record
from nemo_skills_specdec.measurement.speed import speed_of

PAGE = Path(__file__).parents[2] / "docs" / "names.md"
# In ms. `texts` are the chunks with text: when, and how many tokens. `stop` holds the token that ends an answer.
A = {"sent": 0, "role": 90, "texts": [(100, 1), (130, 2), (160, 2), (265, 3)], "stop": 290, "usage": 291, "end": 294}
B = {"sent": 50, "role": 145, "texts": [(150, 1), (190, 2)], "stop": None, "usage": 191, "end": 195}
# Of /v1/completions: no chunk without text.
PLAIN = ({**A, "role": None, "stop": None}, {**B, "role": None})
ANSWERS = (A, B)
TTFT, TPOT, E2E = "time to first token", "what the tool calls TPOT", "end to end"
ITL = "what the tool calls inter-token latency"
ITL_DRAFTED = "the same, the server telling an acceptance length"
POOLED, OF_ANSWERS = "gaps between chunks, pooled", "gaps between chunks, mean of each answer's"
TOOLS = ("here", "vLLM", "SGLang", "guidellm", "aiperf")


def printed():
    """The last table of the page: a number for each figure and tool that has it."""
    rows = re.findall(r"^\|(.*)\|$", PAGE.read_text().split("| figure |")[1], re.MULTILINE)[1:]
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {
        (name, tool): float(value)
        for name, *values in cells
        for tool, value in zip(TOOLS, values, strict=True)
        if value
    }


def tokens(answer):
    return sum(count for _, count in answer["texts"]) + (answer["stop"] is not None)


def text_times(answer):
    return [time for time, _ in answer["texts"]]


def choice_times(answer):
    """All chunks that hold a choice."""
    return [time for time in (answer["role"], *text_times(answer), answer["stop"]) if time is not None]


def gaps(times):
    return [late - early for early, late in pairwise(times)]


def mean(values, weights=None):
    return float(np.average(list(values), weights=weights))


def per_token(start, end, answer):
    return (end - start) / (tokens(answer) - 1)


def by_definition(answers=ANSWERS):
    """Every cell but our own, from the definitions that the page states."""
    text, choice = [text_times(a) for a in answers], [choice_times(a) for a in answers]
    to_last_text = [per_token(times[0], times[-1], a) for a, times in zip(answers, text, strict=True)]
    between = [(gap, n) for a in answers for gap, (_, n) in zip(gaps(text_times(a)), a["texts"][1:], strict=True)]
    sent, last_byte = [a["sent"] for a in answers], [a["end"] for a in answers]
    lasting = {
        "vLLM": [c[-1] for c in choice],
        "SGLang": last_byte,
        "guidellm": last_byte,
        "aiperf": [t[-1] for t in text],
    }
    first = {"vLLM": [c[0] for c in choice], **{tool: [t[0] for t in text] for tool in TOOLS[2:]}}
    weights = [tokens(a) for a in answers]
    return {
        **{(TTFT, tool): mean(np.subtract(times, sent)) for tool, times in first.items()},
        (TPOT, "vLLM"): mean(per_token(c[0], c[-1], a) for a, c in zip(answers, choice, strict=True)),
        (TPOT, "SGLang"): mean(per_token(t[0], a["end"], a) for a, t in zip(answers, text, strict=True)),
        (TPOT, "guidellm"): mean(
            ((t[-1] - a["sent"]) / tokens(a) for a, t in zip(answers, text, strict=True)), weights
        ),
        (ITL, "vLLM"): mean(gap for times in choice for gap in gaps(times)),
        (ITL, "SGLang"): mean(gap for gap, _ in between),
        (ITL, "guidellm"): mean(to_last_text, [weight - 1 for weight in weights]),
        (ITL, "aiperf"): mean(to_last_text),
        (ITL_DRAFTED, "SGLang"): mean((gap / n for gap, n in between), [n for _, n in between]),
        (POOLED, "aiperf"): mean(gap for gap, _ in between),
        **{(E2E, tool): mean(np.subtract(times, sent)) for tool, times in lasting.items()},
    }


def stream(answer):
    """The chunks of a chat answer, with the time of each."""

    def chunk(delta, finish=None, **fields):
        return {"object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish}], **fields}

    usage = {"prompt_tokens": 5, "completion_tokens": tokens(answer), "total_tokens": 5 + tokens(answer)}
    chunks = [
        (answer["role"], chunk({"role": "assistant", "content": ""})),
        *((time, chunk({"content": "ab" * count})) for time, count in answer["texts"]),
        (answer["stop"], chunk({}, "stop")),
        (answer["usage"], {"object": "chat.completion.chunk", "choices": [], "usage": usage}),
    ]
    return [(time, said) for time, said in chunks if time is not None]


def our_own(answers=ANSWERS):
    """Our column, by the code that reads a stream."""
    records = []
    for answer in answers:
        times, chunks = zip(*stream(answer), strict=True)
        exchange = Exchange(
            question_id=f"{answer['sent']}",
            category="c",
            turn=0,
            scheduled_at=answer["sent"] / 1e3,
            sent_at=answer["sent"] / 1e3,
            ended_at=answer["end"] / 1e3,
            chunk_times=[time / 1e3 for time in times],
            frames=[json.dumps(chunk).encode() for chunk in chunks],
            streamed=True,
            status=200,
        )
        records.append(to_record(exchange, read_answer(exchange)))
    speed = speed_of(records, wall_seconds=0.27)
    figures = {
        TTFT: speed.ttft_seconds,
        TPOT: speed.tpot_seconds,
        POOLED: speed.inter_chunk_pooled_seconds,
        OF_ANSWERS: speed.inter_chunk_seconds,
        E2E: speed.end_to_end_seconds,
    }
    return {(name, "here"): 1e3 * found.mean for name, found in figures.items()}


def test_every_cell_of_the_page_follows_from_the_times_of_chunks():
    assert {**our_own(), **by_definition()} == pytest.approx(printed(), abs=5e-5)


@pytest.mark.parametrize(
    ("ours", "tool", "theirs"),
    [
        (TTFT, "vLLM", TTFT),
        (TTFT, "SGLang", TTFT),
        (TTFT, "guidellm", TTFT),
        (TTFT, "aiperf", TTFT),
        (TPOT, "vLLM", TPOT),
        (TPOT, "aiperf", ITL),
        (POOLED, "vLLM", ITL),
        (POOLED, "SGLang", ITL),
        (POOLED, "aiperf", POOLED),
        (E2E, "SGLang", E2E),
        (E2E, "guidellm", E2E),
    ],
)
def test_our_figure_is_the_one_named_beside_it_where_every_chunk_holds_text(ours, tool, theirs):
    assert our_own(PLAIN)[ours, "here"] == pytest.approx(by_definition(PLAIN)[theirs, tool])


VLLM = """
import json, sys
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics
outputs = []
for answer in json.load(sys.stdin):
    times = [time / 1e3 for time, chunk in answer["stream"] if chunk["choices"]]
    start = answer["sent"] / 1e3
    outputs.append(RequestFuncOutput(
        success=True, latency=times[-1] - start, ttft=times[0] - start, output_tokens=answer["tokens"], prompt_len=5,
        itl=[late - early for early, late in zip(times, times[1:])], start_time=start))
found, _ = calculate_metrics([], outputs, 0.27, None, [50], {})
print(json.dumps({"time to first token": found.mean_ttft_ms, "what the tool calls TPOT": found.mean_tpot_ms,
                  "what the tool calls inter-token latency": found.mean_itl_ms, "end to end": found.mean_e2el_ms}))
"""

SGLANG = """
import json, sys
from sglang.benchmark.serving import RequestFuncOutput, calculate_metrics
class Tokens:
    def encode(self, text, add_special_tokens=False):
        return [text[i:i + 2] for i in range(0, len(text), 2)]
outputs = []
for answer in json.load(sys.stdin):
    said = [(time / 1e3, chunk["choices"][0]["delta"]["content"]) for time, chunk in answer["stream"]
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content")]
    start, times = answer["sent"] / 1e3, [time for time, _ in said]
    outputs.append(RequestFuncOutput(
        success=True, latency=answer["end"] / 1e3 - start, ttft=times[0] - start, output_len=answer["tokens"],
        itl=[late - early for early, late in zip(times, times[1:])], text_chunks=[text for _, text in said[1:]],
        generated_text="".join(text for _, text in said), start_time=start))
plain, _ = calculate_metrics(None, outputs, 0.27, Tokens(), "sglang-oai-chat")
drafted, _ = calculate_metrics(None, outputs, 0.27, Tokens(), "sglang-oai-chat", accept_length=2.0)
print(json.dumps({"time to first token": plain.mean_ttft_ms, "what the tool calls TPOT": plain.mean_tpot_ms,
                  "what the tool calls inter-token latency": plain.mean_itl_ms, "end to end": plain.mean_e2e_latency_ms,
                  "the same, the server telling an acceptance length": drafted.mean_itl_ms}))
"""

GUIDELLM = """
import json, sys
from guidellm.backends.openai.request_handlers import ChatCompletionsRequestHandler
from guidellm.schemas import (GenerativeRequestStats, RequestInfo, RequestTimings, StatusDistributionSummary,
                              UsageMetrics)
found = []
for answer in json.load(sys.stdin):
    handler, times = ChatCompletionsRequestHandler(), []
    for time, chunk in answer["stream"]:
        if handler.add_streaming_line("data: " + json.dumps(chunk)):
            times.append(time / 1e3)
    timings = RequestTimings(request_start=answer["sent"] / 1e3, request_end=answer["end"] / 1e3,
                             resolve_end=answer["end"] / 1e3, first_token_iteration=times[0],
                             last_token_iteration=times[-1], token_iterations=len(times))
    found.append(GenerativeRequestStats(
        request_id="r", request_type="/v1/chat/completions", info=RequestInfo(request_id="r", timings=timings),
        input_metrics=UsageMetrics(text_tokens=5), output_metrics=UsageMetrics(text_tokens=answer["tokens"])))
def mean(function):
    return StatusDistributionSummary.from_values_function(function, found, [], []).successful.mean
print(json.dumps({
    "time to first token": mean(lambda r: r.time_to_first_token_ms),
    "what the tool calls TPOT": mean(lambda r: (r.time_per_output_token_ms, r.output_tokens)),
    "what the tool calls inter-token latency": mean(lambda r: (r.inter_token_latency_ms, r.output_tokens - 1.0)),
    "end to end": mean(lambda r: 1e3 * r.request_latency)}))
"""

AIPERF = """
import json, statistics, sys, types
from aiperf.common.models import ParsedResponse, TextResponseData
from aiperf.metrics.metric_dicts import MetricRecordDict
from aiperf.metrics.types.inter_chunk_latency_metric import InterChunkLatencyMetric
from aiperf.metrics.types.inter_token_latency_metric import InterTokenLatencyMetric
from aiperf.metrics.types.request_latency_metric import RequestLatencyMetric
from aiperf.metrics.types.ttft_metric import TTFTMetric
found = {}
for answer in json.load(sys.stdin):
    said = [types.SimpleNamespace(perf_ns=time * 1_000_000) for time, chunk in answer["stream"]
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content")]
    start = answer["sent"] * 1_000_000
    record = types.SimpleNamespace(content_responses=said, start_perf_ns=start, token_counts=None,
                                   request=types.SimpleNamespace(start_perf_ns=start))
    metrics = MetricRecordDict()
    metrics["output_sequence_length"] = answer["tokens"]
    for name, kind in (("time to first token", TTFTMetric), ("end to end", RequestLatencyMetric),
                       ("what the tool calls inter-token latency", InterTokenLatencyMetric),
                       ("gaps between chunks, pooled", InterChunkLatencyMetric)):
        value = metrics[kind.tag] = kind()._parse_record(record, metrics)
        found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
print(json.dumps({name: statistics.mean(values) / 1e6 for name, values in found.items()}))
"""


@pytest.mark.peers
@pytest.mark.parametrize(
    ("tool", "program"), [("vLLM", VLLM), ("SGLang", SGLANG), ("guidellm", GUIDELLM), ("aiperf", AIPERF)]
)
def test_the_tools_own_code_computes_what_the_page_says(tool, program):
    python = os.environ.get(f"SPECDEC_{tool.upper()}_PYTHON")
    if not python:
        pytest.skip(f"SPECDEC_{tool.upper()}_PYTHON names no Python")
    answers = [{"sent": a["sent"], "end": a["end"], "tokens": tokens(a), "stream": stream(a)} for a in ANSWERS]
    done = subprocess.run(
        [python, "-c", program], input=json.dumps(answers), capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().split("\n")[-1])
    expected = {name: value for (name, of), value in printed().items() if of == tool}
    assert told == pytest.approx(expected, abs=5e-5)
