"""The best tree of all, and what engines are told of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees_rates import RATES, SMALL, tables

from nemo_skills_specdec.embedded.draft_tree import chain, parse_tree
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.trees.best_tree import best_tree, engine_arguments
from nemo_skills_specdec.trees.rank_rates import (
    RankRates,
    expected_length,
)


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from(sorted(SMALL)))
def test_no_tree_of_as_many_nodes_has_a_larger_expectation_than_the_best_one(rates, nodes):
    if rates.rates[0][0] == 0:
        return
    found = best_tree(rates, nodes=nodes, levels=3)
    assert found.size <= nodes
    assert found.depth <= 3
    largest = max(expected_length(tree, rates) for tree in SMALL[nodes])
    assert expected_length(found, rates) == pytest.approx(largest)


def test_there_are_as_many_trees_to_compare_with_as_counting_says():
    # Ordered trees with n edges are Catalan numbers; height at most 3 and breadth at most 3 leave these.
    assert [len(SMALL[n]) for n in (1, 2, 3)] == [1, 2, 5]
    assert len(SMALL[4]) == 14 - 1 - 1  # without the chain of 4 and without the node of 4 children


@pytest.mark.parametrize("nodes", [12, 63, 512])
def test_trees_grow_with_their_nodes_and_keep_to_their_levels(nodes):
    rates = RankRates(rates=((0.6, 0.15, 0.08, 0.05), (0.75, 0.1, 0.04)))
    tree = best_tree(rates, nodes=nodes, levels=24)
    assert (tree.size, tree.depth <= 24) == (nodes, True)
    smaller = best_tree(rates, nodes=nodes - 1, levels=24)
    assert set(smaller.paths) < set(tree.paths)
    assert expected_length(tree, rates) > expected_length(smaller, rates) > expected_length(chain(11), rates)


def test_a_tree_ends_where_nothing_more_can_be_accepted():
    assert best_tree(RankRates(rates=((0.5, 0.0), (0.0,))), nodes=9, levels=9) == chain(1)
    with pytest.raises(UsageError, match="never accepted"):
        best_tree(RankRates(rates=((0.0,),)), nodes=9, levels=9)


@pytest.mark.parametrize("size", [{"nodes": 0, "levels": 2}, {"nodes": 2000, "levels": 2}, {"nodes": 2, "levels": 0}])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(UsageError, match="nodes must be"):
        best_tree(RATES, **size)


def test_the_arguments_of_sglang_count_the_root():
    arguments = engine_arguments(parse_tree("[[0],[1],[2],[0,0]]"))
    assert arguments["sglang"].startswith(
        "--speculative-num-steps 2 --speculative-eagle-topk 3 --speculative-num-draft-tokens 5 "
    )
    assert "grows a new tree in every step" in arguments["sglang"]
    assert arguments["vllm"] == "vLLM drafts chains only"


def test_a_chain_has_arguments_for_both_engines():
    arguments = engine_arguments(chain(4))
    assert arguments["sglang"] == (
        "--speculative-num-steps 4 --speculative-eagle-topk 1 --speculative-num-draft-tokens 5"
    )
    assert '{"num_speculative_tokens": 4}' in arguments["vllm"]
