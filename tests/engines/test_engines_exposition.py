"""Exposition text to samples: the same as the library of Prometheus finds, in the series that are read."""

import contextlib
import math
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from server_recordings import CAPTURES, text_of

from nemo_skills_specdec.engines.exposition import Samples, parse_metrics
from nemo_skills_specdec.engines.registry import wanted_series
from nemo_skills_specdec.errors import DataError

TOKENS = "vllm:generation_tokens_total"


def parse(text: str) -> Samples:
    return parse_metrics(text, "a.txt", wanted=wanted_series())


def by_library(text: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """What the library finds, of the series that are read."""
    series: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            created = name.endswith("_created") and name.removesuffix("_created") + "_total" in wanted_series()
            if name in wanted_series() or created or name == "process_start_time_seconds":
                series.setdefault(name, {})[frozenset(sample.labels.items())] = sample.value
    return series


def test_names_and_labels_are_those_of_the_text() -> None:
    labels = frozenset({("a", "2"), ("b", "1")})
    found = parse(f'# TYPE {TOKENS} counter\n{TOKENS}{{b="1",a="2"}} 5.0\nvllm:generation_tokens_created 1.79e+09\n')
    assert found.series == {TOKENS: {labels: 5.0}, "vllm:generation_tokens_created": {frozenset(): 1.79e9}}


def test_openmetrics_text_with_exemplars_is_read() -> None:
    found = parse(f'{TOKENS}{{e="0"}} 5 # {{trace_id="a"}} 1.0\n{TOKENS}{{e="1"}} 6 1625 # {{}} 1\n# EOF\n')
    assert found.series[TOKENS] == {frozenset({("e", "0")}): 5.0, frozenset({("e", "1")}): 6.0}


@pytest.mark.parametrize(
    "line",
    [
        f"{TOKENS} 5\n",
        f"{TOKENS}\t5\r\n",
        f"  {TOKENS} 5 1625000000\n",
        f"{TOKENS}{{}} 5.0e0\n",
        f"{TOKENS} {{ }} 5\n# EOF\n",
        f"\ufeff{TOKENS} 5\n",
        "vllm:generation_tokens 5\n",
        "vllm_generation_tokens_total 5\n",
        "ray_vllm_generation_tokens_total 5\n",
        "my_ray_vllm:generation_tokens 5\n",
    ],
)
def test_what_real_exporters_write_is_read(line: str) -> None:
    assert parse(line).series == {TOKENS: {frozenset(): 5.0}}


def test_other_series_are_left_out_but_named_where_they_are_the_engines() -> None:
    found = parse(f"http_total 1\nhttp_total 2\n{TOKENS} 1\nvllm:x_total 7\nbroken line of others\n")
    assert (found.series, found.names) == ({TOKENS: {frozenset(): 1.0}}, {TOKENS, "vllm:x_total"})


def test_the_engines_own_names_go_before_an_exporters() -> None:
    found = parse(f"ray_vllm_generation_tokens_total 9\n{TOKENS} 5\n")
    assert (found.series, found.prefixes) == ({TOKENS: {frozenset(): 5.0}}, {"vllm": "vllm:"})


def test_a_text_without_an_engine_tells_what_it_has() -> None:
    assert parse('smg_requests_total{a="}"} 5\nprocess_start_time_seconds 1\n').others[0] == "smg_requests_total"


def test_a_recorded_text_gives_what_the_library_finds() -> None:
    texts = sorted(path for path in CAPTURES.rglob("*metrics*.txt*") if "request-metrics" not in path.name)
    assert len(texts) > 40
    for path in texts:
        text = text_of(str(path.relative_to(CAPTURES)).removesuffix(".gz"))
        assert parse(text).series == by_library(text), path


VALUES = st.one_of(st.integers(-5, 2**60).map(str), st.floats().map(repr), st.sampled_from(["+Inf", "NaN", "1e400"]))
LABELS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.text(max_size=12), max_size=4)
NAMES = st.sampled_from([*sorted(wanted_series()), "vllm:other", "http_requests_total", "process_start_time_seconds"])


