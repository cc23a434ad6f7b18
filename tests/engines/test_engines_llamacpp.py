"""llama.cpp's counters and timings on literal data."""

from typing import Any

import pytest
from server_recordings import codes, snapshot

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts
from nemo_skills_specdec.engines import llamacpp
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.errors import IdentityError

ON = ServerInfo(engine="llamacpp", base_url="", speculation="on")


def test_the_counters_of_the_fact_sheet_sample_give_its_length() -> None:
    p = "llamacpp:spec_decode_num_"
    text = f"{p}drafts_total 43\n{p}draft_tokens_total 209\n{p}accepted_tokens_total 127\n" + "".join(
        f'{p}accepted_tokens_per_pos_total{{position="{i}"}} {n}\n' for i, n in enumerate((29, 27, 24, 24, 23))
    )
    reading = read_window([snapshot("")], [snapshot(text)])
    assert reading.counts is not None
    assert reading.counts.accepted_per_position == (29, 27, 24, 24, 23)
    assert reading.acceptance_length == 1 + 127 / 43


def test_a_release_without_the_counters_gives_no_acceptance() -> None:
    reading = read_window([snapshot("")], [snapshot("llamacpp:tokens_predicted_total 5\n")])
    assert (reading.engine, reading.source, codes(reading)) == ("llamacpp", None, ["no_acceptance_metrics"])


def test_timings_give_tokens_but_no_steps() -> None:
    found = llamacpp.request_counts({"timings": {"draft_n": 9, "draft_n_accepted": 4, "predicted_n": 20}}, None)
    assert found == AcceptanceCounts(num_drafts=None, num_draft_tokens=9, num_accepted_tokens=4)
    assert (found.acceptance_rate, found.acceptance_length) == (4 / 9, None)


def test_timings_without_drafts_are_no_steps_where_the_server_speculates() -> None:
    assert llamacpp.request_counts({"timings": {"predicted_n": 20}}, ON) == NO_STEPS
    assert llamacpp.request_counts({"timings": {"predicted_n": 20}}, None) is None


@pytest.mark.parametrize("body", [{}, {"timings": None}, {"timings": {"draft_n": 9}, "choices": [{}, {}]}])
def test_an_answer_without_timings_of_its_own_gives_none(body: dict[str, Any]) -> None:
    assert llamacpp.request_counts(body, ON) is None


@pytest.mark.parametrize("timings", [{"draft_n": 3, "draft_n_accepted": 4}, {"draft_n": "many"}, {"draft_n": -1}])
def test_timings_that_contradict_themselves_are_refused(timings: dict[str, Any]) -> None:
    with pytest.raises(IdentityError):
        llamacpp.request_counts({"timings": timings}, None)
