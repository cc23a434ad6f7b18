import hashlib

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.records import (
    Acceptance,
    Finding,
    Message,
    acceptance_of,
    prompt_sha256,
    turn_ends,
)


def message(role, content="x"):
    return Message(role, content)


def test_a_turn_is_a_message_that_nobody_has_answered_yet():
    roles = ("system", "user", "assistant", "user", "user", "assistant", "tool", "tool", "user")
    assert turn_ends([message(role) for role in roles]) == [3, 7, 8]


def test_nothing_is_to_be_answered_in_an_answered_conversation():
    assert turn_ends([message("user"), message("assistant")]) == []
    assert turn_ends([]) == []


def test_equal_messages_have_one_hash_and_whatever_differs_changes_it():
    plain = prompt_sha256([Message("user", "hi")])
    assert plain == hashlib.sha256(b'[["user","hi"]]').hexdigest()
    others = [
        Message("system", "hi"),
        Message("user", "hi "),
        Message("user", "hi", name="ann"),
        Message("user", "", token_ids=(1, 2)),
        Message("user", "", token_ids=(1, 3)),
    ]
    assert len({plain, *(prompt_sha256([other]) for other in others)}) == 6


def test_the_json_of_a_result_is_the_documented_one():
    counts = AcceptanceCounts(
        num_drafts=10, num_draft_tokens=30, num_accepted_tokens=7, accepted_per_position=(7, 0, 0)
    )
    finding = Finding(code="few_prompts", severity="warning", message="m")
    result = msgspec.json.decode(msgspec.json.encode(acceptance_of(counts, "counters", findings=[finding])))
    assert result["source"] == "counters"
    assert result["accepted_per_position"] == [7, 0, 0]
    assert result["acceptance_length"] == 1.7
    assert result["conditional_acceptance_rates"] == [0.7, 0.0, None]
    assert result["findings"] == [{"code": "few_prompts", "severity": "warning", "message": "m", "numbers": {}}]


def test_unknown_values_are_null_and_never_zero():
    result = msgspec.json.decode(msgspec.json.encode(Acceptance(source=None)))
    assert {key for key, value in result.items() if value is not None} == {"findings"}
