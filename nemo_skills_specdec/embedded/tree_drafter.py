"""A small model drafts a tree: its first choices after the text, those after each of them, and so on.

`make_drafter` chooses among all drafters.
"""

from collections.abc import Sequence as Items

import numpy as np

from nemo_skills_specdec.embedded.draft_tree import DraftTree
from nemo_skills_specdec.embedded.drafters import Draft, Drafter, DraftModel, PromptLookup
from nemo_skills_specdec.embedded.llama import Integers, Llama, TreeAttention
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sampling import probabilities, sample_without_replacement
from nemo_skills_specdec.embedded.sequence import Sequence
from nemo_skills_specdec.embedded.weights import Floats


class DraftTreeModel(DraftModel):
    """Drafts the same tree in every step, one pass a level.

    For greedy texts the children of a node are the model's most likely tokens, by rank. For others they are drawn one
    after the other without replacement, from the model's distribution shaped like the target's.
    """

    def __init__(self, model: Llama, *, slots: int, capacity: int, tree: DraftTree) -> None:
        super().__init__(model, slots=slots, capacity=capacity, draft_length=tree.depth)
        self._tree = tree
        self._children = tree.children
        self._levels = tree.levels
        self._ancestry = tree.ancestry()

    def keep(self, slot: int, root: int, nodes: Items[int]) -> None:
        """Moves the accepted path behind the text.

        An accepted leaf was never read here; the next draft begins by reading the last two tokens, and so it too.
        """
        self._cache.keep(slot, root, nodes)

    def propose(self, sequences: Items[Sequence]) -> list[Draft]:
        """Drafts for all sequences together."""
        batch = len(sequences)
        lengths = np.array([len(sequence.tokens) for sequence in sequences])
        inputs = np.array([sequence.tokens[-2:] for sequence in sequences])
        x = self._model.forward(self._cache, inputs, lengths - 2).reshape(batch, 2, -1)[:, 1]
        tokens = np.zeros((batch, self._tree.size + 1), np.int64)
        drafts = [Draft([0] * self._tree.size, [None] * self._tree.size) for _ in sequences]
        for depth, level in enumerate(self._levels):
            if depth:
                if not any(self._children[node] for node in level):
                    break
                x = self._read(tokens, lengths, level, depth)
            logits = self._model.logits(x).reshape(batch, len(level), -1)
            for place, node in enumerate(level):
                if self._children[node]:
                    self._branch(sequences, logits[:, place], self._children[node], drafts, tokens)
        return drafts

    def _read(self, tokens: Integers, lengths: Integers, level: range, depth: int) -> Floats:
        nodes = slice(level.start, level.stop)
        tree_attention = TreeAttention(
            offset=level.start,
            depths=np.full(len(level), depth),
            visible=self._ancestry[nodes, : level.stop],
        )
        return self._model.forward(
            self._cache, tokens[:, nodes], lengths - 1 + level.start, tree_attention=tree_attention
        )

    def _branch(
        self, sequences: Items[Sequence], logits: Floats, children: range, drafts: list[Draft], tokens: Integers
    ) -> None:
        """Chooses the children of one node in every sequence."""
        count = len(children)
        ranking = _most_likely(logits, count)
        random_rows = [row for row, sequence in enumerate(sequences) if not sequence.params.greedy]
        if random_rows:
            shaped = probabilities(logits[random_rows], [sequences[row].params for row in random_rows])
        for place, row in enumerate(random_rows):
            drawn, distributions = sample_without_replacement(
                shaped[place], ranking[row].tolist(), count, sequences[row].rng.random
            )
            ranking[row] = drawn
            drafts[row].distributions[children.start - 1 : children.stop - 1] = distributions
        tokens[:, children.start : children.stop] = ranking
        for draft, chosen in zip(drafts, ranking.tolist(), strict=True):
            draft.tokens[children.start - 1 : children.stop - 1] = chosen


def make_drafter(options: EmbeddedOptions, model: Llama | None, *, capacity: int) -> Drafter:
    """The drafter of the options; `model` is the draft model, if the method has one."""
    if options.method == "ngram":
        return PromptLookup(
            shortest=options.prompt_lookup_min, longest=options.prompt_lookup_max, draft_length=options.draft_length
        )
    if options.method == "none":
        return Drafter()
    assert model is not None, "load_models reads the draft model for this method"
    if options.tree is not None:
        return DraftTreeModel(model, slots=options.max_num_seqs, capacity=capacity, tree=options.tree)
    return DraftModel(model, slots=options.max_num_seqs, capacity=capacity, draft_length=options.draft_length)


def _most_likely(logits: Floats, count: int) -> Integers:
    """(rows, count): tokens by falling likelihood, of equal ones the lower first."""
    if count >= logits.shape[1]:
        return np.argsort(-logits, axis=1, kind="stable")[:, :count]
    found = np.sort(np.argpartition(-logits, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(logits, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)
