"""Trees side by side: built ones, chains, named ones; expected, simulated and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.embedded.draft_tree import DraftTree, chain, parse_tree
from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.records import Finding, Message
from nemo_skills_specdec.trees.best_tree import best_tree, engine_arguments
from nemo_skills_specdec.trees.measured import Prediction, TreeRun, predict, run_tree
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
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = None
    name = value.get("name") if isinstance(value, dict) else None
    return (name if isinstance(name, str) and name else path.stem), tree


def compare_trees(
    rates: RankRates,
    *,
    sizes: Sequence[int],
    levels: int,
    others: Mapping[str, DraftTree],
    steps: int,
    seed: int = 0,
    probe: TreeRun | None = None,
    prompts: Sequence[Sequence[Message]] = (),
    max_tokens: int = 64,
    temperature: float = 0.0,
    progress: Callable[[str], None] = lambda name: None,
) -> TreeReport:
    """Builds the best tree of each size and sets it beside the chain of as many levels and the trees given.

    Args:
        rates: acceptance by depth and rank.
        sizes: nodes of the trees to build.
        levels: most levels of each.
        others: further trees by name.
        steps: simulated steps a tree.
        seed: of simulation, sampling and intervals.
        probe: the run that gave the rates; every tree is then run on its prompts too.
        prompts: of the probe.
        max_tokens: as in the probe.
        temperature: as in the probe.
        progress: told the name of each tree before it is run.
    """
    built = {f"best-{size}": best_tree(rates, nodes=size, levels=levels) for size in sizes}
    chains = {f"chain-{length}": chain(length) for length in sorted({min(size, levels) for size in sizes})}
    trees: list[TreeFigures] = []
    findings: list[Finding] = []
    for name, tree in {**built, **chains, **others}.items():
        mean, error = simulated_length(tree, rates, steps=steps, seed=seed)
        prediction = None
        if probe is not None and tree.size <= LARGEST_MEASURED:
            progress(name)
            run = run_tree(tree, prompts, max_tokens=max_tokens, temperature=temperature, seed=seed)
            prediction = predict(probe, run, seed=seed)
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
    findings += _remarks(rates, trees, built, measured=probe is not None)
    return TreeReport(rates=rates, trees=trees, findings=findings)


def _shift(tree: TreeFigures) -> tuple[float, float] | None:
    """The interval of expected - measured, where it does not contain 0."""
    interval = tree.prediction.difference_interval if tree.prediction else None
    if interval is None or interval.low <= 0 <= interval.high:
        return None
    return interval.low, interval.high


def _remarks(
    rates: RankRates, trees: Sequence[TreeFigures], built: Mapping[str, DraftTree], *, measured: bool
) -> list[Finding]:
    found = []
    measured_levels, deepest = len(rates.rates), max(tree.num_levels for tree in trees)
    if deepest > measured_levels:
        found.append(
            Finding(
                code="tree_levels_extrapolated",
                severity="warning",
                message=f"acceptance is known down to level {measured_levels}; below it, to level {deepest}, the rates "
                "of the last known level are used",
                numbers={"known": measured_levels, "deepest": deepest},
            )
        )
    broadest = max(max(max(path) for path in tree.nodes) for tree in trees) + 1
    known_ranks = max(len(row) for row in rates.rates)
    if any(tree.breadth >= known_ranks for tree in built.values()) or broadest > known_ranks:
        found.append(
            Finding(
                code="tree_ranks_missing",
                severity="info",
                message=f"acceptance is known for {known_ranks} ranks; higher ones count as never accepted, so a wider "
                "tree may be better: measure with a wider probe",
                numbers={"ranks": known_ranks},
            )
        )
    short = ", ".join(f"{name} has {tree.size}" for name, tree in built.items() if name != f"best-{tree.size}")
    if short:
        found.append(
            Finding(
                code="tree_smaller_than_asked",
                severity="warning",
                message=f"{short} nodes: no further one has a known chance of being accepted; measure more ranks and "
                "levels with a bigger --probe, or allow more --levels",
            )
        )
    too_big = ", ".join(tree.name for tree in trees if measured and tree.num_nodes > LARGEST_MEASURED)
    if too_big:
        found.append(
            Finding(
                code="tree_not_measured",
                severity="info",
                message=f"{too_big}: not run, more than {LARGEST_MEASURED} nodes take the embedded engine minutes",
            )
        )
    outside = ", ".join(tree.name for tree in trees if tree.prediction and not tree.prediction.within)
    if outside:
        found.append(
            Finding(
                code="tree_prediction_missed",
                severity="warning",
                message=f"{outside}: the expected AL lies outside the interval of the measured one; the product model "
                "is not good enough for trees of such a shape",
            )
        )
    shifts = {tree.name: interval for tree in trees if (interval := _shift(tree)) is not None}
    if shifts:
        spans = ", ".join(f"{name} {low:+.2f} to {high:+.2f}" for name, (low, high) in shifts.items())
        found.append(
            Finding(
                code="tree_prediction_shifted",
                severity="info",
                message=f"on the same prompts the expected AL is off by more than chance: {spans}. A tree "
                "that accepts fewer tokens begins its steps at other, often easier, places of the text",
            )
        )
    return found
