"""Two sets of snapshots to a reading: nothing that a server sends may raise or give a wrong number."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_recordings import codes, snapshot, text_of

from nemo_skills_specdec.engines.base import CounterReading, EngineName, ServerInfo, Traffic
from nemo_skills_specdec.engines.reading import acceptance_of_reading, read_window, tokens_per_step
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import UsageError

VLLM_BEFORE, VLLM_AFTER = text_of("vllm/ngram/metrics_before.txt"), text_of("vllm/ngram/metrics_after.txt")
SGLANG = text_of("sglang/metrics_0.5.23_ngram.txt")
LLAMACPP = text_of("llamacpp/ngram-k3/metrics_after.txt")


def read(before: list[str], after: list[str], engine: EngineName | None = None) -> CounterReading:
    return read_window([snapshot(text) for text in before], [snapshot(text) for text in after], engine=engine)


def test_replicas_are_differenced_one_by_one_and_summed() -> None:
    one = read([VLLM_BEFORE], [VLLM_AFTER]).counts
    two = read([VLLM_BEFORE, VLLM_BEFORE], [VLLM_AFTER, VLLM_AFTER]).counts
    assert one is not None
    assert two == one + one


def test_replicas_in_another_order_are_found_out() -> None:
    other = VLLM_BEFORE.replace("spec_decode_num_drafts_total{", "x{")
    swapped = read([VLLM_AFTER, other], [VLLM_BEFORE, VLLM_AFTER])
    assert (swapped.source, swapped.findings[0].code) == (None, "counters_decreased")


def test_an_empty_text_before_counts_from_zero() -> None:
    assert read([""], [VLLM_AFTER]).counts == read([VLLM_BEFORE], [VLLM_AFTER]).counts


def test_an_empty_text_after_is_no_reading() -> None:
    assert codes(read([VLLM_BEFORE], [""])) == ["metrics_unreadable"]


@pytest.mark.parametrize("text", ["<html></html>", '{"a": 1}', "a b c d"])
def test_what_is_no_metrics_text_becomes_a_finding(text: str) -> None:
    for before, after in (([text], [VLLM_AFTER]), ([VLLM_BEFORE], [text])):
        reading = read(before, after)
        assert (reading.source, codes(reading)) == (None, ["metrics_unreadable"])


def test_a_snapshot_that_failed_becomes_a_finding_with_its_cause() -> None:
    failed = Snapshot(url="http://h/metrics", taken_at=0.0, error="nothing listens there")
    reading = read_window([failed], [snapshot(VLLM_AFTER)])
    assert (reading.source, codes(reading)) == (None, ["metrics_unavailable"])
    assert "nothing listens there" in reading.findings[0].message


def test_metrics_without_an_engine_name_both_causes() -> None:
    reading = read([""], ["process_start_time_seconds 5\n"])
    assert codes(reading) == ["no_engine_metrics"]
    assert "--disable-log-stats" in reading.findings[0].message
    assert "wrong URL or port" in reading.findings[0].message


def test_endpoints_of_different_engines_are_refused() -> None:
    assert codes(read(["", ""], [VLLM_AFTER, SGLANG])) == ["mixed_engines"]


def test_the_engine_can_be_told_where_one_text_holds_several() -> None:
    both = VLLM_AFTER + LLAMACPP
    assert read([""], [both]).engine == "vllm"
    assert read([""], [both], engine="llamacpp").engine == "llamacpp"


def test_the_engine_of_the_server_info_is_taken_where_its_series_are_there() -> None:
    info = ServerInfo(engine="llamacpp", base_url="")
    assert read_window([snapshot("")], [snapshot(VLLM_AFTER + LLAMACPP)], info).engine == "llamacpp"
    assert read_window([snapshot("")], [snapshot(VLLM_AFTER)], info).engine == "vllm"


@pytest.mark.parametrize(("before", "after"), [([], []), ([""], []), ([""], [VLLM_AFTER, VLLM_AFTER])])
def test_unequal_numbers_of_snapshots_are_wrong_use(before: list[str], after: list[str]) -> None:
    with pytest.raises(UsageError):
        read(before, after)


def test_a_restarted_process_gives_no_rate_even_if_no_counter_went_back() -> None:
    after = VLLM_AFTER.replace("process_start_time_seconds 1.79537488481e+09", "process_start_time_seconds 1.8e+09")
    reading = read([VLLM_BEFORE], [after])
    assert (reading.source, reading.counts, codes(reading)) == (None, None, ["process_restarted"])


def test_a_result_without_a_source_has_no_number() -> None:
    result = acceptance_of_reading(read([VLLM_AFTER], [VLLM_BEFORE]))
    assert (result.source, result.num_drafts, result.acceptance_length, result.acceptance_rate) == (None,) * 4
    assert [finding.severity for finding in result.findings] == ["invalid"]


def test_tokens_per_step_leave_the_first_tokens_out() -> None:
    assert tokens_per_step(Traffic(generation_tokens=110, first_tokens=10, decode_steps=50)) == 2.0
    assert tokens_per_step(Traffic(generation_tokens=110, first_tokens=10, decode_steps=0)) is None
    assert tokens_per_step(Traffic(generation_tokens=110, decode_steps=50)) is None


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from('vllm:sglang_{}="0123 .eE+-\n#<"'), max_size=120))
def test_no_text_whatever_raises(text: str) -> None:
    for pair in (("", text), (text, VLLM_AFTER), (text, text)):
        assert isinstance(read_window([snapshot(pair[0])], [snapshot(pair[1])]), CounterReading)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_one_counter_says_there_is_a_finding_or_the_identities_hold(data: st.DataObject) -> None:
    lines = VLLM_AFTER.split("\n")
    spots = [i for i, line in enumerate(lines) if line.startswith("vllm:spec_decode") and "_total{" in line]
    spot = data.draw(st.sampled_from(spots))
    value = data.draw(st.one_of(st.integers(-5, 5000), st.sampled_from(["NaN", "+Inf", "1e300", "2.5"])))
    lines[spot] = f"{lines[spot].rpartition(' ')[0]} {value}"
    reading = read([VLLM_BEFORE], ["\n".join(lines)])
    if reading.counts is None:
        assert any(finding.severity == "invalid" for finding in reading.findings)
        assert (reading.acceptance_length, reading.acceptance_rate) == (None, None)
    else:
        rates = reading.counts.per_position_acceptance_rates or ()
        assert reading.acceptance_length is None or 1 + sum(rates) == pytest.approx(reading.acceptance_length)
