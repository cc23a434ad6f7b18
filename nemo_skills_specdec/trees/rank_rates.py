"""Acceptance by depth and rank, and what it makes one expect of a draft tree.

a[d][r] is the share of steps in which the drafter's choice of rank r (0 is its first) was accepted, among the steps
that reached a node of depth d (0 is the root) which had such a child. The product model takes it to depend on nothing
else:

    P(node) = product of a[d][r] along its path          E[AL] = 1 + sum of P(node) over all nodes

since a step accepts as many tokens as nodes. At most one sibling is accepted, so the a[d][r] of one depth sum to at
most 1. Drafters are surer after their first choice than after their second, so where it is known what each rank
followed, a[d][s][r], with s the rank of the parent, takes the place of a[d][r].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.embedded.draft_tree import DraftTree
from nemo_skills_specdec.errors import JSON_ERRORS, DataError

_ROUNDING = 1e-6


class RankRates(msgspec.Struct, frozen=True, kw_only=True):
    """Measured acceptance by depth and rank.

    Attributes:
        rates: a[d][r]; depths below the last measured one are taken to be like it, higher ranks to be never accepted.
        after: a[d][s][r] after a parent of rank s; the root's children (d = 0) have no such parent, and an empty list
            means that a[d][r] holds. None where it is not known.
        offered: the steps behind each rate, where known.
        accepted: those of them in which it was accepted.
        source: where they come from, for people.
    """

    rates: tuple[tuple[float, ...], ...]
    after: tuple[tuple[tuple[float, ...], ...], ...] | None = None
    offered: tuple[tuple[int, ...], ...] | None = None
    accepted: tuple[tuple[int, ...], ...] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be rates."""
        if not self.rates or not all(self.rates):
            raise DataError("rates by depth and rank need at least one depth, and one rank at each")
        rows = [(depth, row) for depth, row in enumerate(self.rates)]
        rows += [(depth, row) for depth, table in enumerate(self.after or ()) for row in table]
        for depth, row in rows:
            if not all(0 <= rate <= 1 for rate in row) or math.fsum(row) > 1 + _ROUNDING:
                raise DataError(
                    f"depth {depth + 1} has rates {[*row]}; each must be between 0 and 1 and their sum at most 1, "
                    "since at most one choice of a depth is accepted"
                )

    def at(self, depth: int, rank: int, parent: int = 0) -> float:
        """a[d][s][r] or a[d][r], also where nothing was measured; `parent` is s, the rank of the parent."""
        depth = min(depth, len(self.rates) - 1)
        row = self.rates[depth]
        if self.after is not None and depth < len(self.after) and parent < len(self.after[depth]):
            row = self.after[depth][parent] or row
        return row[rank] if rank < len(row) else 0.0


def rates_of_counts(
    offered: Sequence[Sequence[int]],
    accepted: Sequence[Sequence[int]],
    *,
    after: Sequence[Sequence[Sequence[float]]] | None = None,
    source: str | None = None,
) -> RankRates:
    """Rates from the counts of a ledger; depths and ranks that were never offered are left out.

    Raises:
        DataError: nothing was offered, or more was accepted than can be.
    """
    rows: list[list[tuple[int, int]]] = []
    for steps, hits in zip(offered, accepted, strict=True):
        if not all(0 <= k <= n for n, k in zip(steps, hits, strict=True)) or sum(hits) > max(steps, default=0):
            raise DataError(
                f"depth {len(rows) + 1} accepted {[*hits]} of {[*steps]} offered; each rank accepts at most what was "
                "offered, and each step at most one rank"
            )
        known = [(n, k) for n, k in zip(steps, hits, strict=True) if n]
        if not known:
            break
        rows.append(known)
    if not rows:
        raise DataError("no step offered a draft token; acceptance by depth and rank is unknown")
    return RankRates(
        # Rates of one depth have different denominators where not every node has every rank.
        rates=tuple(_at_most_one([k / n for n, k in row]) for row in rows),
        after=None
        if after is None
        else tuple(tuple(_at_most_one(row) for row in table) for table in after[: len(rows)]),
        offered=tuple(tuple(n for n, _ in row) for row in rows),
        accepted=tuple(tuple(k for _, k in row) for row in rows),
        source=source,
    )


