import json

import pytest
from embedded_helpers import write_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.embedded.tokenizer import IncrementalDetokenizer, Tokenizer
from nemo_skills_specdec.errors import DataError, UsageError

BYTES = [bytes([number]) for number in range(256)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer(folder, size=320)


def pushed(text: str | bytes, stop: list[str]) -> tuple[list[str], str | None]:
    """Pushes byte by byte; returns what came out and what stopped it."""
    growing = IncrementalDetokenizer(BYTES, stop)
    pieces = []
    for byte in text.encode() if isinstance(text, str) else text:
        pieces.append(growing.push([byte]))
        if growing.stopped_by is not None:
            break
    pieces.append(growing.finish())
    return pieces, growing.stopped_by


@given(st.text())
def test_encoding_and_decoding_returns_the_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_read_in_prompts_and_are_no_text_in_answers(tokenizer):
    assert tokenizer.encode("<|bos|>x")[0] == 0
    assert tokenizer.decode([0, *tokenizer.encode("x"), 1]) == "x"


@given(st.text(), st.integers(1, 5))
def test_pieces_join_to_the_text_however_bytes_are_cut(text, size):
    growing = IncrementalDetokenizer(BYTES, [])
    data = text.encode()
    pieces = [growing.push(list(data[i : i + size])) for i in range(0, len(data), size)]
    assert "".join([*pieces, growing.finish()]) == text


def test_a_character_appears_only_when_its_last_byte_is_there():
    assert pushed("aé", [])[0] == ["a", "", "é", ""]


def test_an_unfinished_character_at_the_end_becomes_a_replacement_sign():
    assert pushed("é".encode()[:1], [])[0] == ["", "\ufffd"]


def test_a_stop_string_ends_the_text_before_itself():
    pieces, stopped = pushed("one two three", ["two"])
    assert "".join(pieces) == "one "
    assert stopped == "two"


def test_what_may_become_a_stop_string_is_held_back_and_released_when_it_does_not():
    pieces, stopped = pushed("a<en<end>", ["<end>"])
    assert pieces == ["a", "", "", "", "<en", "", "", "", "", ""][: len(pieces)]
    assert stopped == "<end>"


def test_held_back_text_is_released_at_the_end():
    pieces, stopped = pushed("ab<e", ["<end>"])
    assert "".join(pieces) == "ab<e"
    assert stopped is None


def test_the_earliest_of_several_stop_strings_counts():
    assert pushed("xaby", ["by", "ab"]) == (["x", "", "", ""], "ab")


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3))
def test_streamed_text_never_contains_a_stop_string(text, stop):
    pieces, stopped = pushed(text, stop)
    result = "".join(pieces)
    assert not any(item in result for item in stop)
    assert text.startswith(result)
    assert (stopped is None) == (not any(item in text for item in stop))


def test_without_a_template_contents_stand_on_lines_of_their_own(tokenizer):
    assert tokenizer.chat([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "a\nb\n"


def test_the_chat_template_is_rendered_with_roles_and_the_generation_prompt(tmp_path):
    write_tokenizer(
        tmp_path,
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}{% if shout is defined %}{{ shout }}{% endif %}",
    )
    tokenizer = Tokenizer(tmp_path, size=320)
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.chat(messages) == "<|bos|><user>hi<assistant>"
    assert tokenizer.chat(messages, shout="!") == "<|bos|><user>hi<assistant>!"


def test_a_template_that_refuses_the_messages_gives_a_usage_error(tmp_path):
    write_tokenizer(tmp_path, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(UsageError, match="roles must alternate"):
        Tokenizer(tmp_path, size=320).chat([{"role": "user", "content": "hi"}])


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(DataError, match=r"tokenizer.json is missing"):
        Tokenizer(tmp_path, size=320)


def test_a_tokenizer_that_is_not_byte_level_is_refused(tmp_path):
    write_tokenizer(tmp_path)
    layout = json.loads((tmp_path / "tokenizer.json").read_text())
    layout["decoder"] = {"type": "BPEDecoder", "suffix": "</w>"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout))
    with pytest.raises(DataError, match="byte-level"):
        Tokenizer(tmp_path, size=320)


def test_a_tokenizer_larger_than_the_model_is_refused_and_a_smaller_one_is_padded(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(DataError, match="has 320 tokens, the model knows 300"):
        Tokenizer(tmp_path, size=300)
    assert Tokenizer(tmp_path, size=384).decode([*Tokenizer(tmp_path, size=384).encode("ab"), 350]) == "ab"


def test_a_broken_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        Tokenizer(tmp_path, size=320)
