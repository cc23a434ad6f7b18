"""Each rule on a record small enough to write the expected prompt down; wording as in the invented upstream file."""

from __future__ import annotations

from typing import Any

import pytest
from invented import UPSTREAM_FILE, WordEncoder

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.speed_bench.own_texts import OWN_TEXTS
from nemo_skills_specdec.prompts.speed_bench.rules import Rules
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, number_at, numbers_in, token_budget
from nemo_skills_specdec.prompts.speed_bench.sources import source_of
from nemo_skills_specdec.prompts.speed_bench.sources.adaleval import selection, sorting
from nemo_skills_specdec.prompts.speed_bench.sources.hle import demonstration, halves, with_examples
from nemo_skills_specdec.prompts.speed_bench.sources.hub_tables import conversation, questions
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import dialogues
from nemo_skills_specdec.prompts.speed_bench.sources.roleplay import dialogue, names_in_order, scene
from nemo_skills_specdec.prompts.speed_bench.templates import filled
from nemo_skills_specdec.prompts.speed_bench.texts import read_texts
from nemo_skills_specdec.prompts.speed_bench.tokens import fitted

TEXTS = read_texts(UPSTREAM_FILE, "invented")


def row(source: str = "x", src_id: str = "a_1", turns: int = 1, template: str | None = None) -> RawRow:
    first = "FULL BENCHMARK DATA" + ("" if template is None else "\n\n" + template)
    return RawRow(
        question_id="0" * 32,
        category="c",
        turns=[first, *["FULL BENCHMARK DATA"] * (turns - 1)],
        source=source,
        src_id=src_id,
    )


# FIT: a text cut or filled to a number of tokens. The tokenizer's tokens are words and blanks.


@pytest.mark.parametrize(
    ("count", "expected"),
    # At 9 the joint costs a token, as upstream's arithmetic has it: padding is counted before it is joined.
    [(3, "a b"), (1, "a"), (2, "a "), (5, "a bthat is"), (9, "a bthat is all "), (10, "a bthat is all that ")],
)
def test_a_text_is_cut_or_filled_to_a_number_of_tokens(count: int, expected: str) -> None:
    assert fitted(WordEncoder(), "a b", count, "that is all ") == expected


def test_a_text_of_the_right_length_is_left_alone() -> None:
    class Lossy(WordEncoder):
        def decode(self, tokens: Any) -> str:
            return "changed"

    assert fitted(Lossy(), "a b", 3, "pad ") == "a b"


# W: BAMBOO


def test_dialogues_are_numbered_and_framed() -> None:
    assert dialogues(["hi", "there"], TEXTS) == "WRITE\nBEGIN 1: hi END\n\nBEGIN 2: there END\nDONE"


# T: textsort


def test_the_first_old_instruction_is_exchanged() -> None:
    assert sorting("OLD ORDER x OLD ORDER", TEXTS) == "NEW ORDER x OLD ORDER"


def test_without_the_old_instruction_nothing_is_exchanged() -> None:
    assert sorting("x", TEXTS) == "x"


def test_our_own_instruction_goes_before_the_text() -> None:
    assert sorting("x", OWN_TEXTS) == OWN_TEXTS.ts_new + "x"


# S: stackselect. Head "PICK\nASKED:\nq\n\nANSWERS:\n" has 8 tokens, the tail 5, "A4:\n\nd\n\n" 4: 17 in all.

HEAD, TAIL = "PICK\nASKED:\nq\n\nANSWERS:\n", "NOW SAY WHICH"


def selected(answers: list[str], right: str, budget: int, flavor: str) -> str:
    return selection("q", answers, right, budget, WordEncoder(), TEXTS, flavor)  # type: ignore[arg-type]


def test_answers_are_shuffled_and_numbered_anew() -> None:
    expected = HEAD + "A1:\n\nc\n\nA2:\n\nb\n\nA3:\n\nd\n\nA4:\n\na\n\n" + TAIL
    assert selected(["a", "b", "c", "d"], "A2", 1000, "nemo-skills") == expected
    assert selected(["a", "b", "c", "d"], "A2", 1000, "specdec_bench") == expected


