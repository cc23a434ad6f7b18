"""Where drafts come from: a small model, or n-grams of the text so far.

A drafter proposes a chain of at most K tokens for each sequence, with the distribution each was drawn from (None for a
token proposed for certain). It follows the engine's slots: prefill, move, propose.
"""

from collections.abc import Sequence as Items

import msgspec
import numpy as np

from nemo_skills_specdec.embedded.llama import Integers, KeyValueCache, Llama
from nemo_skills_specdec.embedded.sampling import probabilities, sample
from nemo_skills_specdec.embedded.sequence import Sequence
from nemo_skills_specdec.embedded.weights import Floats


class Draft(msgspec.Struct, frozen=True):
    """A chain of proposed tokens, or a tree of them in level order, and the distribution of each."""

    tokens: list[int]
    distributions: list[Floats | None]


NOTHING = Draft([], [])


class Drafter:
    """What the engine asks of a drafter; this one proposes nothing, and has nothing to remember."""

    def prefill(self, slot: int, tokens: Integers, start: int) -> None:
        """Reads prompt tokens from position `start` on."""

    def move(self, source: int, destination: int, length: int) -> None:
        """Follows a sequence to another slot; `length` positions of it matter."""

    def propose(self, sequences: Items[Sequence]) -> list[Draft]:
        """One draft for each sequence; sequence b sits in slot b."""
        return [NOTHING] * len(sequences)

    def keep(self, slot: int, root: int, nodes: Items[int]) -> None:
        """Notes the nodes of a tree, drafted behind position `root`, that were accepted; never called for chains."""

    def forget(self, sequence: Sequence) -> None:
        """Drops what is kept for a finished sequence."""


class DraftModel(Drafter):
    """A small model drafts K tokens one by one, shaped like the target's own sampling."""

    def __init__(self, model: Llama, *, slots: int, capacity: int, draft_length: int) -> None:
        self._model = model
        self._cache = KeyValueCache(model.config, slots=slots, capacity=capacity)
        self._draft_length = draft_length

    def prefill(self, slot: int, tokens: Integers, start: int) -> None:
        """Reads prompt tokens into the draft model's cache."""
        self._model.forward(self._cache, tokens[None, :], np.array([start]), first_slot=slot)

    def move(self, source: int, destination: int, length: int) -> None:
        """Moves the cache along."""
        self._cache.move(source, destination, length)

    def propose(self, sequences: Items[Sequence]) -> list[Draft]:
        """Drafts for all sequences together, one pass a position.

        The first pass reads the last two tokens of each text: the cache ends before the second last if the previous
        draft was accepted completely, and reading a token again changes nothing.
        """
        batch = len(sequences)
        lengths = np.array([len(sequence.tokens) for sequence in sequences])
        inputs = np.array([sequence.tokens[-2:] for sequence in sequences])
        x = self._model.forward(self._cache, inputs, lengths - 2)
        x = x.reshape(batch, 2, -1)[:, 1]
        random_rows = [row for row, sequence in enumerate(sequences) if not sequence.params.greedy]
        params = [sequences[row].params for row in random_rows]
        drafts = [Draft([], []) for _ in sequences]
        chosen = np.zeros(batch, np.int64)
        for position in range(self._draft_length):
            if position:
                x = self._model.forward(self._cache, chosen[:, None], lengths + (position - 1))
            logits = self._model.logits(x)
            chosen = logits.argmax(axis=1)
            if random_rows:
                shaped = probabilities(logits[random_rows] if len(random_rows) < batch else logits, params)
                for distribution, row in zip(shaped, random_rows, strict=True):
                    chosen[row] = sample(distribution, sequences[row].rng.random())
                    drafts[row].distributions.append(distribution)
            for draft, token in zip(drafts, chosen.tolist(), strict=True):
                draft.tokens.append(token)
                if len(draft.distributions) < len(draft.tokens):
                    draft.distributions.append(None)
        return drafts


class PromptLookup(Drafter):
    """Proposes what followed the earliest earlier occurrence of the text's last n tokens, longest n first.

    That is vLLM's rule for its `ngram` method: near the end of the text fewer than K tokens may follow, and without an
    occurrence there is no draft.
    """

    def __init__(self, *, shortest: int, longest: int, draft_length: int) -> None:
        self._sizes = range(longest, shortest - 1, -1)
        self._draft_length = draft_length
        self._tables: dict[Sequence, tuple[dict[tuple[int, ...], int], list[int]]] = {}

    def forget(self, sequence: Sequence) -> None:
        """Drops the index of a finished text."""
        self._tables.pop(sequence, None)

    def propose(self, sequences: Items[Sequence]) -> list[Draft]:
        """Looks every text up."""
        return [self._propose(sequence) for sequence in sequences]

    def _propose(self, sequence: Sequence) -> Draft:
        tokens = sequence.tokens
        follows, indexed = self._tables.setdefault(sequence, ({}, [0]))
        # An n-gram enters the index once a token follows it, so the text's own end is never its own match.
        for end in range(indexed[0] + 1, len(tokens)):
            for size in self._sizes:
                if size <= end:
                    follows.setdefault(tuple(tokens[end - size : end]), end)
        indexed[0] = len(tokens) - 1
        for size in self._sizes:
            found = follows.get(tuple(tokens[-size:])) if size < len(tokens) else None
            if found is not None:
                chain = tokens[found : found + self._draft_length]
                return Draft(chain, [None] * len(chain))
        return NOTHING
