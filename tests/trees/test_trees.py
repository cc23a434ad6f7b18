"""Draft trees: expectation, the best tree, its check by simulation, drawing, and reading rates."""

import itertools
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.embedded.draft_tree import DraftTree, chain, parse_tree, tree_of_paths
from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.trees.best_tree import best_tree, engine_arguments
from nemo_skills_specdec.trees.comparison import compare_trees, named_tree
from nemo_skills_specdec.trees.drawing import tree_svg, tree_text
from nemo_skills_specdec.trees.measured import _expected, _rates_after
from nemo_skills_specdec.trees.rank_rates import (
    RankRates,
    expected_length,
    isotonic,
    node_probabilities,
    rates_of_counts,
    read_rank_rates,
    simulated_length,
)

RATES = RankRates(rates=((0.6, 0.2), (0.5, 0.1), (0.4,)))


def row(size: int, *, fall: bool) -> st.SearchStrategy[tuple[float, ...]]:
    weights = st.lists(st.integers(0, 10), min_size=size, max_size=size)
    shares = weights.map(lambda w: tuple(x / max(sum(w), 10) for x in w))
    return shares.map(lambda r: tuple(sorted(r, reverse=True))) if fall else shares


def tables(*, fall: bool = True) -> st.SearchStrategy[RankRates]:
    """Rates of two depths and up to three ranks, some of them with a row for each parent's rank."""
    simple = st.tuples(row(3, fall=fall), row(2, fall=fall)).map(lambda rows: RankRates(rates=rows))
    after = st.tuples(row(3, fall=fall), row(2, fall=fall), st.tuples(*[row(2, fall=fall)] * 3)).map(
        lambda t: RankRates(rates=(t[0], t[1]), after=((), t[2]))
    )
    return simple | after


def all_trees(nodes: int, levels: int, breadth: int):
    """Every tree of exactly this many nodes, by growing smaller ones."""
    found = {frozenset()}
    for _ in range(nodes):
        found = {
            tree | {path}
            for tree in found
            for parent in [(), *tree]
            if len(parent) < levels
            for path in [(*parent, sum(other[:-1] == parent and len(other) == len(parent) + 1 for other in tree))]
            if path[-1] < breadth
        }
    return [tree_of_paths(tree) for tree in found]


SMALL = {nodes: all_trees(nodes, 3, 3) for nodes in range(1, 6)}


def test_a_path_is_as_likely_as_the_product_of_its_rates():
    tree = parse_tree("2x2")
    assert node_probabilities(tree, RATES) == pytest.approx([1, 0.6, 0.2, 0.3, 0.06, 0.1, 0.02])
    assert expected_length(tree, RATES) == pytest.approx(1 + 0.8 + 0.48)


def test_a_chain_has_the_expectation_of_its_conditional_rates():
    assert expected_length(chain(3), RATES) == pytest.approx(1 + 0.6 + 0.6 * 0.5 + 0.6 * 0.5 * 0.4)


def test_rates_after_each_rank_take_the_place_of_those_after_any():
    rates = RankRates(rates=((0.6, 0.2), (0.5, 0.1)), after=((), ((0.55, 0.1), (0.3, 0.05))))
    assert node_probabilities(parse_tree("2x1"), rates) == pytest.approx([1, 0.6, 0.2, 0.33, 0.06])
    # Nothing is known after a third rank, and depths below the last are like it.
    assert (rates.at(1, 0, 2), rates.at(7, 0, 1), rates.at(0, 2)) == (0.5, 0.3, 0.0)


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


@given(tables(fall=False))
def test_smoothed_rates_fall_and_keep_their_sum(rates):
    smooth = isotonic(rates)
    for before, after in zip(rates.rates, smooth.rates, strict=True):
        assert sum(after) == pytest.approx(sum(before))
        assert all(a >= b - 1e-12 for a, b in itertools.pairwise(after))


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


@settings(max_examples=30, deadline=None)
@given(tables(fall=False), st.sampled_from(SMALL[5]), st.integers(0, 5))
def test_simulated_steps_agree_with_the_expectation(rates, tree, seed):
    mean, error = simulated_length(tree, rates, steps=20_000, seed=seed)
    assert mean == pytest.approx(expected_length(tree, rates), abs=5 * error + 1e-9)


def test_the_standard_error_of_a_simulation_is_that_of_its_steps():
    _, error = simulated_length(chain(1), RankRates(rates=((0.5,),)), steps=10_000, seed=1)
    assert error == pytest.approx(0.5 / 100, rel=0.02)


def test_rates_come_from_the_counts_of_a_ledger():
    rates = rates_of_counts([[100, 100], [60, 50], [0, 0]], [[50, 10], [30, 5], [0, 0]])
    assert rates.rates == ((0.5, 0.1), (0.5, 0.1))
    assert rates.offered == ((100, 100), (60, 50))
    with pytest.raises(DataError, match="no step"):
        rates_of_counts([[0]], [[0]])


