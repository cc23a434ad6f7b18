"""Exposition text to samples, and differences per label set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_recordings import samples, text_of

from nemo_skills_specdec.engines.base import Samples
from nemo_skills_specdec.engines.prometheus import difference, differences, gauge_total, parse_metrics, restarts
from nemo_skills_specdec.errors import DataError

DRAFTS = "vllm:spec_decode_num_drafts_total"


def drafts(values: dict[str, float]) -> Samples:
    """One sample of the drafts counter per engine label."""
    return Samples({DRAFTS: {frozenset({("engine", engine)}): float(value) for engine, value in values.items()}})


def test_names_and_labels_stand_exactly_as_exposed() -> None:
    text = '# TYPE a:x_total counter\na:x_total{b="1",a="2"} 5.0\na:x_created{b="1",a="2"} 1.79e+09\n'
    labels = frozenset({("a", "2"), ("b", "1")})
    assert parse_metrics(text).series == {"a:x_total": {labels: 5.0}, "a:x_created": {labels: 1.79e9}}


def test_openmetrics_text_with_exemplars_is_read() -> None:
    text = '# TYPE vllm:x counter\nvllm:x_total{e="0"} 5 # {trace_id="a"} 1.0\nvllm:x_created{e="0"} 1.0\n# EOF\n'
    assert parse_metrics(text).series["vllm:x_total"] == {frozenset({("e", "0")}): 5.0}


def test_classic_text_that_ends_with_eof_is_read() -> None:
    text = "# HELP vllm:x_total things\n# TYPE vllm:x_total counter\nvllm:x_total 5\n# EOF\n"
    assert parse_metrics(text).series == {"vllm:x_total": {frozenset(): 5.0}}


def test_a_recorded_text_has_all_its_samples() -> None:
    assert sum(len(item) for item in parse_metrics(text_of("sglang/metrics_0.5.23_ngram.txt")).series.values()) == 518


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("<!DOCTYPE html>\n<html></html>", "web page"),
        ("\ufeff<html>", "web page"),
        ('{"detail":"Not Found"}', "JSON"),
        ("[]", "JSON"),
        ('"text"', "JSON"),
        ("what is this", "no Prometheus text"),
        ("# HELP only comments\n", "no sample"),
    ],
)
def test_what_is_no_exposition_text_is_named(text: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.txt .*{told}.*give"):
        parse_metrics(text, "a.txt")


def test_a_sample_that_stands_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r'vllm:x_total\{e="0"\} twice'):
        parse_metrics('vllm:x_total{e="0"} 5\nvllm:x_total{e="0"} 6\n')


def test_a_foreign_sample_that_stands_twice_does_no_harm() -> None:
    assert parse_metrics("http_x 5\nhttp_x 6\nvllm:x_total 1\n").series["vllm:x_total"] == {frozenset(): 1.0}


def test_label_sets_are_differenced_one_by_one_and_then_summed() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100, "1": 10})], [drafts({"0": 130, "1": 15})])
    assert delta is not None
    assert (delta.total, delta.by_label("engine")) == (35, {"0": 30, "1": 5})


def test_a_new_label_set_counts_from_zero() -> None:
    delta = difference(DRAFTS, [drafts({"0": 100})], [drafts({"0": 130, "1": 15})])
    assert delta is not None
    assert (delta.total, delta.findings) == (45, ())


def test_a_missing_series_before_counts_from_zero() -> None:
    delta = difference(DRAFTS, [Samples({})], [drafts({"0": 130})])
    assert delta is not None
    assert delta.total == 130


def test_a_series_that_is_nowhere_has_no_difference() -> None:
    assert difference(DRAFTS, [Samples({})], [Samples({})]) is None


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5])
def test_what_is_no_count_is_found(value: float) -> None:
    delta = difference(DRAFTS, [drafts({"0": 0})], [drafts({"0": value})])
    assert delta is not None
    assert [finding.code for finding in delta.findings] == ["not_a_count"]


def test_a_counter_is_also_found_without_its_total() -> None:
    bare = Samples({"vllm:spec_decode_num_drafts": {frozenset(): 7.0}})
    delta = difference(DRAFTS, [Samples({})], [bare])
    assert delta is not None
    assert delta.total == 7


def test_creation_times_are_never_summed_in() -> None:
    text = f"{DRAFTS} 3\nvllm:spec_decode_num_drafts_created 1.795e9\n"
    delta = difference(DRAFTS, [Samples({})], [samples(text)])
    assert delta is not None
    assert delta.total == 3


def test_endpoints_are_summed() -> None:
    delta = difference(DRAFTS, [drafts({"0": 1}), drafts({"0": 2})], [drafts({"0": 11}), drafts({"0": 22})])
    assert delta is not None
    assert delta.total == 30


def test_one_finding_stands_for_many_of_its_kind() -> None:
    names = {"drafts": DRAFTS, "tokens": "vllm:t_total"}
    before, after = samples(f"{DRAFTS} 9\nvllm:t_total 9\n"), samples(f"{DRAFTS} 1\nvllm:t_total 1\n")
    _, findings = differences(names, [before], [after])
    assert [finding.code for finding in findings] == ["counters_decreased"]
    assert "1 more like this" in findings[0].message


def test_a_changed_process_start_is_a_restart() -> None:
    (finding,) = restarts([samples("process_start_time_seconds 1.0\n")], [samples("process_start_time_seconds 2.0\n")])
    assert (finding.code, finding.severity) == ("process_restarted", "invalid")


def test_a_changed_creation_time_is_a_restart() -> None:
    (finding,) = restarts([samples('vllm:x_created{e="0"} 1.0\n')], [samples('vllm:x_created{e="0"} 2.0\n')])
    assert finding.numbers["series"] == "vllm:x_created"


def test_a_new_creation_time_is_no_restart() -> None:
    assert (
        restarts([samples('vllm:x_created{e="0"} 1.0\n')], [samples('vllm:x_created{e="0"} 1.0\na_created 5\n')]) == []
    )


def test_gauges_that_count_things_are_summed_over_labels_and_endpoints() -> None:
    readings = [samples('r{e="0"} 1\nr{e="1"} 2\n'), samples("r 3\nw 4\n")]
    assert gauge_total(readings, ("r", "w")) == 10
    assert gauge_total(readings, ("nothing",)) is None


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
