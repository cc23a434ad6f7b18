"""Every recording of a real server gives the counts and rates stated beside it, by counters and by responses."""

from fractions import Fraction
from typing import Any

import pytest
from server_recordings import acceptance, codes, json_lines_of, json_of, stream_union, text_of, tiny_server, window

from nemo_skills_specdec.acceptance import AcceptanceCounts, total
from nemo_skills_specdec.engines import llamacpp, sglang, vllm
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.engines.sglang.answers import sample_counts
from nemo_skills_specdec.engines.sglang.files import parse_lines
from nemo_skills_specdec.measurement.steps import tokens_cut_off

VLLM = {
    "ngram": (768, 3006, 1594, (533, 442, 321, 298)),
    "draft_model": (1494, 4482, 1367, (605, 426, 336)),
    "draft_model_t08_patched": (1613, 4839, 589, (421, 125, 43)),
    "eagle3": (1023, 3069, 883, (695, 188, 0)),
    "dp2_ngram": (485, 1874, 915, (337, 262, 163, 153)),
}


def counts(drafts: int, tokens: int | None, accepted: int, positions: tuple[int, ...] | None) -> AcceptanceCounts:
    return AcceptanceCounts(
        num_drafts=drafts, num_draft_tokens=tokens, num_accepted_tokens=accepted, accepted_per_position=positions
    )


def vllm_window(case: str) -> Any:
    return window(f"vllm/{case}/metrics_before.txt", f"vllm/{case}/metrics_after.txt")


@pytest.mark.parametrize("case", VLLM)
def test_vllm_counters_give_the_stated_counts(case: str) -> None:
    reading = vllm_window(case)
    assert (reading.engine, reading.source) == ("vllm", "counters")
    assert reading.counts == counts(*VLLM[case])


@pytest.mark.parametrize(
    ("case", "length", "rate", "per_position", "conditional"),
    [
        ("ngram", "2362/768", "1594/3006", "533 442 321 298", "533/768 442/533 321/442 298/321"),
        ("draft_model", "2861/1494", "1367/4482", "605 426 336", "605/1494 426/605 336/426"),
        ("draft_model_t08_patched", "2202/1613", "589/4839", "421 125 43", "421/1613 125/421 43/125"),
        ("eagle3", "1906/1023", "883/3069", "695 188 0", "695/1023 188/695 0/188"),
        ("dp2_ngram", "1400/485", "915/1874", "337 262 163 153", "337/485 262/337 163/262 153/163"),
    ],
)
def test_vllm_counters_give_the_stated_rates(
    case: str, length: str, rate: str, per_position: str, conditional: str
) -> None:
    result = acceptance(vllm_window(case))
    assert result.acceptance_length == float(Fraction(length))
    assert result.acceptance_rate == float(Fraction(rate))
    drafts = VLLM[case][0]
    assert result.per_position_acceptance_rates == tuple(int(item) / drafts for item in per_position.split())
    assert result.conditional_acceptance_rates == tuple(float(Fraction(item)) for item in conditional.split())


@pytest.mark.parametrize(
    ("case", "requests", "prompt", "generated", "first", "steps", "tokens_per_step", "cut_off"),
    [
        ("ngram", 30, 566, 2880, 30, 1298, "2850/1298", 42),
        ("draft_model", 30, 566, 2880, 30, 1494, "2850/1494", 11),
        ("draft_model_t08_patched", 40, 799, 2233, 40, 1613, "2193/1613", 9),
        ("eagle3", 30, 566, 1920, 30, 1023, "1890/1023", 16),
        ("dp2_ngram", 30, 566, 1920, 30, 1012, "1890/1012", 37),
    ],
)
def test_vllm_counters_give_the_stated_traffic(
    case: str, requests: int, prompt: int, generated: int, first: int, steps: int, tokens_per_step: str, cut_off: int
) -> None:
    reading = vllm_window(case)
    traffic = reading.traffic
    assert (traffic.requests, traffic.prompt_tokens, traffic.generation_tokens) == (requests, prompt, generated)
    assert (traffic.first_tokens, traffic.decode_steps, traffic.busy_after) == (first, steps, 0)
    assert acceptance(reading).tokens_per_step == float(Fraction(tokens_per_step))
    assert tokens_cut_off(reading) == cut_off


