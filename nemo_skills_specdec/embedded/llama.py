"""A Llama in numpy: float32, key-value cache, several sequences of different lengths in one pass.

Weights are prepared once: the norm's gain and the attention scale are folded into the matrices that follow, query, key
and value (gate and up) projections are one matrix each.

A pass computes rows: row r is one token of one sequence. The projections run over all rows at once; attention runs over
a rectangle (sequences x tokens), padded where sequences bring different numbers of tokens. What other sequences are in
the pass changes a result only by float32 rounding (about 1e-6), because a matrix product may sum in another order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from nemo_skills_specdec.embedded.weights import Floats, LlamaConfig, read_config, read_weights
from nemo_skills_specdec.errors import DataError

Integers = NDArray[np.int64]

LEAST_POSITIONS = 256
"""Positions that a cache makes room for at first."""

_MASKED = np.float32(-1e30)


class TreeAttention(msgspec.Struct, frozen=True):
    """How tokens of a tree hang together, the same for every sequence of a pass.

    The tree lies in the cache in one row, node by node, though nodes of a level stand at the same place of the text.

    Attributes:
        offset: nodes of the tree that lie in the cache already, before those of this pass.
        depths: (tokens,), levels of the nodes of this pass; the root's is 0.
        visible: (tokens, offset + tokens), the nodes that each of them sees: its ancestors and itself.
    """

    offset: int
    depths: Integers
    visible: NDArray[np.bool_]


class KeyValueCache:
    """Keys and values of up to `slots` sequences; memory is taken as they grow.

    Attributes:
        rows: float32, (layers, slots, 2 * key-value heads, positions, head size): a slot's keys, then its values.
    """

    def __init__(self, config: LlamaConfig, *, slots: int, capacity: int) -> None:
        self._most_slots, self._most_positions = slots, capacity
        self.rows: Floats = np.zeros(
            (config.num_hidden_layers, 0, 2 * config.key_value_heads, 0, config.head_size), np.float32
        )

    def reserve(self, slots: int, positions: int) -> None:
        """Makes room for this many slots of this many positions."""
        layers, had_slots, heads, had_positions, size = self.rows.shape
        if slots <= had_slots and positions <= had_positions:
            return
        slots = had_slots if slots <= had_slots else min(self._most_slots, max(slots, 2 * had_slots))
        if positions <= had_positions:
            positions = had_positions
        else:
            positions = min(self._most_positions, max(positions, 2 * had_positions, LEAST_POSITIONS))
        rows = np.zeros((layers, slots, heads, positions, size), np.float32)
        rows[:, :had_slots, :, :had_positions] = self.rows
        self.rows = rows

    def move(self, source: int, destination: int, length: int) -> None:
        """Copies the first `length` positions of one slot to another."""
        self.reserve(destination + 1, length)
        self.rows[:, destination, :, :length] = self.rows[:, source, :, :length]

    def keep(self, slot: int, root: int, nodes: Sequence[int]) -> None:
        """Puts a path of a tree, whose root lies at position `root`, right behind the root."""
        # A drafter never reads the leaves it drafts, so room for them may be missing.
        self.reserve(slot + 1, root + max(nodes, default=0) + 1)
        behind, taken = slice(root + 1, root + 1 + len(nodes)), [root + node for node in nodes]
        self.rows[:, slot, :, behind] = self.rows[:, slot][:, :, taken]


class _Layer(NamedTuple):
    attention_in: Floats
    attention_out: Floats
    feed_in: Floats
    feed_out: Floats


class _Pass(NamedTuple):
    """What all layers of one pass share.

    Attributes:
        shape: sequences and tokens of the rectangle.
        rows: flat indices of the real tokens; None if all are real.
        slots: of the cache, one a sequence.
        owners: the slot of each row; None for a single sequence.
        positions: of each row, in the cache.
        reach: positions that any row sees.
        rotation: complex, (rows, 1, half the head size).
        mask: 0 or very negative, for the last positions of `reach`; None if every row sees all of them.
    """

    shape: tuple[int, int]
    rows: Integers | None
    slots: slice
    owners: Integers | None
    positions: Integers
    reach: int
    rotation: NDArray[np.complex64]
    mask: Floats | None


class Llama:
    """Weights made ready for `forward`; shared by any number of caches."""

    def __init__(self, config: LlamaConfig, weights: Mapping[str, Floats], *, positions: int) -> None:
        """Folds and joins the weights.

        Args:
            weights: Hugging Face names to float32 tensors.
            positions: rotary angles are tabulated for positions 0..positions-1.

        Raises:
            DataError: a tensor is missing or has another shape than the configuration says.
        """
        self.config = config
        heads, groups, size = config.num_attention_heads, config.key_value_heads, config.head_size
        hidden, inner = config.hidden_size, config.intermediate_size

        def tensor(name: str, *shape: int) -> Floats:
            if name not in weights:
                raise DataError(f"the weights have no tensor {name}; is this a Llama in Hugging Face form?")
            if weights[name].shape != shape:
                raise DataError(f"tensor {name} has shape {weights[name].shape}, the configuration says {shape}")
            return weights[name]

        def gain(name: str) -> Floats:
            # `_normed` divides by the root of the sum; here it becomes the root of the mean.
            scaled: Floats = tensor(name, hidden) * np.float32(hidden**0.5)
            return scaled

        def paired(matrix: Floats) -> Floats:
            # Rows i and i + size / 2 of a head turn together: side by side they are one complex number.
            pairs: Floats = matrix.reshape(-1, 2, size // 2, hidden).swapaxes(1, 2).reshape(-1, hidden)
            return pairs

        self._layers: list[_Layer] = []
        for layer in range(config.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            query = tensor(prefix + "self_attn.q_proj.weight", heads * size, hidden) * np.float32(size**-0.5)
            key = tensor(prefix + "self_attn.k_proj.weight", groups * size, hidden)
            value = tensor(prefix + "self_attn.v_proj.weight", groups * size, hidden)
            # Both negative, so that exp(-gate) needs no step of its own; the product's sign stays.
            gate = -tensor(prefix + "mlp.gate_proj.weight", inner, hidden)
            up = -tensor(prefix + "mlp.up_proj.weight", inner, hidden)
            before = gain(prefix + "input_layernorm.weight")
            between = gain(prefix + "post_attention_layernorm.weight")
            self._layers.append(
                _Layer(
                    _transposed(np.concatenate([paired(query), paired(key), value]) * before),
                    _transposed(tensor(prefix + "self_attn.o_proj.weight", hidden, heads * size)),
                    _transposed(np.concatenate([gate, up]) * between),
                    _transposed(tensor(prefix + "mlp.down_proj.weight", hidden, inner)),
                )
            )
        self._embedding = np.ascontiguousarray(tensor("model.embed_tokens.weight", config.vocab_size, hidden))
        tied = config.tie_word_embeddings or "lm_head.weight" not in weights
        head = self._embedding if tied else tensor("lm_head.weight", config.vocab_size, hidden)
        self._head = _transposed(head * gain("model.norm.weight"))
        self._epsilon = np.float32(config.rms_norm_eps * hidden)
        frequencies = 1.0 / config.rope_base ** (np.arange(0, size, 2) / size)
        self._rotation = np.exp(1j * np.outer(np.arange(positions), frequencies)).astype(np.complex64)[:, None, :]

    def forward(
        self,
        cache: KeyValueCache,
        tokens: Integers,
        starts: Integers,
        *,
        first_slot: int = 0,
        rows: Integers | None = None,
        tree_attention: TreeAttention | None = None,
    ) -> Floats:
        """Appends tokens to sequences and returns the last layer's output, before the final norm.

        Args:
            cache: slot `first_slot + b` belongs to sequence b; its positions from `starts[b]` on are overwritten.
            tokens: (sequences, tokens); entries that `rows` leaves out are padding.
            starts: (sequences,), the position of each sequence's first token here.
            first_slot: slot of the first sequence.
            rows: ascending flat indices of real tokens; None if all are real.
            tree_attention: how the tokens hang together; None if each follows the one before it.

        Returns:
            (rows, hidden size), rows in flat order.
        """
        batch, width = tokens.shape
        places = starts[:, None] + np.arange(width)
        flat, positions, turns, owners = tokens.ravel(), places.ravel(), places.ravel(), None
        if tree_attention is not None:
            turns = (starts[:, None] - tree_attention.offset + tree_attention.depths).ravel()
        if batch > 1:
            owners = np.arange(first_slot, first_slot + batch).repeat(width)
        if rows is not None:
            flat, positions, turns = flat[rows], positions[rows], turns[rows]
            owners = rows // width + first_slot
        reach = int(positions.max()) + 1
        cache.reserve(first_slot + batch, reach)
        shared = _Pass(
            shape=(batch, width),
            rows=rows,
            slots=slice(first_slot, first_slot + batch),
            owners=owners,
            positions=positions,
            reach=reach,
            rotation=self._rotation[turns],
            mask=_mask(places, reach) if tree_attention is None else _tree_mask(tree_attention, starts, reach),
        )
        x: Floats = self._embedding[flat]
        with np.errstate(over="ignore"):
            for layer, memory in zip(self._layers, cache.rows, strict=True):
                x += self._mixed(x, layer, memory, shared) @ layer.attention_out
                fed = self._normed(x) @ layer.feed_in
                gate, up = fed[:, : self.config.intermediate_size], fed[:, self.config.intermediate_size :]
                divisor = np.exp(gate)
                divisor += 1
                gate *= up
                gate /= divisor
                x += gate @ layer.feed_out
        return x

    def logits(self, x: Floats) -> Floats:
        """(rows, hidden size) from `forward` to (rows, vocabulary)."""
        logits: Floats = self._normed(x) @ self._head
        return logits

    def _mixed(self, x: Floats, layer: _Layer, memory: Floats, shared: _Pass) -> Floats:
        """Attention up to its output projection: (rows, heads * head size)."""
        heads, groups, size = self.config.num_attention_heads, self.config.key_value_heads, self.config.head_size
        batch, width = shared.shape
        joined = self._normed(x) @ layer.attention_in
        turning = joined[:, : (heads + groups) * size].view(np.complex64).reshape(len(x), heads + groups, size // 2)
        turning *= shared.rotation
        fresh = joined[:, heads * size :].reshape(len(x), 2 * groups, size)
        if shared.owners is None:
            start = shared.reach - len(x)
            memory[shared.slots.start, :, start : shared.reach] = fresh.transpose(1, 0, 2)
        else:
            memory[shared.owners, :, shared.positions] = fresh
        queries = joined[:, : heads * size]
        if shared.rows is not None:
            padded = np.zeros((batch * width, heads * size), np.float32)
            padded[shared.rows] = queries
            queries = padded
        query = queries.reshape(batch, width, groups, heads // groups, size).transpose(0, 2, 3, 1, 4)
        seen = memory[shared.slots, :, None, : shared.reach]
        scores = np.matmul(query, seen[:, :groups].swapaxes(3, 4))
        if shared.mask is not None:
            scores[..., shared.reach - shared.mask.shape[-1] :] += shared.mask
        scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        # Written in the order of the rows, so that joining the heads costs nothing.
        mixed = np.empty((batch, width, groups, heads // groups, size), np.float32)
        by_head = mixed.transpose(0, 2, 3, 1, 4)
        np.matmul(scores, seen[:, groups:], out=by_head)
        by_head /= np.add.reduce(scores, axis=-1, keepdims=True)
        merged = mixed.reshape(batch * width, heads * size)
        return merged if shared.rows is None else merged[shared.rows]

    def _normed(self, x: Floats) -> Floats:
        """x / sqrt(sum(x^2) + n * epsilon); the factor sqrt(n) of the norm is in the matrix that follows."""
        scale = np.einsum("td,td->t", x, x)
        scale += self._epsilon
        normed: Floats = x / np.sqrt(scale, out=scale)[:, None]
        return normed


def load(folder: Path, *, positions: int) -> Llama:
    """Reads a model folder; see `weights`."""
    return Llama(read_config(folder), read_weights(folder), positions=positions)


def _mask(places: Integers, reach: int) -> Floats | None:
    """Every token sees itself and what is before it: (sequences, 1, 1, tokens, last positions)."""
    seen_by_all = int(places[:, 0].min()) + 1
    if seen_by_all >= reach:
        return None
    mask: Floats = np.where(np.arange(seen_by_all, reach) > places[:, :, None], _MASKED, np.float32(0))
    return mask[:, None, None]


def _tree_mask(tree_attention: TreeAttention, starts: Integers, reach: int) -> Floats:
    """Every node sees the text before the tree, and of the tree what `visible` says; shaped like `_mask`."""
    nodes = tree_attention.visible.shape[1]
    roots = starts[:, None] - tree_attention.offset
    within = np.arange(int(roots.min()), reach) - roots
    seen = tree_attention.visible[:, np.clip(within, 0, nodes - 1)].transpose(1, 0, 2)
    sees = (within < 0)[:, None] | (seen & (within < nodes)[:, None])
    mask: Floats = np.where(sees, np.float32(0), _MASKED)
    return mask[:, None, None]


def _transposed(matrix: Floats) -> Floats:
    return np.ascontiguousarray(matrix.T)
