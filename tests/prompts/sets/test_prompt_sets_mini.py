import hashlib
import json
import re
import unicodedata
from collections import Counter
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.rows import read_rows
from nemo_skills_specdec.prompts.sets.mini import load_mini
from nemo_skills_specdec.records import Message, PromptRow, prompt_sha256

ROWS = load_mini()
DATA = (files("nemo_skills_specdec.prompts.sets") / "data" / "mini.jsonl").read_bytes()

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.src_id)


def user_text(row: PromptRow) -> str:
    return "\n".join(message.content for message in row.messages)


def is_mostly_non_latin(text: str) -> bool:
    letters = [c for c in text if unicodedata.category(c).startswith("L")]
    return sum(unicodedata.name(c, "").startswith("LATIN") for c in letters) < len(letters) / 2


def test_there_are_ten_prompts_in_each_of_the_eleven_speed_bench_categories() -> None:
    assert Counter(row.category for row in ROWS) == {
        "coding": 10,
        "humanities": 10,
        "math": 10,
        "multilingual": 10,
        "qa": 10,
        "rag": 10,
        "reasoning": 10,
        "roleplay": 10,
        "stem": 10,
        "summarization": 10,
        "writing": 10,
    }


def test_rows_name_their_source_and_their_number_within_the_category() -> None:
    assert {row.source for row in ROWS} == {"nemo_skills_specdec/mini"}
    assert [row.src_id for row in ROWS[8:12]] == ["coding-9", "coding-10", "humanities-1", "humanities-2"]
    numbers = Counter[str]()
    for row in ROWS:
        numbers[row.category] += 1
        assert row.src_id == f"{row.category}-{numbers[row.category]}"


def test_question_ids_are_unique() -> None:
    assert len({row.question_id for row in ROWS}) == 110


@each_row
def test_a_question_id_is_the_first_half_of_the_hash_of_the_source_id(row: PromptRow) -> None:
    assert row.src_id is not None
    assert row.question_id == hashlib.sha256(row.src_id.encode()).hexdigest()[:32]


def test_no_two_turns_have_the_same_text() -> None:
    turns = [message.content for row in ROWS for message in row.messages]
    assert len(turns) == len(set(turns))


def test_about_three_rows_in_ten_have_several_turns_and_some_of_every_category() -> None:
    multiturn = [row for row in ROWS if row.multiturn]
    assert 27 <= len(multiturn) <= 38
    assert {row.category for row in multiturn} == {row.category for row in ROWS}


def test_the_small_config_is_the_first_four_of_each_category_and_does_not_change() -> None:
    small = load_mini("small")
    assert [row.src_id for row in small[:5]] == ["coding-1", "coding-2", "coding-3", "coding-4", "humanities-1"]
    hashes = "".join(f"{row.question_id} {prompt_sha256(row.messages)}\n" for row in small)
    assert (
        hashlib.sha256(hashes.encode()).hexdigest()
        == "e78e0d9fa1ef85196651a3e7b65d95f54c517afe0a29ab2bc5d7ea9166fe19c0"
    )
    assert small == [row for row in ROWS if int(str(row.src_id).split("-")[1]) <= 4]


def test_an_unknown_config_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="mini has no config 'tiny'; choose one of: full, small"):
        load_mini("tiny")


@each_row
def test_the_multiturn_mark_says_whether_there_are_two_or_three_turns(row: PromptRow) -> None:
    assert len(row.messages) in ((2, 3) if row.multiturn else (1,))


@each_row
def test_rows_hold_user_turns_only_and_none_is_blank_or_padded(row: PromptRow) -> None:
    assert {message.role for message in row.messages} == {"user"}
    assert all(message.content and message.content == message.content.strip() for message in row.messages)


@each_row
def test_a_conversation_fits_small_contexts(row: PromptRow) -> None:
    text = user_text(row)
    assert len(text.encode()) < (600 if is_mostly_non_latin(text) else 1800)
    assert len(text.split()) <= 400


def test_multilingual_prompts_use_several_scripts() -> None:
    text = "".join(user_text(row) for row in ROWS if row.category == "multilingual")
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()}
    assert scripts >= {"LATIN", "CJK", "HIRAGANA", "DEVANAGARI"}


@each_row
def test_no_placeholder_stands_in_a_prompt(row: PromptRow) -> None:
    text = user_text(row)
    found = re.search(
        r"FULL BENCHMARK DATA|lorem ipsum|\bTODO\b|\bTBD\b|\bXXX\b|\{\w+\}|\{\{|<[a-z_ ]+>", text, re.IGNORECASE
    )
    assert found is None


def test_the_file_is_utf_8_without_escapes_byte_order_mark_or_broken_characters() -> None:
    text = DATA.decode("utf-8")
    assert not text.startswith("\ufeff")
    assert "\ufffd" not in text
    assert "\\u" not in text
    assert "\r" not in text
    assert text == unicodedata.normalize("NFC", text)


def test_lines_have_the_keys_of_nemo_skills_in_their_order() -> None:
    keys = {tuple(json.loads(line)) for line in DATA.splitlines()}
    assert keys == {
        ("question_id", "category", "sub_category", "source", "src_id", "difficulty", "multiturn", "messages")
    }


def test_the_set_survives_writing_and_reading_as_a_prompt_file(tmp_path: Path) -> None:
    (tmp_path / "mini.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in ROWS))
    assert read_rows(tmp_path / "mini.jsonl").rows == ROWS


def test_changing_a_loaded_row_leaves_the_next_load_untouched() -> None:
    load_mini()[0].messages.append(Message("user", "and one more thing"))
    assert len(load_mini()[0].messages) == 1