def read_rank_rates(path: Path) -> RankRates:
    """Reads `{"rates": [[...], ...]}`, or `{"offered": ..., "accepted": ...}` as in a ledger's `*_by_rank`.

    Raises:
        DataError: the file cannot be read, or holds no such rates.
    """
    try:
        value = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give a JSON file with `rates`") from error
    except JSON_ERRORS as error:
        raise DataError(f"{path} is not JSON ({error}); give a file with `rates` by depth and rank") from error
    counts = ("offered", "accepted")
    try:
        if isinstance(value, dict) and "rates" not in value and all(name in value for name in counts):
            offered, accepted = (msgspec.convert(value[name], list[list[int]]) for name in counts)
            return rates_of_counts(offered, accepted, source=str(path))
        found = msgspec.convert(value, RankRates)
    except (msgspec.ValidationError, ValueError) as error:
        raise DataError(f'{path}: {error}; expected {{"rates": [[0.6, 0.1], [0.7, 0.1]]}}, one list a depth') from error
    return found if found.source else msgspec.structs.replace(found, source=str(path))


def node_probabilities(tree: DraftTree, rates: RankRates) -> list[float]:
    """P(node) of nodes 0..N in the product model; 1 for the root."""
    probabilities = [1.0]
    depths, ranks = tree.depths, tree.ranks
    for node, parent in enumerate(tree.parents, start=1):
        probabilities.append(probabilities[parent] * rates.at(depths[parent], ranks[node], ranks[parent]))
    return probabilities


def expected_length(tree: DraftTree, rates: RankRates) -> float:
    """E[AL] = 1 + sum of P(node)."""
    return math.fsum(node_probabilities(tree, rates))


def isotonic(rates: RankRates) -> RankRates:
    """Isotonic regression: the nearest rates that do not rise with the rank.

    A drafter's ranks truly fall; with few steps a measured rate can lie above that of the rank before.
    """
    after = rates.after
    return RankRates(
        rates=tuple(_not_rising(row) for row in rates.rates),
        after=None if after is None else tuple(tuple(_not_rising(row) for row in table) for table in after),
        source=rates.source,
    )


def simulated_length(tree: DraftTree, rates: RankRates, *, steps: int, seed: int = 0) -> tuple[float, float]:
    """Mean accepted length of steps played out at random in the product model, bonus token included.

    Returns:
        The mean, and its standard error.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    depths, ranks, children = tree.depths, tree.ranks, tree.children
    at_node = [0] * (tree.size + 1)
    at_node[0] = steps
    ended_at_depth = np.zeros(tree.depth + 1)
    for node, siblings in enumerate(children):
        chances = [rates.at(depths[node], ranks[child], ranks[node]) for child in siblings]
        outcome = rng.multinomial(at_node[node], [*chances, max(0.0, 1.0 - math.fsum(chances))]).tolist()
        for child, arrived in zip(siblings, outcome, strict=False):
            at_node[child] = arrived
        ended_at_depth[depths[node]] += outcome[-1]
    lengths = np.arange(tree.depth + 1) + 1.0
    mean = float(lengths @ ended_at_depth / steps)
    variance = float(((lengths - mean) ** 2) @ ended_at_depth / (steps - 1))
    return mean, math.sqrt(variance / steps)


def _at_most_one(rates: Sequence[float]) -> tuple[float, ...]:
    """Scales rates down where different denominators let them sum to a little more than 1."""
    total = math.fsum(rates)
    return tuple(rate / total for rate in rates) if total > 1 else tuple(rates)


def _not_rising(row: Sequence[float]) -> tuple[float, ...]:
    """The non-increasing values nearest to a row, by least squares."""
    blocks: list[tuple[float, int]] = []
    for rate in row:
        total, count = rate, 1
        while blocks and blocks[-1][0] / blocks[-1][1] < total / count:
            total, count = total + blocks[-1][0], count + blocks[-1][1]
            blocks.pop()
        blocks.append((total, count))
    return tuple(total / count for total, count in blocks for _ in range(count))