def test_vllm_without_speculation_is_off_and_has_no_rates() -> None:
    reading = vllm_window("off")
    assert (reading.engine, reading.source, reading.counts) == ("vllm", None, None)
    assert codes(reading) == ["speculation_off"]
    assert acceptance(reading).acceptance_length is None
    assert acceptance(reading).tokens_per_step == 1.0


def test_vllm_without_statistics_names_the_flag_and_gives_no_zeros() -> None:
    reading = vllm_window("ngram_nologstats")
    assert (reading.engine, reading.source, reading.counts) == (None, None, None)
    assert codes(reading) == ["no_engine_metrics"]
    assert "--disable-log-stats" in reading.findings[0].message


@pytest.mark.parametrize("case", ["ngram", "draft_model", "draft_model_t08_patched", "eagle3"])
def test_vllm_responses_sum_to_the_counters(case: str) -> None:
    rows = json_lines_of(f"vllm/{case}/responses.jsonl")
    found = [vllm.request_counts(row["response"], None) for row in rows]
    assert total(item for item in found if item is not None) == counts(*VLLM[case])
    assert None not in found


def test_vllm_responses_give_counts_where_the_metrics_give_none() -> None:
    found = [
        vllm.request_counts(row["response"], None) for row in json_lines_of("vllm/ngram_nologstats/responses.jsonl")
    ]
    assert total(item for item in found if item is not None) == counts(161, 616, 310, (107, 84, 61, 58))


@pytest.mark.parametrize("case", ["off", "dp2_ngram"])
def test_vllm_responses_without_statistics_give_none(case: str) -> None:
    rows = json_lines_of(f"vllm/{case}/responses.jsonl")
    assert {vllm.request_counts(row["response"], None) for row in rows} == {None}


@pytest.mark.parametrize(
    ("case", "mean"),
    [
        ("ngram", 3.124726),
        ("draft_model", 1.916815),
        ("draft_model_t08_patched", 1.463121),
        ("eagle3", 1.866067),
        ("ngram_nologstats", 2.961626),
    ],
)
def test_vllm_responses_give_the_stated_request_mean(case: str, mean: float) -> None:
    found = [vllm.request_counts(row["response"], None) for row in json_lines_of(f"vllm/{case}/responses.jsonl")]
    lengths = [item.acceptance_length for item in found if item is not None]
    assert sum(length for length in lengths if length) / len(lengths) == pytest.approx(mean, abs=5e-7)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("ngram", counts(21, 82, 61, (19, 15, 14, 13))),
        ("eagle3", counts(34, 102, 29, (24, 5, 0))),
        ("off", None),
        ("dp2_ngram", None),
    ],
)
def test_vllm_streams_carry_the_statistics_in_their_last_chunk(case: str, expected: AcceptanceCounts | None) -> None:
    assert vllm.request_counts(stream_union(text_of(f"vllm/{case}/stream.sse")), None) == expected


@pytest.mark.parametrize("case", [*VLLM, "ngram_nologstats", "off"])
def test_vllm_gives_no_statistics_for_several_samples(case: str) -> None:
    assert vllm.request_counts(json_of(f"vllm/{case}/nonstream_n2.json"), None) is None


def test_vllm_steps_give_the_true_denominators_of_a_varying_draft_length() -> None:
    reached = [vllm.reached_per_position(row["response"]) for row in json_lines_of("vllm/ngram/responses.jsonl")]
    assert [sum(column) for column in zip(*(item for item in reached if item), strict=True)] == [768, 533, 421, 321]


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("ngram/bench_random.json", "random", (147, 546, 230, (69, 57, 53, 51))),
        ("draft_model_t08_patched/bench_speedbench.json", "speed", (494, 1482, 459, (250, 123, 86))),
    ],
)
def test_the_recorded_vllm_bench_results_use_the_same_formulas(
    name: str, key: str, expected: tuple[int, int, int, tuple[int, ...]]
) -> None:
    bench, ours = json_of(f"vllm/{name}"), counts(*expected)
    assert bench["spec_decode_num_drafts"] == ours.num_drafts
    assert bench["spec_decode_acceptance_length"] == pytest.approx(ours.acceptance_length)
    assert bench["spec_decode_acceptance_rate"] == pytest.approx(100 * (ours.acceptance_rate or 0))
    assert bench["spec_decode_per_position_acceptance_rates"] == pytest.approx(ours.per_position_acceptance_rates)