def test_answers_are_measured_one_by_one_and_not_added_up() -> None:
    # Each answer alone fits beside the right one (17 + 4 = 21), though all together would not.
    expected = HEAD + "A1:\n\nc\n\nA2:\n\nb\n\nA3:\n\nd\n\nA4:\n\na\n\n" + TAIL
    assert selected(["a", "b", "c", "d"], "A2", 21, "specdec_bench") == expected


def test_a_right_answer_beyond_the_others_goes_first() -> None:
    assert selected(["a", "b", "c"], "A3", 1000, "specdec_bench") == (
        HEAD + "A1:\n\na\n\nA2:\n\nc\n\nA3:\n\nb\n\n" + TAIL
    )


def test_upstream_puts_that_right_answer_before_each_of_the_others() -> None:
    assert selected(["a", "b", "c"], "A3", 1000, "nemo-skills") == HEAD + "A1:\n\ncb\n\nA2:\n\nca\n\n" + TAIL


def test_where_nothing_fits_the_first_answer_is_taken_beside_the_right_one() -> None:
    assert selected(["a", "b", "c"], "A2", 5, "specdec_bench") == HEAD + "A1:\n\na\n\nA2:\n\nb\n\n" + TAIL


@pytest.mark.parametrize("right", ["A9", "the first"])
def test_a_right_answer_that_is_none_is_refused(right: str) -> None:
    with pytest.raises(DataError, match="was the source changed"):
        selected(["a", "b"], right, 100, "nemo-skills")


# H: HLE in throughput configs. default_rng(42).permutation(7) is 3 2 6 4 1 5 0: the first four are asked.

EXAM = [{"id": f"i{n}", "question": f"q{n}", "rationale": f"r{n}", "category": "AB"[n % 2]} for n in range(7)]


def test_half_the_questions_are_asked_and_the_others_without_image_are_examples() -> None:
    examples, asked = halves(EXAM, [True, True, True, True, True, False, True])
    assert list(asked) == ["i3", "i2", "i6", "i4"]
    assert {key: [record["id"] for record in pool] for key, pool in examples.items()} == {"B": ["i1"], "A": ["i0"]}


def test_examples_keep_the_order_of_the_lot() -> None:
    examples, _ = halves(EXAM, [True] * 7)
    assert [record["id"] for record in examples["B"]] == ["i1", "i5"]


def test_a_demonstration_is_question_and_rationale() -> None:
    assert demonstration(EXAM[2], TEXTS) == "Que: q2 Ans: r2 | "


def test_the_prompt_has_one_token_more_than_the_budget() -> None:
    encoder = WordEncoder()
    drawn = iter([encoder.encode("one two "), encoder.encode("three four ")])
    prompt = with_examples(encoder.encode("head "), encoder.encode("ask?"), 6, lambda: next(drawn), encoder)
    assert prompt == "head one two ask?"
    assert len(encoder.encode(prompt)) == 7


def test_a_question_that_fills_the_budget_gets_no_example() -> None:
    encoder = WordEncoder()

    def draw() -> list[int]:
        raise AssertionError("nothing may be drawn")

    assert with_examples(encoder.encode("a b "), encoder.encode("c d"), 7, draw, encoder) == "a b c d"


# R: ChatRAG


def test_a_conversation_begins_with_its_passages() -> None:
    record = {
        "messages": [
            {"role": "user", "content": "why?"},
            {"role": "assistant", "content": "so"},
            {"role": "user", "content": "and {x}?"},
        ],
        "ctxs": [{"text": "one {y}"}, {"text": "two"}],
    }
    assert conversation(record, TEXTS) == ["READ one {y}\n\ntwo ANSWER why?", "and {x}?"]


# M: MMLU-Pro


def test_questions_follow_each_other_and_the_first_says_what_to_do() -> None:
    records = [{"question": "1?", "options": ["x", "y"]}, {"question": "2?", "options": ["z"]}]
    assert questions(records, "law", TEXTS) == ["ABOUT law: Q 1? O <A> x\n<B> y E", "Q 2? O <A> z E"]


# P: RoleBench


