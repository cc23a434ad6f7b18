"""Draft trees as text and as pictures."""

import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from trees_rates import RATES, SMALL

from nemo_skills_specdec.embedded.draft_tree import parse_tree
from nemo_skills_specdec.trees.drawing import tree_svg, tree_text
from nemo_skills_specdec.trees.rank_rates import (
    node_probabilities,
)


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