@pytest.mark.parametrize(
    "text",
    [
        '{"rates": [[0.5, 0.1], [0.5, 0.1]]}',
        '{"offered": [[100, 100], [60, 50]], "accepted": [[50, 10], [30, 5]]}',
    ],
)
def test_rates_are_read_from_a_file(tmp_path, text):
    path = tmp_path / "rates.json"
    path.write_text(text)
    found = read_rank_rates(path)
    assert found.rates == ((0.5, 0.1), (0.5, 0.1))
    assert found.source == str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no", "not JSON"),
        ("[]", "rates"),
        ('{"rates": []}', "at least one depth"),
        ('{"rates": [[0.5], []]}', "one rank"),
        ('{"rates": [[0.7, 0.6]]}', "at most 1"),
        ('{"rates": [[-0.1]]}', "between 0 and 1"),
        ('{"rates": [["x"]]}', "rates"),
        ('{"offered": [[1]], "accepted": [[1], [2]]}', "rates.json"),
    ],
)
def test_what_are_no_rates_is_refused_with_the_reason(tmp_path, text, words):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_rank_rates(path)


def test_a_missing_file_of_rates_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_rank_rates(tmp_path / "none.json")


def test_a_named_tree_has_the_name_in_its_file_or_that_of_the_file(tmp_path):
    named, plain = tmp_path / "a.json", tmp_path / "plain.txt"
    named.write_text(json.dumps({"name": "mine", "nodes": [[0], [1]]}))
    plain.write_text("[(0,), (0, 0)]")
    assert named_tree(named) == ("mine", DraftTree((0, 0)))
    assert named_tree(plain) == ("plain", chain(2))
    plain.write_text("[[0, 1]]")
    with pytest.raises(UsageError, match=r"plain\.txt"):
        named_tree(plain)


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


def test_a_tree_is_drawn_as_text():
    tree = parse_tree("[[0],[1],[0,0],[0,1]]")
    assert tree_text(tree, node_probabilities(tree, RATES)).split("\n") == [
        "root",
        "├─ 0  0.600",
        "│  ├─ 0  0.300",
        "│  └─ 1  0.060",
        "└─ 1  0.200",
    ]


def test_a_big_tree_is_drawn_with_its_likeliest_nodes_and_the_number_of_the_others():
    tree = parse_tree("2x2x1")
    lines = tree_text(tree, node_probabilities(tree, RATES), most=3).split("\n")
    assert lines == ["root", "├─ 0  0.600", "│  ├─ 0  0.300", "│  │  └─ ... 1 more", "│  └─ ... 2 more", "└─ 1  0.200",
                     "   └─ ... 4 more"]  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SMALL[5]), st.integers(0, 5))
def test_drawn_and_left_out_nodes_are_all_nodes(tree, most):
    lines = tree_text(tree, node_probabilities(tree, RATES), most=most).split("\n")[1:]
    hidden = sum(int(line.split("... ")[1].split()[0]) for line in lines if "..." in line)
    assert hidden + sum("..." not in line for line in lines) == tree.size


def test_the_picture_is_xml_with_a_circle_a_node_and_a_line_an_edge():
    tree = parse_tree("2x2x1")
    picture = ElementTree.fromstring(tree_svg(tree, node_probabilities(tree, RATES), title="a < b"))
    names = [element.tag.split("}")[1] for element in picture.iter()]
    assert (names.count("circle"), names.count("line")) == (tree.size + 1, tree.size)
    circles = [element for element in picture.iter() if element.tag.endswith("circle")]
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in circles]
    assert len(set(places)) == len(places), "no two nodes on one spot"
    width, height = float(picture.get("width")), float(picture.get("height"))
    assert all(7 <= x <= width - 7 and 7 <= y <= height - 7 for x, y in places)


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


def test_the_expectation_of_a_table_of_many_rows_is_that_of_each_row():
    probe, rng = parse_tree("3x2x1"), np.random.default_rng(2)
    offered = np.zeros((5, 3, 3, 3))
    offered[:, 0, 0, :] = 1000
    offered[:, 1, :, :2] = rng.integers(200, 300, (5, 3, 1))
    offered[:, 2, :2, 0] = rng.integers(100, 150, (5, 2))
    accepted = np.floor(offered * rng.uniform(0.1, 0.3, offered.shape))
    table = np.stack([offered, accepted], axis=1).reshape(5, -1)
    tree = parse_tree("2x2x1x1")
    for index, found in enumerate(_expected(tree, table, probe)):
        after = _rates_after(offered[index : index + 1], accepted[index : index + 1])[0].tolist()
        rates = rates_of_counts(
            offered[index].sum(axis=1).astype(int).tolist(),
            accepted[index].sum(axis=1).astype(int).tolist(),
            after=after,
        )
        assert found == pytest.approx(expected_length(tree, rates))


def test_a_tree_that_has_no_use_for_all_its_nodes_is_named():
    report = compare_trees(RATES, sizes=[3, 40], levels=2, others={}, steps=100)
    finding = next(f for f in report.findings if f.code == "tree_smaller_than_asked")
    assert "(best-40 has 6 nodes)" in finding.message