@pytest.mark.parametrize(
    ("case", "requests", "drafts", "tokens", "accepted", "length", "rate"),
    [
        ("vllm_draft_model/T0_c1", 60, 3721, 11163, 3294, 1.885246, 0.295082),
        ("vllm_draft_model/T0_c32", 200, 12504, 37512, 11129, 1.890035, 0.296678),
        ("vllm_draft_model/T1_c32", 200, 10622, 31866, 2000, 1.188288, 0.062763),
        ("vllm_draft_model/T1_c1", 40, 2357, 7071, 449, 1.190496, 0.063499),
        ("vllm_ngram/T0_c1", 40, 1246, 4892, 2907, 3.333066, 0.594235),
        ("vllm_ngram/T0_c32", 200, 6037, 23676, 14128, 3.340235, 0.596722),
        ("vllm_ngram/T1_c32", 200, 299, 1169, 56, 1.187291, 0.047904),
        ("vllm_ngram_gpu/T0_c1", 40, 1959, 7836, 2907, 2.483920, 0.370980),
        ("vllm_ngram_gpu/T0_c32", 200, 9621, 38484, 14130, 2.468662, 0.367166),
        ("vllm_ngram_gpu/T1_c32", 200, 12055, 48220, 44, 1.003650, 0.000912),
    ],
)
def test_vllm_on_a_gpu_gives_the_stated_values(
    case: str, requests: int, drafts: int, tokens: int, accepted: int, length: float, rate: float
) -> None:
    reading = window(f"vllm-gpu/{case}_metrics_before.txt", f"vllm-gpu/{case}_metrics_after.txt")
    result = acceptance(reading)
    assert reading.traffic.requests == requests
    assert (result.num_drafts, result.num_draft_tokens, result.num_accepted_tokens) == (drafts, tokens, accepted)
    assert result.acceptance_length == pytest.approx(length, abs=5e-7)
    assert result.acceptance_rate == pytest.approx(rate, abs=5e-7)
    assert sum(result.per_position_acceptance_rates or ()) + 1 == pytest.approx(length, abs=5e-7)


@pytest.mark.parametrize("phase", ["T0_c1", "T0_c32", "T1_c32", "T1_c1"])
def test_vllm_on_a_gpu_without_speculation_is_off(phase: str) -> None:
    reading = window(f"vllm-gpu/vllm_off/{phase}_metrics_before.txt", f"vllm-gpu/vllm_off/{phase}_metrics_after.txt")
    assert (reading.source, codes(reading)) == (None, ["speculation_off"])


def test_model_runner_v2_counts_a_draft_in_every_step() -> None:
    ngram = ServerInfo(engine="vllm", base_url="", method="ngram", draft_length=5)
    reading = window("vllm-gpu-0.33/metrics_before.txt", "vllm-gpu-0.33/metrics_after.txt", ngram)
    assert reading.counts == counts(2338, 11690, 1914, (462, 417, 388, 336, 311))
    assert reading.traffic.decode_steps == 2338
    assert codes(reading) == ["ngram_in_every_step"]
    assert tokens_cut_off(reading) == 64


@pytest.mark.parametrize(
    ("case", "method", "expected"),
    [
        ("vllm_ngram_gpu/T0_c1", "ngram_gpu", ["ngram_in_every_step"]),
        ("vllm_ngram_gpu/T0_c32", "ngram_gpu", ["ngram_in_every_step"]),
        ("vllm_ngram/T0_c1", "ngram", []),
        ("vllm_draft_model/T0_c1", "draft_model", []),
    ],
)
def test_ngrams_that_fill_every_step_are_told_from_those_that_do_not(
    case: str, method: str, expected: list[str]
) -> None:
    info = ServerInfo(engine="vllm", base_url="", method=method)
    reading = window(f"vllm-gpu/{case}_metrics_before.txt", f"vllm-gpu/{case}_metrics_after.txt", info)
    assert codes(reading) == expected


def test_vllm_026_has_no_statistics_in_its_responses() -> None:
    rows = json_lines_of("vllm-gpu/vllm_ngram/T0_c1_responses.jsonl")
    assert {vllm.request_counts(row["response"], None) for row in rows} == {None}


