"""Trees drafted and verified for real, by the embedded engine: acceptance by depth and rank, and acceptance lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram, total
from nemo_skills_specdec.embedded.draft_tree import DraftTree, format_tree
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.records import Message
from nemo_skills_specdec.statistics import Interval, bootstrap_interval
from nemo_skills_specdec.trees.rank_rates import RankRates, rates_of_counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nemo_skills_specdec.embedded.engine import Models
    from nemo_skills_specdec.embedded.ledger import RequestSteps

    Matrix = NDArray[np.float64]

_Table = tuple[tuple[tuple[int, ...], ...], ...]
"""Counts by depth, rank of the parent (0 for the root) and rank."""

_PRIOR_STEPS = 10
"""Rates after a parent of one rank are drawn towards the rate after any parent as if by this many steps more."""

CONCURRENCY = 16
"""Sequences decoded together; it changes the speed, not the texts."""

PROBE = "4x2x2x1x1x1"
"""Tree to measure rates with: below every choice the same again, so that no rate is of likely branches alone."""


class TreeRun(msgspec.Struct, frozen=True, kw_only=True):
    """One tree on all prompts.

    Attributes:
        prompts: the counts of each prompt, in the order of the prompts.
        offered: per prompt, by depth, rank of the parent and rank, the steps that reached a node with such a child.
        accepted: those of them in which it was accepted.
    """

    tree: DraftTree
    prompts: tuple[AcceptanceCounts, ...]
    offered: tuple[_Table, ...]
    accepted: tuple[_Table, ...]

    @property
    def counts(self) -> AcceptanceCounts:
        """All prompts together."""
        return total(self.prompts)

    def rates(self, *, source: str) -> RankRates:
        """Acceptance by depth and rank, and after each rank, of all prompts together."""
        import numpy as np

        offered, accepted = (np.array(tables).sum(axis=0) for tables in (self.offered, self.accepted))
        after = _rates_after(offered[None], accepted[None])[0].tolist()
        return rates_of_counts(offered.sum(axis=1).tolist(), accepted.sum(axis=1).tolist(), after=after, source=source)


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the rates of one run predict for another tree, beside that tree's own run on the same prompts.

    Attributes:
        predicted: E[AL] of the tree from the rates of the first run.
        predicted_interval: 95 %, resampling prompts.
        measured: AL of the tree's own run.
        measured_interval: 95 %, resampling prompts.
        difference_interval: of predicted - measured, 95 %, resampling prompts in both runs together.
    """

    predicted: float
    predicted_interval: Interval | None
    measured: float
    measured_interval: Interval | None
    difference_interval: Interval | None

    @property
    def within(self) -> bool:
        """Whether the prediction lies in the interval of the measurement."""
        interval = self.measured_interval
        return interval is not None and interval.low <= self.predicted <= interval.high


def run_tree(
    tree: DraftTree,
    prompts: Sequence[Sequence[Message]],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    model_dir: str | None = None,
) -> TreeRun:
    """Generates a text for every prompt on the embedded engine, drafting this tree in every step.

    Args:
        tree: drafted by the engine's draft model.
        prompts: messages, put through the model's chat template; each is a request of its own.
        max_tokens: of every text; texts do not end earlier.
        temperature: 0 is greedy.
        seed: of the first prompt's random numbers; the next has the next.
        model_dir: as in `EmbeddedOptions`.

    Raises:
        UsageError: there is no prompt, or none of them led to a verification step.
    """
    from nemo_skills_specdec.embedded.engine import Engine, load_models
    from nemo_skills_specdec.embedded.options import EmbeddedOptions
    from nemo_skills_specdec.embedded.sampling import SamplingParams
    from nemo_skills_specdec.embedded.sequence import StopCriteria

    if not prompts:
        raise UsageError("there is no prompt to measure with; give at least one")
    options = EmbeddedOptions(
        dialect="sglang",
        draft_tree=format_tree(tree),
        max_num_seqs=CONCURRENCY,
        ledger_requests=max(len(prompts), 1),
        model_dir=model_dir,
    )
    models = load_models(options)
    engine = Engine(models, options)
    encoded = [_tokens(models, messages) for messages in prompts]
    sequences = [
        engine.submit(
            str(number),
            prompt,
            SamplingParams(temperature=temperature),
            StopCriteria(max_tokens, ignore_eos=True),
            seed=seed + number,
        )
        for number, prompt in enumerate(encoded)
    ]
    while engine.busy:
        engine.step()
    records = [sequence.steps for sequence in sequences]
    tables = [_tables(tree, steps) for steps in records]
    return TreeRun(
        tree=tree,
        prompts=tuple(_counts(tree, steps) for steps in records),
        offered=tuple(offered for offered, _ in tables),
        accepted=tuple(accepted for _, accepted in tables),
    )


