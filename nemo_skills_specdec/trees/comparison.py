"""Trees side by side: built ones, chains, named ones; expected, simulated and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.embedded.draft_tree import DraftTree, chain, parse_tree
from nemo_skills_specdec.errors import JSON_ERRORS, DataError, UsageError
from nemo_skills_specdec.records import Finding
from nemo_skills_specdec.trees.best_tree import best_tree, engine_arguments
from nemo_skills_specdec.trees.measured import Prediction, TreeRun, predict
from nemo_skills_specdec.trees.rank_rates import RankRates, expected_length, simulated_length

LARGEST_MEASURED = 128
"""Nodes of the largest tree run on the embedded engine: bigger ones take minutes."""


class TreeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One tree.

    Attributes:
        built: whether it was built here to be the best; else it is a chain or comes from a file.
        expected_acceptance_length: E[AL] in the product model.
        simulated_acceptance_length: mean of simulated steps of that model, with its standard error.
        prediction: expected against measured on the embedded engine; None where not asked for.
        engine_arguments: what to give each engine.
        nodes: paths of ranks.
    """

    name: str
    built: bool
    num_nodes: int
    num_levels: int
    expected_acceptance_length: float
    simulated_acceptance_length: float
    simulated_standard_error: float
    prediction: Prediction | None
    engine_arguments: dict[str, str]
    nodes: list[tuple[int, ...]]


class TreeReport(msgspec.Struct, frozen=True, kw_only=True):
    """All trees, from one table of rates."""

    rates: RankRates
    trees: list[TreeFigures]
    findings: list[Finding]


class _Named(msgspec.Struct):
    name: str = ""


def named_tree(path: Path) -> tuple[str, DraftTree]:
    """Reads a tree and its name: the `name` in the file, or the file's own.

    Raises:
        DataError: the file cannot be read.
        UsageError: it holds no tree.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}; give a text file with a tree, [[0], [1], [0, 0]]") from error
    try:
        tree = parse_tree(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    try:
        name = msgspec.json.decode(text, type=_Named).name
    except JSON_ERRORS:
        name = ""
    # A file's name may hold bytes that are no text.
    return "".join(filter(str.isprintable, name)) or path.stem.encode(errors="replace").decode(), tree


def compare_trees(
    rates: RankRates,
    *,
    sizes: Sequence[int],
    levels: int,
    others: Mapping[str, DraftTree],
    steps: int,
    seed: int = 0,
    probe: TreeRun | None = None,
    measure: Callable[[str, DraftTree], TreeRun] | None = None,
) -> TreeReport:
    """Builds the best tree of each size and sets it beside the chain of as many levels and the trees given.

    Args:
        sizes: nodes of the trees to build.
        others: further trees by name.
        steps: simulated steps a tree.
        seed: of simulation and intervals.
        probe: the run that gave the rates; None where they were not measured here.
        measure: runs a tree, given with its name, on the prompts of the probe; None compares expectations only.
    """
    built = {f"best-{size}": best_tree(rates, nodes=size, levels=levels) for size in sizes}
    chains = {f"chain-{length}": chain(length) for length in sorted({min(size, levels) for size in sizes})}
    trees: list[TreeFigures] = []
    for name, tree in {**built, **chains, **others}.items():
        mean, error = simulated_length(tree, rates, steps=steps, seed=seed)
        prediction = None
        if probe is not None and measure is not None and tree.size <= LARGEST_MEASURED:
            prediction = predict(probe, measure(name, tree), seed=seed)
        trees.append(
            TreeFigures(
                name=name,
                built=name in built,
                num_nodes=tree.size,
                num_levels=tree.depth,
                expected_acceptance_length=expected_length(tree, rates),
                simulated_acceptance_length=mean,
                simulated_standard_error=error,
                prediction=prediction,
                engine_arguments=engine_arguments(tree),
                nodes=tree.paths,
            )
        )
    findings = [*_unknown_rates(rates, trees), *_wrong_predictions(trees, measured=measure is not None)]
    return TreeReport(rates=rates, trees=trees, findings=findings)


def _unknown_rates(rates: RankRates, trees: Sequence[TreeFigures]) -> list[Finding]:
    """Where the rates do not reach."""
    found = []
    known_levels, deepest = len(rates.rates), max(tree.num_levels for tree in trees)
    if deepest > known_levels:
        found.append(
            Finding(
                code="tree_levels_extrapolated",
                severity="warning",
                message=f"Acceptance is known down to level {known_levels}; below it, down to level {deepest}, the "
                "rates of the last known level are used.",
                numbers={"known": known_levels, "deepest": deepest},
            )
        )
    known_ranks = max(len(row) for row in rates.rates)
    built = [tree for tree in trees if tree.built]
    if any(_breadth(tree) > known_ranks for tree in trees) or any(_breadth(tree) == known_ranks for tree in built):
        found.append(
            Finding(
                code="tree_ranks_missing",
                severity="info",
                message=f"Acceptance is known for {known_ranks} ranks and higher ones count as never accepted, so a "
                "wider tree may be better; measure with a wider --probe.",
                numbers={"ranks": known_ranks},
            )
        )
    short = ", ".join(f"{tree.name} has {tree.num_nodes}" for tree in built if tree.name != f"best-{tree.num_nodes}")
    if short:
        found.append(
            Finding(
                code="tree_smaller_than_asked",
                severity="warning",
                message=f"No further node has a known chance of being accepted ({short} nodes); measure more ranks and "
                "levels with a larger --probe, or allow more --levels.",
            )
        )
    return found


def _wrong_predictions(trees: Sequence[TreeFigures], *, measured: bool) -> list[Finding]:
    """Trees that were not measured, or not as expected."""
    found = []
    too_big = ", ".join(tree.name for tree in trees if measured and tree.num_nodes > LARGEST_MEASURED)
    if too_big:
        found.append(
            Finding(
                code="tree_not_measured",
                severity="info",
                message=f"Trees of more than {LARGEST_MEASURED} nodes take the embedded engine minutes and were not "
                f"run ({too_big}).",
            )
        )
    predictions = {tree.name: tree.prediction for tree in trees if tree.prediction}
    outside = ", ".join(name for name, prediction in predictions.items() if not prediction.within)
    if outside:
        found.append(
            Finding(
                code="tree_prediction_missed",
                severity="warning",
                message=f"The expected AL lies outside the interval of the measured one ({outside}); the product model "
                "is not good enough for trees of such a shape.",
            )
        )
    intervals = {name: prediction.difference_interval for name, prediction in predictions.items()}
    shifted = ", ".join(
        f"{name} {interval.low:+.2f} to {interval.high:+.2f}"
        for name, interval in intervals.items()
        if interval is not None and not interval.low <= 0 <= interval.high
    )
    if shifted:
        found.append(
            Finding(
                code="tree_prediction_shifted",
                severity="info",
                message=f"On the same prompts the expected AL is off by more than chance ({shifted}); a tree that "
                "accepts fewer tokens begins its steps at other, often easier, places of the text.",
            )
        )
    return found


def _breadth(tree: TreeFigures) -> int:
    """The most children of one node."""
    return max(path[-1] for path in tree.nodes) + 1
