import pytest

from nemo_skills_specdec.plural import number_of, rows_and_turns


@pytest.mark.parametrize(
    ("what", "one", "three"),
    [
        ("", "1 row", "3 rows"),
        ("are missing", "1 row is missing", "3 rows are missing"),
        ("have no id", "1 row has no id", "3 rows have no id"),
        ("were left out", "1 row was left out", "3 rows were left out"),
        ("carry nothing", "1 row carries nothing", "3 rows carry nothing"),
        ("differ", "1 row differs", "3 rows differ"),
        ("ended early", "1 row ended early", "3 rows ended early"),
    ],
)
def test_a_verb_goes_with_its_number(what, one, three):
    assert (number_of(1, "row", what), number_of(3, "row", what)) == (one, three)


def test_rows_and_turns_are_named_each_in_its_number():
    assert rows_and_turns(1, 2) == "1 row, 2 turns"