SYNCHRONOUS = ServerInfo(engine="sglang", base_url="", settings={"disable_overlap_schedule": True})


def test_sglang_counters_on_a_cpu_are_exact() -> None:
    reading = window("", "sglang/metrics_0.5.23_ngram.txt", SYNCHRONOUS)
    assert (reading.engine, reading.source) == ("sglang", "counters")
    assert reading.counts == counts(5649, 16947, 4608, None)
    assert acceptance(reading).acceptance_length == 10257 / 5649
    assert acceptance(reading).acceptance_rate == 4608 / 16947
    assert codes(reading) == ["no_positions"]
    assert (reading.traffic.requests, reading.traffic.generation_tokens) == (73, 10275)
    assert tokens_cut_off(reading) == 55


def test_sglang_counters_sum_over_streaming_and_plain_requests() -> None:
    reading = window("", "sglang/metrics_0.5.21_ngram.txt", SYNCHRONOUS)
    assert reading.counts == counts(5987, 17961, 4447, None)
    assert acceptance(reading).acceptance_length == 10434 / 5987
    assert (reading.traffic.requests, reading.traffic.generation_tokens) == (116, 10451)
    assert acceptance(reading).tokens_per_step == 10335 / 5987


def test_sglang_without_speculation_is_off_although_its_gauges_are_there() -> None:
    reading = window("", "sglang/metrics_0.5.21_nospec.txt")
    assert (reading.source, codes(reading)) == (None, ["speculation_off"])
    assert acceptance(reading).acceptance_length is None


SGLANG_LOG = {
    "lines 1-73": (0, 73, (3446, 808, 385, 1010)),
    "all": (0, 78, (3513, 816, 390, 1022)),
    "first 6": (1, 7, (146, 27, 14, 37)),
    "run A": (7, 31, (780, 163, 70, 218)),
    "run B": (31, 71, (2254, 530, 202, 488)),
    "chat": (73, 76, (52, 6, 5, 7)),
}


@pytest.mark.parametrize("part", SGLANG_LOG)
def test_sglang_request_metric_files_give_the_stated_histograms(part: str) -> None:
    start, end, histogram = SGLANG_LOG[part]
    records, broken = parse_lines(text_of("sglang/sglang-request-metrics-0.5.23.log").encode())
    found = [sample_counts(record, None) for record in records]
    ours = total(item for item in found[start:end] if item is not None)
    steps, accepted = sum(histogram), sum(k * n for k, n in enumerate(histogram))
    positions = tuple(sum(histogram[i:]) for i in (1, 2, 3))
    assert (broken, len(records)) == (0, 78)
    assert ours == counts(steps, 3 * steps, accepted, positions)


def test_sglang_responses_give_the_stated_values() -> None:
    found = [sglang.request_counts(response, None) for response in json_of("sglang/chat_responses_0.5.23.json")]
    assert [(item.num_drafts, item.num_accepted_tokens) for item in found if item] == [(29, 9), (23, 16), (18, 12)]
    assert [item.conditional_acceptance_rates for item in found if item] == [
        (4 / 29, 3 / 4, 2 / 3),
        (8 / 23, 5 / 8, 3 / 5),
        (6 / 18, 4 / 6, 2 / 4),
    ]
    assert total(item for item in found if item) == counts(70, 210, 37, (18, 12, 7))


def test_a_sglang_response_of_0_5_21_gives_the_stated_values() -> None:
    found = sglang.request_counts(json_of("sglang/chat_response_spec_details.json"), None)
    assert found == counts(25, 75, 28, (13, 8, 7))


def test_a_sglang_stream_carries_the_statistics_in_a_chunk_of_its_own() -> None:
    found = sglang.request_counts(stream_union(text_of("sglang/stream_chunks.txt")), None)
    assert found == counts(11, 33, 0, (0, 0, 0))
    assert found is not None
    assert found.conditional_acceptance_rates == (0.0, None, None)


