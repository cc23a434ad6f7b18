"""Differences of counters, one by one for each label set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_recordings import samples

from nemo_skills_specdec.engines.counters import difference, differences, gauge_total, restarts
from nemo_skills_specdec.engines.exposition import Samples

DRAFTS = "vllm:spec_decode_num_drafts_total"


def drafts(values: dict[str, float]) -> Samples:
    """One sample of the drafts counter per engine label."""
    return Samples(series={DRAFTS: {frozenset({("engine", engine)}): float(value) for engine, value in values.items()}})


def test_label_sets_are_differenced_one_by_one_and_then_summed() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100, "1": 10})], [drafts({"0": 130, "1": 15})])
    assert delta is not None
    assert (delta.total, delta.by_label("engine")) == (35, {"0": 30, "1": 5})


def test_a_new_engine_is_no_part_of_the_window() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100})], [drafts({"0": 130, "1": 15})])
    assert delta is not None
    assert [(finding.code, finding.severity) for finding in delta.findings] == [("missing_before", "invalid")]
    assert delta.findings[0].numbers == {"series": f'{DRAFTS}{{engine="1"}}', "before": None, "after": 15}


def test_a_new_engine_that_counted_nothing_is_no_part_of_the_window() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100})], [drafts({"0": 130, "1": 0})])
    assert delta is not None
    assert (delta.total, delta.findings) == (30, ())


@pytest.mark.parametrize("late", ['position="1"', 'finished_reason="stop"', 'is_streaming="true"'])
def test_a_label_that_appears_with_its_first_use_counts_from_zero(late: str) -> None:
    name = late.partition("=")[0]
    before, after = f'{DRAFTS}{{engine="0",{name}="x"}} 5\n', f'{DRAFTS}{{engine="0",{late}}} 7\n'
    delta = difference(DRAFTS, [samples(before)], [samples(before + after)])
    assert delta is not None
    assert (delta.total, delta.findings) == (7, ())


@pytest.mark.parametrize("before", ["", "vllm:generation_tokens_total 0\nvllm:num_requests_running 3\n"])
def test_a_server_that_had_counted_nothing_counts_from_zero(before: str) -> None:
    delta = difference(DRAFTS, [samples(before)], [drafts({"0": 130})])
    assert delta is not None
    assert (delta.total, delta.findings) == (130, ())


def test_a_series_missing_before_of_a_server_in_use_is_no_part_of_the_window() -> None:
    delta = difference(DRAFTS, [samples("vllm:generation_tokens_total 9\n")], [drafts({"0": 130})])
    assert delta is not None
    assert [finding.code for finding in delta.findings] == ["missing_before"]


def test_a_counter_that_appears_late_by_its_nature_counts_from_zero() -> None:
    delta = difference(DRAFTS, [samples("vllm:generation_tokens_total 9\n")], [drafts({"0": 130})], late=True)
    assert delta is not None
    assert (delta.total, delta.findings) == (130, ())


def test_a_series_that_is_nowhere_has_no_difference() -> None:
    assert difference(DRAFTS, [Samples(series={})], [Samples(series={})]) is None


def test_a_decrease_that_hides_in_the_sum_is_found() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100, "1": 100})], [drafts({"0": 5, "1": 900})])
    assert delta is not None
    (finding,) = delta.findings
    assert (finding.code, finding.severity) == ("counters_decreased", "invalid")
    assert finding.numbers == {"series": f'{DRAFTS}{{engine="0"}}', "before": 100, "after": 5}


def test_a_label_set_that_is_gone_is_found() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100, "1": 100})], [drafts({"0": 105})])
    assert delta is not None
    assert [(finding.code, finding.severity) for finding in delta.findings] == [("missing_label_set", "invalid")]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, 2.0**60])
def test_what_is_no_count_is_found(value: float) -> None:
    delta = difference(DRAFTS, [drafts({"0": 0})], [drafts({"0": value})])
    assert delta is not None
    assert [finding.code for finding in delta.findings] == ["not_a_count"]


def test_creation_times_are_never_summed_in() -> None:
    text = f"{DRAFTS} 3\nvllm:spec_decode_num_drafts_created 1.795e9\n"
    delta = difference(DRAFTS, [Samples(series={})], [samples(text)])
    assert delta is not None
    assert delta.total == 3


def test_endpoints_are_summed() -> None:
    delta = difference(DRAFTS, [drafts({"0": 1}), drafts({"0": 2})], [drafts({"0": 11}), drafts({"0": 22})])
    assert delta is not None
    assert delta.total == 30


def test_one_finding_stands_for_many_of_its_kind() -> None:
    names = {"drafts": DRAFTS, "tokens": "vllm:prompt_tokens_total"}
    before, after = (
        samples(f"{DRAFTS} 9\nvllm:prompt_tokens_total 9\n"),
        samples(f"{DRAFTS} 1\nvllm:prompt_tokens_total 1\n"),
    )
    _, findings = differences(names, [before], [after])
    assert [finding.code for finding in findings] == ["counters_decreased"]
    assert "1 more like this" in findings[0].message


def test_a_changed_process_start_is_a_restart() -> None:
    (finding,) = restarts([samples("process_start_time_seconds 1.0\n")], [samples("process_start_time_seconds 2.0\n")])
    assert (finding.code, finding.severity) == ("process_restarted", "invalid")


BORN = "vllm:prompt_tokens_created"


def test_a_changed_creation_time_is_a_restart() -> None:
    (finding,) = restarts([samples(f'{BORN}{{e="0"}} 1.0\n')], [samples(f'{BORN}{{e="0"}} 2.0\n')])
    assert finding.numbers["series"] == BORN


def test_a_new_creation_time_is_no_restart() -> None:
    before, more = f'{BORN}{{e="0"}} 1.0\n', "vllm:generation_tokens_created 5\n"
    assert restarts([samples(before)], [samples(before + more)]) == []


def test_gauges_that_count_things_are_summed_over_labels_and_endpoints() -> None:
    running, waiting = "vllm:num_requests_running", "vllm:num_requests_waiting"
    readings = [
        samples(f'{running}{{e="0"}} 1\n{running}{{e="1"}} 2\n'),
        samples(f'{running} 3\n{waiting} 4\n{running}{{e="1"}} NaN\n{waiting}{{e="1"}} +Inf\n'),
    ]
    assert gauge_total(readings, (running, waiting)) == 10
    assert gauge_total(readings, ("vllm:nothing",)) is None


PAIRS = st.dictionaries(
    st.text("abcdef0123", min_size=1, max_size=3), st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=1
)


@given(PAIRS)
def test_splitting_a_counter_over_label_sets_never_changes_the_sum(parts: dict[str, tuple[int, int]]) -> None:
    before = drafts({label: start for label, (start, _) in parts.items()})
    after = drafts({label: start + more for label, (start, more) in parts.items()})
    whole = sum(start for start, _ in parts.values()), sum(start + more for start, more in parts.values())
    split, together = (
        difference(DRAFTS, [before], [after]),
        difference(DRAFTS, [drafts({"": whole[0]})], [drafts({"": whole[1]})]),
    )
    assert split is not None
    assert together is not None
    assert split.total == together.total == sum(more for _, more in parts.values())


@given(PAIRS, st.randoms())
def test_the_order_of_samples_and_labels_never_matters(parts: dict[str, tuple[int, int]], random: object) -> None:
    lines = [f'{DRAFTS}{{engine="{label}",model_name="m"}} {more}' for label, (_, more) in parts.items()]
    swapped = [f'{DRAFTS}{{model_name="m",engine="{label}"}} {more}' for label, (_, more) in parts.items()]
    random.shuffle(swapped)  # type: ignore[attr-defined]
    assert samples("\n".join(lines) + "\n") == samples("\n".join(swapped) + "\n")
