from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.rows import select
from nemo_skills_specdec.records import Message, PromptRow


def rows_of_categories(names: str) -> list[PromptRow]:
    return [
        PromptRow(question_id=f"{i}", category=name, messages=[Message("user", name)]) for i, name in enumerate(names)
    ]


def ids(rows: list[PromptRow]) -> str:
    return "".join(row.question_id for row in rows)


def test_rows_keep_their_order_whatever_is_asked_for() -> None:
    rows = rows_of_categories("abcabca")
    assert ids(select(rows)) == "0123456"
    assert ids(select(rows, categories=["c", "a"])) == "02356"
    assert ids(select(rows, limit_per_category=1)) == "012"
    assert ids(select(rows, categories=["a"], limit_per_category=2)) == "03"


def test_few_prompts_are_taken_in_turn_from_the_categories() -> None:
    rows = rows_of_categories("aaaabc")
    assert ids(select(rows, num_prompts=4)) == "0145"
    assert ids(select(rows, num_prompts=99)) == "012345"


def test_an_unknown_category_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no category x, z in mine; there are a, b"):
        select(rows_of_categories("ab"), categories=["z", "x", "a"], name="mine")


@given(st.text("abc", max_size=30), st.integers(1, 5) | st.none(), st.integers(1, 12) | st.none())
def test_no_limit_is_exceeded_and_nothing_is_wasted(names: str, limit: int | None, number: int | None) -> None:
    rows = rows_of_categories(names)
    kept = select(rows, limit_per_category=limit, num_prompts=number)
    there = sum(min(names.count(name), limit if limit is not None else 99) for name in "abc")
    assert len(kept) == (there if number is None else min(there, number))
    if limit is not None:
        assert all(sum(row.category == name for row in kept) <= limit for name in "abc")
