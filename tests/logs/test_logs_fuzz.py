"""No text makes the reading of a log fail, last long, or give figures that cannot be."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.logs.analysis import analyse_log
from nemo_skills_specdec.logs.figures import log_acceptance
from nemo_skills_specdec.logs.vllm_log import read_vllm_log

NUMBERS = st.sampled_from(
    ["0", "1", "3", "600", "1200", "10" * 7, "9" * 15, "9" * 16, "9" * 5000, "-1", "nan", "1.5", "٣"]
)
RATES = st.lists(st.sampled_from(["0.000", "0.001", "0.500", "0.750", "1.000", "9.999"]), max_size=6).map(", ".join)
LENGTHS = st.sampled_from(["1.00", "1.01", "2.00", "2.50", "0.00", "9999999.00", "999999.00", "nan"])
PIECES = st.one_of(
    st.builds("Mean acceptance length: {}, ".format, LENGTHS),
    st.builds("Accepted: {} tokens, ".format, NUMBERS),
    st.builds("Drafted: {} tokens, ".format, NUMBERS),
    st.builds("Per-position acceptance rate: {}, ".format, RATES),
    st.builds("Avg Draft acceptance rate: {}%".format, st.sampled_from(["50.0", "0.0", "100.0", "nan", "1e9"])),
    st.builds("[repeated {}x across cluster]".format, NUMBERS),
    st.sampled_from(
        ["SpecDecoding metrics: ", "\n", "\r\n", "INFO 11-22 19:16:20 ", "(APIServer pid=1) ", "==> a <==\n"]
    ),
    st.sampled_from(
        ["INFO 99-99 99:99:99 ", "12-31 23:59:59", "\x1b[31m", "\x00", "\ud800", "{", '"pod": "x", ', "Engine 000:"]
    ),
    st.text(max_size=8),
)


@st.composite
def damaged(draw):
    """Whole records of possible counts, with pieces cut out, put in and changed."""
    drafts, rates = draw(st.integers(1, 10**6)), draw(st.lists(st.floats(0, 1), min_size=1, max_size=6))
    per_position = [int(drafts * rate) for rate in sorted(rates, reverse=True)]
    drafted, accepted = drafts * len(rates), sum(per_position)
    text = (
        f"INFO 11-22 19:16:20 SpecDecoding metrics: Mean acceptance length: {1 + accepted / drafts:.2f}, Accepted: "
        f"{accepted} tokens, Drafted: {drafted} tokens, Per-position acceptance rate: "
        f"{', '.join(f'{count / drafts:.3f}' for count in per_position)}, Avg Draft acceptance rate: "
        f"{100 * accepted / drafted:.1f}%\n"
    ) * 2
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PIECES | st.just("")) + text[at + draw(st.integers(0, 3)) :]
    return text


@settings(max_examples=400)
@given(damaged() | st.lists(PIECES, max_size=30).map("".join))
@example("SpecDecoding metrics: Accepted: 5 tokens, Drafted: 999999999999999 tokens, Draft acceptance rate: 0.0%")
def test_any_text_is_read_and_its_figures_are_possible(text):
    acceptance, _ = log_acceptance(read_vllm_log(text).intervals)
    assert acceptance.num_accepted_tokens <= acceptance.num_draft_tokens
    if acceptance.acceptance_length is not None:
        bounds = acceptance.acceptance_length_bounds
        assert 1 <= bounds.low <= bounds.high
        assert all(0 <= rate <= 1 for rate in acceptance.per_position_acceptance_rates)
        assert acceptance.num_drafts_bounds[1] <= acceptance.num_draft_tokens


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_file_is_analysed_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "server.log"
    path.write_bytes(data)
    with pytest.raises((DataError, UsageError)) as error:
        analyse_log(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "SpecDecoding metrics: Mean acceptance length: 1.00, Accepted: 1 tokens, Drafted: 999999999999999 tokens, "
        "Per-position acceptance rate: 0.000, 0.000, Avg Draft acceptance rate: 0.0%",
        "SpecDecoding metrics: Mean acceptance length: 1.00, Accepted: 0 tokens, Drafted: 999999999999999 tokens, "
        "Per-position acceptance rate: 0.000, 0.000, Avg Draft acceptance rate: 0.0%",
        "SpecDecoding metrics: " * 100_000,
        '{"pod": "a"}' + "SpecDecoding metrics: " * 20_000,
        "SpecDecoding metrics: Per-position acceptance rate: " + "0.500, " * 100_000,
        "(" * 200_000 + " SpecDecoding metrics: x",
        "(pid=1) " * 50_000 + " SpecDecoding metrics: x",
        "1.234567 " * 50_000 + " SpecDecoding metrics: x",
        "\x1b" * 200_000,
    ],
    ids=range(9),
)
def test_hostile_text_costs_seconds_at_most(text):
    started = time.monotonic()
    log_acceptance(read_vllm_log(text).intervals)
    assert time.monotonic() - started < 20
