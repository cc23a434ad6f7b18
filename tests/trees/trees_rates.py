"""Tables of rates and all small trees, to try draft trees with."""

from hypothesis import strategies as st

from nemo_skills_specdec.embedded.draft_tree import tree_of_paths
from nemo_skills_specdec.trees.rank_rates import RankRates

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
"""All trees of up to 5 nodes, 3 levels and 3 children."""
