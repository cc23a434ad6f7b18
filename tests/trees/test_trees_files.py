"""Files with trees and rates: whatever they hold, they are read or refused in one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.errors import DataError, SpecdecError, UsageError
from nemo_skills_specdec.trees.comparison import named_tree
from nemo_skills_specdec.trees.rank_rates import read_rank_rates

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"nodes":' * 50_000,
        DIGITS,
        f"{DIGITS}x2",
        f"[[{DIGITS}]]",
        "[[" + "0," * 100_000 + "0]]",
        "(" * 100_000,
        "NaN",
        "null",
        "[[0.5]]",
        "x1" * 70,
    ],
    ids=range(11),
)
def test_a_file_that_holds_no_tree_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "tree.json"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        named_tree(path)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "rates.json"
    path.write_bytes(b'{"source": "m\xff", "rates": [[0.5]]}')
    with pytest.raises(DataError, match="not JSON"):
        read_rank_rates(path)
    with pytest.raises(DataError, match="cannot read"):
        named_tree(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"rates": ' + "[" * 100_000, "not JSON"),
        ('{"rates": [[1e999]]}', "rates.json"),
        ('{"rates": [[NaN]]}', "not JSON"),
        ('{"offered": [[5]], "accepted": [[10]]}', "at most what was offered"),
        ('{"offered": [[5, 5]], "accepted": [[5, 5]]}', "each step at most one rank"),
        ('{"offered": [[-5]], "accepted": [[-1]]}', "at most what was offered"),
        ('{"offered": 5, "accepted": {}}', "rates.json"),
    ],
    ids=range(7),
)
def test_a_file_whose_rates_cannot_be_is_refused_with_the_reason(tmp_path, text, words):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_rank_rates(path)


WORDS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    '"rates"',
    '"offered"',
    '"accepted"',
    '"nodes"',
    '"name"',
    ":",
    "0",
    "1",
    "0.5",
    "-1",
    "1e9",
    "(",
    ")",
    "x",
    "null",
    '"\\ud800"',
    "2x2",
    "[[0]]",
    '"after"',
    "[[0.5,0.1]]",
]
PIECES = st.sampled_from(WORDS)


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=16).map("".join) | st.text(max_size=20))
def test_any_text_is_a_tree_or_rates_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("files") / "any.json"
    path.write_text(text, errors="replace")
    for read in (named_tree, read_rank_rates):
        try:
            read(path)
        except SpecdecError as error:
            assert "\n" not in str(error)  # noqa: PT017  (some texts are trees)


def test_a_name_from_a_file_is_shown_as_it_is_and_not_obeyed(tmp_path, capsys):
    from nemo_skills_specdec.cli.tree import tree

    rates, other = tmp_path / "rates.json", tmp_path / "other.json"
    rates.write_text('{"rates": [[0.5, 0.1]], "source": "[/red] mine"}')
    other.write_text('{"name": "[/bold]\\u001b]0;x", "nodes": [[0]]}')
    tree(rates=rates, compare=[other], nodes="2", levels=2, steps=100)
    shown = capsys.readouterr().out
    assert "[/red] mine" in shown
    assert "[/bold]]0;x" in shown
    assert "\x1b" not in shown