def line_of(name: str, labels: dict[str, str], number: str) -> str:
    escapes = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
    pairs = ",".join(f'{key}="{value.translate(escapes)}"' for key, value in labels.items())
    return name + "{" + pairs + "} " + number + "\n"


@given(st.lists(st.tuples(NAMES, LABELS, VALUES), max_size=8, unique_by=lambda item: (item[0], str(sorted(item[1])))))
def test_whatever_labels_and_values_the_library_finds_the_same(lines: list[tuple[str, dict[str, str], str]]) -> None:
    texts = [line_of(*line) for line in lines]
    text = "".join([*texts, "x 1\n"])
    mine, theirs = parse(text).series, by_library(text)
    assert mine.keys() == theirs.keys()
    for name, label_sets in theirs.items():
        assert mine[name].keys() == label_sets.keys()
        for labels, value in label_sets.items():
            assert mine[name][labels] == float(value) or math.isnan(value)


@given(st.text(alphabet=st.sampled_from('vllm:generation_tokens_total{}="0123 .eE+-\n#<"\\ä'), max_size=120))
def test_no_text_raises_anything_but_its_own_error(text: str) -> None:
    with contextlib.suppress(DataError):
        parse(text)


@given(st.data())
def test_a_recorded_text_cut_off_anywhere_never_gives_another_value(data: st.DataObject) -> None:
    text = text_of("llamacpp/ngram-k3/metrics_after.txt")
    whole = parse(text).series
    place = data.draw(st.integers(1, len(text)))
    try:
        part = parse(text[:place]).series
    except DataError:
        return
    assert all(whole[name][labels] == value for name, sets in part.items() for labels, value in sets.items())


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
        ("what is this", "not Prometheus text"),
        ("# HELP only comments\n", "no sample"),
        (f"{TOKENS} 5", "breaks off"),
        (f'{TOKENS}{{e="0"}} 5\n{TOKENS}{{e="1"', "breaks off"),
        (f"{TOKENS} five\n", "line 1"),
        (f"x 1\n{TOKENS} 1_000\n", "line 2"),
        (f"{TOKENS} ٥\n", "line 1"),
        (f'{TOKENS}{{e="0"e="1"}} 5\n', "line 1"),
        (f'{TOKENS}{{e="0",e="1"}} 5\n', "line 1"),
        (f'{TOKENS}{{e="0}} 5\n', "line 1"),
        (f"{TOKENS}\n", "line 1"),
        (f'{TOKENS}{{e="{2_000_000 * chr(92)}"}} 5\n', "line 1"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.txt .*{told}"):
        parse(text)


def test_a_sample_that_stands_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r'generation_tokens_total\{e="0"\} twice'):
        parse(f'{TOKENS}{{e="0"}} 5\n{TOKENS}{{e="0"}} 6\n')


def test_numbers_of_any_length_are_read() -> None:
    assert parse(f"{TOKENS} {'9' * 5000}\n").series == {TOKENS: {frozenset(): math.inf}}


def test_a_server_that_never_ends_its_label_sets_is_refused() -> None:
    text = "".join(f'{TOKENS}{{e="{i}"}} 1\n' for i in range(100_001))
    with pytest.raises(DataError, match="more than 100000 samples"):
        parse(text)


@pytest.mark.parametrize("line", ["", "\n", "x" * 50, f"{TOKENS}{{", 'vllm:e2e_bucket{engine="0",le="1"} 1\n', "_"])
def test_two_megabytes_of_anything_take_little_time_and_memory(line: str) -> None:
    text = line * (2_000_000 // max(len(line), 1))
    tracemalloc.start()
    began = time.process_time()
    with contextlib.suppress(DataError):
        parse(text)
    # Fifty megabytes may take 5 s and 300 MB; tracing the memory takes most of this time.
    assert time.process_time() - began < 10
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()