def test_later_questions_no_longer_address_the_role() -> None:
    records = [{"role": "Ada", "question": q} for q in ("Ada, 0?", "Ada, 1?", " Ada, 2?", "3, Ada, ?", "Ada, Ada, 4?")]
    made = dialogue(row(template="Be {role_name}: {role_description_and_catchphrases}"), records, {"Ada": "{d}"})
    assert made == ["Be Ada: {d}\nAda, 0?", "1?", " 2?", "3, Ada, ?", "Ada, 4?"]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(DataError, match="describes no role 'Bob'"):
        dialogue(row(template="x"), [{"role": "Bob", "question": "?"}], {})


# C: CoSER. default_rng(12347).integers(0, n) is 0, 1, 1, 2 for n of 1, 2, 3, 4.

SCENE = {
    "book": "B",
    "scenario": "S",
    "major_characters": ["Cy", "Al"],
    "key_characters": [{"name": "Al", "motivation": "m1"}, {"name": "Al", "motivation": "m2"}],
    "character_profiles": {"Di": "d", "Al": "a", "No": None, "Cy": "c"},
}


def test_a_scene_is_played_by_the_character_drawn() -> None:
    assert scene(SCENE, TEXTS, None) == "BE Al IN B; YOU a; NOW S; OTHERS [Di: d\n\nCy: c]; WHY m1"


def test_profiles_in_the_order_of_the_whole_file() -> None:
    order = names_in_order([{"character_profiles": {"Cy": "", "Zz": ""}}, SCENE])
    assert order == ["Cy", "Zz", "Di", "Al", "No"]
    assert scene(SCENE, TEXTS, order) == "BE Al IN B; YOU a; NOW S; OTHERS [Cy: c\n\nDi: d]; WHY m1"


def test_a_character_without_motivation_is_said_to_have_none() -> None:
    assert scene({**SCENE, "key_characters": []}, TEXTS, None).endswith("WHY NO REASON")


# Templates and keys


def test_a_template_may_use_keys() -> None:
    assert filled("{question[de]} {{x}}", question={"de": "ü"}) == "ü {x}"


def test_a_bare_field_prints_the_whole_value() -> None:
    assert filled("{question}", question={"de": "a", "en": "b"}) == "{'de': 'a', 'en': 'b'}"


@pytest.mark.parametrize("template", ["{q.__class__}", "{q[__class__]}", "{other}", "{}", "{q", "{q[fr]}"])
def test_a_template_can_reach_nothing_else(template: str) -> None:
    with pytest.raises(DataError, match="template"):
        filled(template, q={"de": "x"})


def test_budgets_are_thousands_and_not_kibi() -> None:
    assert [token_budget(c) for c in ("qualitative", "throughput_1k", "throughput_32k")] == [None, 1000, 32000]


def test_numbers_are_read_from_keys() -> None:
    assert numbers_in(row(src_id="bamboo_12_7_x")) == [12, 7]
    assert number_at(row(src_id="chat_rag_3"), -1) == 3


@pytest.mark.parametrize("src_id", ["bamboo", "a-1", "a_x"])
def test_a_key_of_another_form_is_refused_with_advice(src_id: str) -> None:
    with pytest.raises(DataError, match=r"a form that is not known; .*use --revision 487aa718"):
        numbers_in(row(src_id=src_id))


@pytest.mark.parametrize(
    ("source", "marker"),
    [
        ("https://raw.githubusercontent.com/RUCAIBox/BAMBOO/main/a.jsonl", "RUCAIBox/BAMBOO"),
        ("abisee/cnn_dailymail", "abisee/cnn_dailymail"),
        ("https://huggingface.co/datasets/cais/hle", "cais/hle"),
        ("opencompass/AdaLEval/textsort/x", "AdaLEval/textsort"),
        ("RUCAIBox/BAMBOO and cais/hle", "RUCAIBox/BAMBOO"),
    ],
)
def test_the_first_marker_that_fits_names_the_source(source: str, marker: str) -> None:
    assert source_of(row(source=source)).marker == marker


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(DataError, match="is masked and its source 'cais/HLE' is of no known kind"):
        source_of(row(source="cais/HLE"))


def test_a_throughput_source_in_a_qualitative_config_is_refused() -> None:
    rules = Rules(texts=TEXTS, flavor="nemo-skills", coser_order="row")
    with pytest.raises(DataError, match="only throughput configs give"):
        rules.measure(row())


def test_a_masked_row_without_its_template_is_refused() -> None:
    with pytest.raises(DataError, match="holds no template after its placeholder"):
        _ = row().template