SGLANG_GPU = {
    "sgl_ngram/T0_c1": (60, (74, 250, 124, 1639), 3.594633, (3.5577, 3.6914), 4.947),
    "sgl_ngram/T0_c32": (200, (1007, 815, 875, 4658), 3.248674, (3.2208, 3.2999), 2.815),
    "sgl_ngram/T1_c32": (200, (10954, 579, 92, 39), 1.075446, (1.0678, 1.0937), -2.007),
    "sgl_ngram/T1_c1": (40, (2278, 132, 24, 10), 1.085925, (1.0822, 1.1215), 0.076),
    "sgl_standalone/T0_c1": (60, (2111, 562, 395, 648), 1.886975, (1.8797, 1.9252), 2.025),
    "sgl_standalone/T0_c32": (200, (7059, 1868, 1283, 2219), 1.892349, (1.8847, 1.9222), 1.807),
    "sgl_standalone/T1_c32": (200, (9410, 1153, 197, 123), 1.176054, (1.1699, 1.2148), 0.082),
    "sgl_standalone/T1_c1": (40, (1914, 259, 56, 18), 1.189141, (1.1842, 1.2350), 0.787),
    "sgl_standalone_tree/T0_c1": (40, (119, 1573, 513, 11), 2.187726, (2.1733, 2.2279), 2.391),
    "sgl_standalone_tree/T0_c32": (200, (576, 7614, 2497, 68), 2.191260, (2.1751, 2.2205), 2.029),
    "sgl_standalone_tree/T1_c32": (200, (6705, 1889, 498, 155), 1.362280, (1.3477, 1.4104), 0.267),
}


@pytest.mark.parametrize("case", SGLANG_GPU)
def test_sglang_responses_on_a_gpu_give_the_stated_histogram(case: str) -> None:
    requests, histogram, length, _, _ = SGLANG_GPU[case]
    rows = json_lines_of(f"sglang-gpu/{case}_responses.jsonl")
    found = [sglang.request_counts(row["response"], None) for row in rows]
    ours = total(item for item in found if item is not None)
    assert len(found) == requests
    assert ours.num_drafts == sum(histogram)
    assert ours.accepted_per_position is not None
    assert ours.accepted_per_position[:3] == tuple(sum(histogram[i:]) for i in (1, 2, 3))
    assert ours.acceptance_length == pytest.approx(length, abs=5e-7)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("case", SGLANG_GPU)
def test_sglang_counters_with_overlap_bracket_the_exact_value(case: str, told: bool) -> None:
    _, histogram, length, (low, high), difference_of_gauges = SGLANG_GPU[case]
    info = ServerInfo(engine="sglang", base_url="", settings={"disable_overlap_schedule": False}) if told else None
    reading = window(f"sglang-gpu/{case}_metrics_before.txt", f"sglang-gpu/{case}_metrics_after.txt", info)
    result = acceptance(reading)
    bounds = result.acceptance_length_bounds
    assert bounds is not None
    assert (result.source, result.num_drafts) == ("bounds", sum(histogram))
    assert (round(bounds.low, 4), round(bounds.high, 4)) == (low, high)
    assert bounds.low <= length <= bounds.high
    assert result.acceptance_length == (bounds.low + bounds.high) / 2
    assert result.acceptance_length != pytest.approx(difference_of_gauges, abs=0.05)
    assert (result.num_accepted_tokens, result.accepted_per_position) == (None, None)
    assert "bounds" in codes(reading)


def test_sglang_bounds_of_the_rate_hold_the_exact_rate() -> None:
    reading = window("sglang-gpu/sgl_ngram/T0_c1_metrics_before.txt", "sglang-gpu/sgl_ngram/T0_c1_metrics_after.txt")
    bounds = reading.acceptance_rate_bounds
    assert bounds is not None
    assert bounds.low <= 0.864878 <= bounds.high


@pytest.mark.parametrize("phase", ["T0_c1", "T0_c32", "T1_c32", "T1_c1"])
def test_sglang_on_a_gpu_without_speculation_is_off(phase: str) -> None:
    reading = window(f"sglang-gpu/sgl_off/{phase}_metrics_before.txt", f"sglang-gpu/sgl_off/{phase}_metrics_after.txt")
    assert (reading.source, codes(reading)) == (None, ["speculation_off"])
    rows = json_lines_of(f"sglang-gpu/sgl_off/{phase}_responses.jsonl")
    assert {sglang.request_counts(row["response"], None) for row in rows} == {None}


