"""Draft trees: which candidates a step verifies together, as a shape without tokens.

A node is a path of ranks from the root, the last token of the text: (0,) is the drafter's first choice after it, (1,)
its second, (0, 1) the second choice after the first. Where a node has a child of rank r it has those of every lower
rank, as drafting gives them. A chain of K tokens is the tree (0,), (0, 0), ...
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.errors import JSON_ERRORS, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Path = tuple[int, ...]

MOST_NODES = 1024
MOST_LEVELS = 64
_EVEN = re.compile(r"\d{1,9}(?:x\d{1,9})*")


class DraftTree(msgspec.Struct, frozen=True):
    """A tree in level order: node 0 is the root, nodes 1..N are drafted, siblings stand side by side by rank.

    Attributes:
        parents: the parent of node i at index i - 1; non-decreasing.
    """

    parents: tuple[int, ...]

    @property
    def size(self) -> int:
        """N, drafted nodes; the root does not count."""
        return len(self.parents)

    @property
    def depth(self) -> int:
        """Levels below the root: the most tokens that one step can accept."""
        return self.depths[-1]

    @property
    def breadth(self) -> int:
        """The most children of one node."""
        return max((len(children) for children in self.children), default=0)

    @property
    def depths(self) -> list[int]:
        """Levels of nodes 0..N."""
        depths = [0]
        for parent in self.parents:
            depths.append(depths[parent] + 1)
        return depths

    @property
    def children(self) -> list[range]:
        """Children of nodes 0..N, by rank."""
        counts = [0] * (self.size + 1)
        for parent in self.parents:
            counts[parent] += 1
        children, start = [], 1
        for count in counts:
            children.append(range(start, start + count))
            start += count
        return children

    @property
    def ranks(self) -> list[int]:
        """Ranks of nodes 0..N among their siblings; 0 for the root."""
        ranks = [0] * (self.size + 1)
        for siblings in self.children:
            for rank, node in enumerate(siblings):
                ranks[node] = rank
        return ranks

    @property
    def levels(self) -> list[range]:
        """Nodes of each level, the root's first."""
        depths = self.depths
        edges = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(depths)) if a != b), len(depths)]
        return [range(a, b) for a, b in pairwise(edges)]

    @property
    def paths(self) -> list[Path]:
        """Paths of nodes 1..N."""
        paths: list[Path] = [()]
        ranks = self.ranks
        for node, parent in enumerate(self.parents, start=1):
            paths.append((*paths[parent], ranks[node]))
        return paths[1:]

    def ancestry(self) -> "NDArray[np.bool_]":
        """(N + 1, N + 1): whether a row's node is the column's node or descends from it."""
        import numpy as np

        result = np.eye(self.size + 1, dtype=bool)
        for node, parent in enumerate(self.parents, start=1):
            result[node] |= result[parent]
        return result

    def is_chain(self) -> bool:
        """Whether no node has a sibling."""
        return self.parents == tuple(range(self.size))


def chain(length: int) -> DraftTree:
    """The tree without branches."""
    return DraftTree(tuple(range(length)))


def tree_of_paths(paths: Iterable[Sequence[int]]) -> DraftTree:
    """Builds the tree with these nodes, in any order.

    Raises:
        UsageError: a node lacks its parent or a sibling of lower rank, stands twice, or the tree is empty or too big.
    """
    nodes = [tuple(path) for path in paths]
    known = set(nodes)
    if not nodes or len(nodes) > MOST_NODES:
        raise UsageError(f"a draft tree has 1 to {MOST_NODES} nodes below its root, this one has {len(nodes)}")
    if len(known) < len(nodes):
        raise UsageError("a draft tree has every node once, and one is repeated")
    for path in nodes:
        if not path or min(path) < 0:
            raise UsageError(f"{[*path]} is not a node of a draft tree; write ranks from 0 on, such as [0, 1]")
        if len(path) > MOST_LEVELS:
            raise UsageError(f"a draft tree has at most {MOST_LEVELS} levels, this one has {len(path)}")
        if len(path) > 1 and path[:-1] not in known:
            raise UsageError(f"the draft tree has node {[*path]}, but not its parent {[*path[:-1]]}; add it")
        if path[-1] > 0 and (*path[:-1], path[-1] - 1) not in known:
            sibling = [*path[:-1], path[-1] - 1]
            raise UsageError(f"the draft tree has node {[*path]}, but not its sibling {sibling}; add it")
    nodes.sort(key=lambda path: (len(path), path))
    index = {(): 0} | {path: number for number, path in enumerate(nodes, start=1)}
    return DraftTree(tuple(index[path[:-1]] for path in nodes))


@lru_cache(maxsize=64)
def parse_tree(text: str) -> DraftTree:
    """Reads a tree.

    Args:
        text: a JSON list of paths, `[[0], [1], [0, 0]]`; the same in Python's tuples; an object with such a list as
            `nodes`; or children per level, `4x2x1` (`1x1x1` is a chain of 3).

    Raises:
        UsageError: the text is none of these, or the nodes form no tree.
    """
    text = text.strip()
    if _EVEN.fullmatch(text):
        return _even([int(count) for count in text.split("x")])
    plain = text.replace("(", "[").replace(")", "]")
    try:
        value = msgspec.json.decode(re.sub(r",\s*\]", "]", plain))
    except JSON_ERRORS as error:
        raise UsageError(
            f"a draft tree is a list of paths of ranks, [[0], [1], [0, 0]], or children per level, 4x2x1 ({error})"
        ) from error
    nodes = value.get("nodes") if isinstance(value, dict) else value
    try:
        paths = msgspec.convert(nodes, list[list[int]])
    except msgspec.ValidationError as error:
        raise UsageError(f"the nodes of a draft tree are a list of lists of ranks ({error})") from error
    return tree_of_paths(paths)


def format_tree(tree: DraftTree) -> str:
    """JSON that `parse_tree` reads back."""
    return json.dumps([[*path] for path in tree.paths], separators=(",", ":"))


def _even(counts: Sequence[int]) -> DraftTree:
    total, width = 0, 1
    for count in counts:
        width *= count
        total += width
        if not count or total > MOST_NODES or len(counts) > MOST_LEVELS:
            raise UsageError(
                f"children per level are at least 1, levels at most {MOST_LEVELS} and nodes at most {MOST_NODES}"
            )
    parents: list[int] = []
    level = range(1)
    for count in counts:
        start = len(parents) + 1
        parents += [node for node in level for _ in range(count)]
        level = range(start, len(parents) + 1)
    return DraftTree(tuple(parents))
