"""What is asked of an engine's own reader for one answer, and what becomes of it."""

from types import SimpleNamespace

import pytest

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.errors import IdentityError
from nemo_skills_specdec.measurement.request_statistics import (
    contradictions,
    count_answer,
    per_request_counts,
    request_extras,
)
from nemo_skills_specdec.records import Finding, RequestRecord

WHOLE = counts_from_histogram((5, 3, 2), num_draft_tokens=20)
STEPLESS = AcceptanceCounts(num_drafts=None, num_draft_tokens=20, num_accepted_tokens=7)
SERVER = ServerInfo(engine="vllm", base_url="http://a")


@pytest.fixture
def reader(monkeypatch):
    """A reader of which a test sets the answers; it keeps what it was asked."""
    asked = []
    made = SimpleNamespace(asked=asked, counts=WHOLE, streamed=None, steps=None)
    made.request_counts = lambda response, info: asked.append((response, info)) or made.counts
    made.stream_counts = lambda frames: asked.append(frames) or made.streamed
    made.request_steps = lambda response: made.steps
    made.request_extras = lambda *, stream, info: {"stream": stream, "url": info.base_url}
    monkeypatch.setitem(ENGINES, "vllm", made)
    return made


def counted(frames=()):
    record = RequestRecord(question_id="a", category="c", turn=0)
    return record, count_answer(record, {"id": "r"}, SERVER, frames)


def test_the_engine_is_asked_with_the_answer_and_what_is_known_of_the_server(reader):
    record, problem = counted(frames=[b"chunk"])
    assert (record.counts, record.counts_source, problem) == (WHOLE, "response", None)
    assert reader.asked == [({"id": "r"}, SERVER)]


def test_chunks_tell_the_steps_where_the_answer_does_not(reader):
    reader.counts, reader.streamed = STEPLESS, WHOLE
    assert counted(frames=[b"chunk"])[0].counts == WHOLE
    assert reader.asked[1] == [b"chunk"]


def test_what_chunks_do_not_tell_leaves_the_answers_own_counts(reader):
    reader.counts = STEPLESS
    assert counted(frames=[b"chunk"])[0].counts == STEPLESS


def test_an_answer_without_statistics_has_no_source_and_its_chunks_are_not_asked(reader):
    reader.counts = None
    record, _ = counted(frames=[b"chunk"])
    assert (record.counts, record.counts_source) == (None, None)
    assert len(reader.asked) == 1


def test_a_contradiction_is_told_in_its_own_words(reader):
    def refuse(response, info):
        raise IdentityError("A > T")

    reader.request_counts = refuse
    assert counted()[1] == "A > T"


def test_the_engine_says_what_a_request_must_ask_for(reader):
    assert request_extras(SERVER, stream=True) == {"stream": True, "url": "http://a"}
    assert request_extras(SERVER, stream=False) == {"stream": False, "url": "http://a"}


def test_an_unknown_engine_is_asked_for_nothing():
    assert request_extras(ServerInfo(engine=None, base_url="http://a"), stream=True) == {}


def test_contradictions_are_told_in_full():
    assert contradictions(["A > T"]) == [
        Finding(
            code="identity_broken",
            severity="invalid",
            message="1 answer carries statistics that contradict themselves, e.g. A > T, so no rate is computed from "
            "them.",
            numbers={"answers": 1},
        )
    ]


def test_the_sum_over_no_answer_is_unknown():
    assert per_request_counts([RequestRecord(question_id="a", category="c", turn=0)]) is None