def test_tree_drafts_are_recognised_without_server_info() -> None:
    case = "sglang-gpu/sgl_standalone_tree/T0_c1"
    assert "tree_drafts" in codes(window(f"{case}_metrics_before.txt", f"{case}_metrics_after.txt"))


def test_sglang_sums_the_samples_of_one_request() -> None:
    found = sglang.request_counts(json_of("sglang-gpu/sgl_ngram/sample_n2.json"), None)
    assert found == counts(45, 135, 9, (7, 2, 0))


def test_a_sglang_answer_of_one_token_had_no_step() -> None:
    answer = json_of("sglang-gpu/sgl_ngram/sample_max1.json")
    on = ServerInfo(engine="sglang", base_url="", speculation="on")
    assert sglang.request_counts(answer, on) == counts(0, 0, 0, ())
    assert sglang.request_counts(answer, None) is None


def test_sglang_native_answers_hold_the_same_statistics() -> None:
    found = sglang.request_counts(json_of("sglang-gpu/sgl_ngram/sample_generate.json"), None)
    assert found == counts(12, 36, 35, (12, 12, 11))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("ngram-k3", (42, 126, 79, (29, 25, 25))),
        ("self-draft-k3", (52, 154, 152, (52, 51, 49))),
    ],
)
def test_llamacpp_counters_agree_with_its_responses(case: str, expected: tuple[int, int, int, tuple[int, ...]]) -> None:
    reading = window(f"llamacpp/{case}/metrics_before.txt", f"llamacpp/{case}/metrics_after.txt")
    assert (reading.engine, reading.source, reading.counts) == ("llamacpp", "counters", counts(*expected))
    assert (reading.traffic.prompt_tokens, reading.traffic.generation_tokens) == (153, 207)
    on = ServerInfo(engine="llamacpp", base_url="", speculation="on")
    found = [llamacpp.request_counts(json_of(f"llamacpp/{case}/response_{i}.json"), on) for i in range(3)]
    summed = total(item for item in found if item is not None)
    assert (summed.num_draft_tokens, summed.num_accepted_tokens) == expected[1:3]
    assert (summed.num_drafts, summed.acceptance_length) == (None, None)


def test_llamacpp_streams_carry_the_timings_in_their_last_chunk() -> None:
    found = llamacpp.request_counts(stream_union(text_of("llamacpp/ngram-k3/stream.sse")), None)
    assert found == AcceptanceCounts(num_drafts=None, num_draft_tokens=30, num_accepted_tokens=15)


def test_llamacpp_without_speculation_drafts_nothing() -> None:
    off = ServerInfo(engine="llamacpp", base_url="", speculation="off")
    before, after = "llamacpp/none/metrics_before.txt", "llamacpp/none/metrics_after.txt"
    assert codes(window(before, after, off)) == ["speculation_off"]
    assert codes(window(before, after)) == ["nothing_drafted"]
    assert acceptance(window(before, after)).acceptance_length is None


def test_llamacpp_timings_of_several_samples_are_not_used() -> None:
    on = ServerInfo(engine="llamacpp", base_url="", speculation="on")
    assert llamacpp.request_counts(json_of("llamacpp/ngram-k3/n2.json"), on) is None


@pytest.mark.parametrize(
    ("case", "expected", "positions", "bounds"),
    [
        ("ngram-k4", (132, 396, 253), (103, 82, 68), (378 / 132, 385 / 132)),
        ("tree-k8", (97, 679, 292), (72, 61, 50, 34, 32, 24, 19), (378 / 97, 389 / 97)),
    ],
)
def test_a_synchronous_sglang_is_exact_by_its_word_and_bracketed_without_it(
    case: str, expected: tuple[int, int, int], positions: tuple[int, ...], bounds: tuple[float, float]
) -> None:
    folder = f"sglang-cpu/{case}"
    told = json_of(f"{folder}/server_info_some.json")
    info = ServerInfo(
        engine="sglang",
        base_url="",
        speculation="on",
        tree_nodes=told["speculative_num_draft_tokens"],
        topk=told["speculative_eagle_topk"],
        settings={"disable_overlap_schedule": told["disable_overlap_schedule"]},
    )
    exact = window(f"{folder}/metrics_before.txt", f"{folder}/metrics_after.txt", info)
    without = window(f"{folder}/metrics_before.txt", f"{folder}/metrics_after.txt")
    responses = [sglang.request_counts(json_of(f"{folder}/response_{i}.json"), info) for i in range(6)]
    assert (exact.source, exact.counts) == ("counters", counts(*expected, None))
    assert total(item for item in responses if item is not None) == counts(*expected, positions)
    assert without.acceptance_length_bounds is not None
    assert (without.acceptance_length_bounds.low, without.acceptance_length_bounds.high) == bounds


