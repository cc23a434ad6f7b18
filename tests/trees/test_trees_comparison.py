"""Trees side by side."""

import json

import pytest
from trees_rates import RATES

from nemo_skills_specdec.embedded.draft_tree import DraftTree, chain, parse_tree
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.trees.comparison import compare_trees, named_tree


def test_a_named_tree_has_the_name_in_its_file_or_that_of_the_file(tmp_path):
    named, plain = tmp_path / "a.json", tmp_path / "plain.txt"
    named.write_text(json.dumps({"name": "mine", "nodes": [[0], [1]]}))
    plain.write_text("[(0,), (0, 0)]")
    assert named_tree(named) == ("mine", DraftTree((0, 0)))
    assert named_tree(plain) == ("plain", chain(2))
    plain.write_text("[[0, 1]]")
    with pytest.raises(UsageError, match=r"plain\.txt"):
        named_tree(plain)


def test_trees_are_compared_with_the_chain_of_as_many_levels_and_with_named_ones():
    report = compare_trees(RATES, sizes=[4, 6], levels=3, others={"mine": parse_tree("3")}, steps=1000)
    assert [tree.name for tree in report.trees] == ["best-4", "best-6", "chain-3", "mine"]
    assert report.trees[0].expected_acceptance_length >= report.trees[2].expected_acceptance_length
    assert report.trees[3].expected_acceptance_length == pytest.approx(1.8)
    assert all(tree.prediction is None for tree in report.trees)
    assert "tree_ranks_missing" in {finding.code for finding in report.findings}


def test_levels_below_the_measured_ones_are_named_as_extrapolated():
    report = compare_trees(RATES, sizes=[9], levels=9, others={}, steps=100)
    finding = next(f for f in report.findings if f.code == "tree_levels_extrapolated")
    assert finding.numbers["known"] == 3


def test_a_tree_that_has_no_use_for_all_its_nodes_is_named():
    report = compare_trees(RATES, sizes=[3, 40], levels=2, others={}, steps=100)
    finding = next(f for f in report.findings if f.code == "tree_smaller_than_asked")
    assert "(best-40 has 6 nodes)" in finding.message