def predict(probe: TreeRun, run: TreeRun, *, seed: int = 0) -> Prediction:
    """The acceptance length of `run` as the rates of `probe` predict it, beside the measured one.

    Args:
        probe: the run that the rates come from, on the same prompts.
        run: of the tree to predict.
        seed: of the resampling.

    Raises:
        UsageError: the runs are of different prompts.
    """
    import numpy as np

    if len(probe.prompts) != len(run.prompts):
        raise UsageError("a prediction needs both runs on the same prompts")
    rows = [
        [*_flat(offered), *_flat(accepted), counts.num_drafts or 0, counts.num_accepted_tokens]
        for offered, accepted, counts in zip(probe.offered, probe.accepted, run.prompts, strict=True)
    ]
    table = np.array(rows, dtype=np.float64)

    def predicted(sums: Matrix) -> Matrix:
        return _expected(run.tree, sums[:, :-2], probe.tree)

    def measured(sums: Matrix) -> Matrix:
        lengths: Matrix = 1 + sums[:, -1] / sums[:, -2]
        return lengths

    def difference(sums: Matrix) -> Matrix:
        return predicted(sums) - measured(sums)

    sums = table.sum(axis=0, keepdims=True)
    return Prediction(
        predicted=float(predicted(sums)[0]),
        predicted_interval=bootstrap_interval(table, predicted, seed=seed),
        measured=float(measured(sums)[0]),
        measured_interval=bootstrap_interval(table, measured, seed=seed),
        difference_interval=bootstrap_interval(table, difference, seed=seed),
    )


def _expected(tree: DraftTree, counts: Matrix, probe: DraftTree) -> Matrix:
    """E[AL] of the tree for every row of offered and accepted counts of the probe, as `expected_length` gives it."""
    import numpy as np

    shape = (len(counts), 2, probe.depth, probe.breadth, probe.breadth)
    offered, accepted = counts.reshape(shape).transpose(1, 0, 2, 3, 4)
    rates = _rates_after(offered, accepted)
    # The last depth that a step reached stands for those below it.
    last = (offered[:, :, :, 0].sum(axis=2) > 0).sum(axis=1) - 1
    depths, ranks = tree.depths, tree.ranks
    resamples = np.arange(len(counts))
    reach = [np.ones(len(counts))]
    for node, parent in enumerate(tree.parents, start=1):
        rank, depth = ranks[node], np.minimum(depths[parent], last)
        known = max(rank, ranks[parent]) < probe.breadth
        rate = rates[resamples, depth, ranks[parent], rank] if known else np.zeros(len(counts))
        reach.append(reach[parent] * rate)
    lengths: Matrix = np.sum(reach, axis=0)
    return lengths


def _tokens(models: Models, messages: Sequence[Message]) -> list[int]:
    text = models.tokenizer.chat([{"role": message.role, "content": message.content} for message in messages])
    tokens, begin = models.tokenizer.encode(text), models.target.config.bos_token_id
    return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]


def _rates_after(offered: Matrix, accepted: Matrix) -> Matrix:
    """a[d][s][r] from counts of shape (tables, depth, parent's rank, rank), drawn a little towards a[d][r]."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = np.nan_to_num(accepted.sum(axis=2, keepdims=True) / offered.sum(axis=2, keepdims=True))
        rates = (accepted + _PRIOR_STEPS * pooled) / (offered + _PRIOR_STEPS)
    rates[:, 0] = np.nan_to_num(pooled[:, 0])
    result: Matrix = rates / np.maximum(rates.sum(axis=3, keepdims=True), 1.0)
    return result


def _tables(tree: DraftTree, steps: RequestSteps) -> tuple[_Table, _Table]:
    """Offered and accepted counts of one request, replayed from its steps."""
    breadth = range(tree.breadth)
    offered, accepted = ([[[0 for _ in breadth] for _ in breadth] for _ in range(tree.depth)] for _ in range(2))
    children = tree.children
    ranks = iter(steps.ranks)
    for count in steps.accepted:
        node = parent = 0
        for depth in range(count + 1):
            for rank in range(len(children[node])):
                offered[depth][parent][rank] += 1
            if depth < count:
                rank = next(ranks)
                accepted[depth][parent][rank] += 1
                node, parent = children[node][rank], rank
    return _frozen(offered), _frozen(accepted)


def _frozen(table: list[list[list[int]]]) -> _Table:
    return tuple(tuple(tuple(row) for row in rows) for rows in table)


def _counts(tree: DraftTree, steps: RequestSteps) -> AcceptanceCounts:
    return counts_from_histogram(
        steps.histogram(tree.depth, undrafted=False), num_draft_tokens=sum(steps.drafted), draft_length=tree.depth
    )


def _flat(table: _Table) -> list[int]:
    return [cell for rows in table for row in rows for cell in row]