def test_the_request_metric_file_of_a_tree_agrees_with_its_responses() -> None:
    records, broken = parse_lines(text_of("sglang-cpu/tree-k8/request-metrics.log").encode())
    info = ServerInfo(engine="sglang", base_url="", speculation="on", tree_nodes=8, topk=4)
    by_id = {record["id"]: sample_counts(record, info) for record in records}
    answers = [json_of(f"sglang-cpu/tree-k8/response_{i}.json") for i in range(6)]
    assert broken == 0
    assert [by_id[answer["id"]] for answer in answers] == [sglang.request_counts(answer, info) for answer in answers]


H100 = "sglang-gpu-0.5.23"


def phases(case: str) -> list[Any]:
    return [(case, item["phase"], item["exact"]) for item in json_of(f"{H100}/{case}/summary.json")["phases"]]


def info_of(case: str) -> ServerInfo:
    models = {"data": [{"id": "small", "owned_by": "sglang"}]}
    with tiny_server({"/v1/models": models, "/server_info": json_of(f"{H100}/{case}/server_info.json")}) as server:
        return detect(server.url)


@pytest.mark.parametrize(("case", "phase", "exact"), [*phases("ngram"), *phases("standalone_sync")])
def test_sglang_on_an_h100_is_exact_or_bracketed_as_it_is_scheduled(
    case: str, phase: str, exact: dict[str, Any]
) -> None:
    before, after = (f"{H100}/{case}/{phase}_metrics_{end}.txt" for end in ("before", "after"))
    reading = window(before, after, info_of(case))
    assert reading.num_drafts == exact["verify"]
    if case == "standalone_sync":
        assert reading.counts == counts(exact["verify"], exact["proposed"], exact["correct"], None)
        return
    bounds = reading.acceptance_length_bounds
    assert reading.source == "bounds"
    assert bounds is not None
    assert bounds.low <= exact["AL"] <= bounds.high
    assert [finding.code for finding in reading.findings] == ["bounds"]


@pytest.mark.parametrize("case", ["ngram", "standalone_sync"])
def test_sglangs_responses_on_an_h100_sum_up_to_the_truth(case: str) -> None:
    (exact,) = [item for _, phase, item in phases(case) if phase == "T0_c32"]
    info, rows = info_of(case), json_lines_of(f"{H100}/{case}/T0_c32_responses.jsonl")
    found = [sglang.request_counts(row["response"], info) for row in rows]
    summed = total(item for item in found if item is not None)
    assert len(found) - found.count(None) == exact["requests"]
    assert (summed.num_drafts, summed.num_accepted_tokens) == (exact["verify"], exact["correct"])


def test_the_findings_of_sglangs_methods_are_made_from_its_own_word() -> None:
    assert [finding.code for finding in info_of("ngram").findings] == ["sglang_ngram"]
    assert [finding.code for finding in info_of("standalone_sync").findings] == ["standalone_first_token"]


@pytest.mark.parametrize(
    ("folder", "prompt_tokens", "cached"),
    [
        ("vllm-gpu/vllm_ngram/T0_c32_", 4117, 336),
        ("sglang-gpu/sgl_ngram/T0_c32_", 4117, 2359),
        ("sglang-gpu-0.5.23/ngram/T0_c32_", 27789, 0),
        ("llamacpp/ngram-k3/", 153, 48),
    ],
)
def test_the_counters_tell_how_many_tokens_of_prompts_were_cached(folder: str, prompt_tokens: int, cached: int) -> None:
    traffic = window(f"{folder}metrics_before.txt", f"{folder}metrics_after.txt").traffic
    assert (traffic.prompt_tokens, traffic.cached_prompt_tokens) == (prompt_tokens, cached)
