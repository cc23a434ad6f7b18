"""A Llama in numpy: float32, key-value cache, several sequences of different lengths in one pass.

Weights are prepared once: the norm's gain and the attention scale are folded into the matrices that follow, query, key
and value (gate and up) projections are one matrix each.

A pass computes rows: row r is one token of one sequence. The projections run over all rows at once; attention runs over
a rectangle (sequences x tokens), padded where sequences bring different numbers of tokens. What other sequences are in
the pass changes a result only by float32 rounding (about 1e-6), because a matrix product may sum in another order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from nemo_skills_specdec.embedded.weights import Floats, LlamaConfig, read_config, read_weights
from nemo_skills_specdec.errors import DataError

Integers = NDArray[np.int64]

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
    """Keys and values of up to `slots` sequences.

    Attributes:
        keys: float32, (layers, slots, key-value heads, capacity, head size).
        values: the same shape.
    """

    def __init__(self, config: LlamaConfig, *, slots: int, capacity: int) -> None:
        shape = (config.num_hidden_layers, slots, config.key_value_heads, capacity, config.head_size)
        self.keys: Floats = np.zeros(shape, np.float32)
        self.values: Floats = np.zeros(shape, np.float32)

    def move(self, source: int, destination: int, length: int) -> None:
        """Copies the first `length` positions of one slot to another."""
        self.keys[:, destination, :, :length] = self.keys[:, source, :, :length]
        self.values[:, destination, :, :length] = self.values[:, source, :, :length]

    def keep(self, slot: int, root: int, nodes: Sequence[int]) -> None:
        """Puts a path of a tree, whose root lies at position `root`, right behind the root."""
        behind, taken = slice(root + 1, root + 1 + len(nodes)), [root + node for node in nodes]
        self.keys[:, slot, :, behind] = self.keys[:, slot][:, :, taken]
        self.values[:, slot, :, behind] = self.values[:, slot][:, :, taken]


class Llama:
    """Weights made ready for `forward`; shared by any number of caches."""

    def __init__(self, config: LlamaConfig, weights: Mapping[str, Floats], *, positions: int) -> None:
        """Folds and joins the weights.

        Args:
            config: the shape.
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

        self.attention_in: list[Floats] = []
        self.attention_out: list[Floats] = []
        self.feed_in: list[Floats] = []
        self.feed_out: list[Floats] = []
        for layer in range(config.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            query = tensor(prefix + "self_attn.q_proj.weight", heads * size, hidden) * np.float32(size**-0.5)
            key = tensor(prefix + "self_attn.k_proj.weight", groups * size, hidden)
            value = tensor(prefix + "self_attn.v_proj.weight", groups * size, hidden)
            gate = tensor(prefix + "mlp.gate_proj.weight", inner, hidden)
            up = tensor(prefix + "mlp.up_proj.weight", inner, hidden)
            before = tensor(prefix + "input_layernorm.weight", hidden)
            between = tensor(prefix + "post_attention_layernorm.weight", hidden)
            self.attention_in.append(_transposed(np.concatenate([query, key, value]) * before))
            self.attention_out.append(_transposed(tensor(prefix + "self_attn.o_proj.weight", hidden, heads * size)))
            self.feed_in.append(_transposed(np.concatenate([gate, up]) * between))
            self.feed_out.append(_transposed(tensor(prefix + "mlp.down_proj.weight", hidden, inner)))
        self.embedding = np.ascontiguousarray(tensor("model.embed_tokens.weight", config.vocab_size, hidden))
        tied = config.tie_word_embeddings or "lm_head.weight" not in weights
        head = self.embedding if tied else tensor("lm_head.weight", config.vocab_size, hidden)
        self.head = _transposed(head * tensor("model.norm.weight", hidden))

        frequencies = 1.0 / config.rope_base ** (np.arange(0, size, 2) / size)
        angles = np.outer(np.arange(positions), frequencies)
        self.cosine = np.concatenate([np.cos(angles), np.cos(angles)], axis=1).astype(np.float32)[:, None, :]
        self.sine = np.concatenate([-np.sin(angles), np.sin(angles)], axis=1).astype(np.float32)[:, None, :]

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
        config = self.config
        batch, width = tokens.shape
        heads, groups, size = config.num_attention_heads, config.key_value_heads, config.head_size
        shared = heads // groups
        half = size // 2
        inner = config.intermediate_size
        flat = tokens.ravel()
        positions = (starts[:, None] + np.arange(width)).ravel()
        owners = None
        if rows is not None:
            flat, positions, owners = flat[rows], positions[rows], rows // width
        elif batch > 1:
            owners = np.repeat(np.arange(batch), width)
        count = len(flat)
        reach = int(positions[-1]) + 1 if batch == 1 else int(positions.max()) + 1
        x = self.embedding[flat]
        start = int(positions[0])
        if tree_attention is not None:
            places = (starts[:, None] - tree_attention.offset + tree_attention.depths).ravel()
            cosine, sine = self.cosine[places], self.sine[places]
        elif batch == 1:
            cosine, sine = self.cosine[start:reach], self.sine[start:reach]
        else:
            cosine, sine = self.cosine[positions], self.sine[positions]
        mask = None
        if tree_attention is not None:
            mask = _tree_mask(tree_attention, starts, reach)
        elif batch > 1 or width > 1:
            last = starts[:, None] + np.arange(width)
            mask = np.where(np.arange(reach) > last[:, :, None], _MASKED, np.float32(0))[:, None, None]
        rotated = np.empty((count, heads + groups, size), np.float32)
        slots = slice(first_slot, first_slot + batch)
        if rows is not None:
            padded = np.zeros((batch * width, heads, size), np.float32)
        with np.errstate(over="ignore"):
            for layer in range(config.num_hidden_layers):
                joined = (_normed(x, config.rms_norm_eps) @ self.attention_in[layer]).reshape(count, -1, size)
                turning = joined[:, : heads + groups]
                np.multiply(turning[:, :, half:], sine[:, :, :half], out=rotated[:, :, :half])
                np.multiply(turning[:, :, :half], sine[:, :, half:], out=rotated[:, :, half:])
                rotated += turning * cosine
                keys, values = cache.keys[layer, slots], cache.values[layer, slots]
                if owners is None:
                    keys[0, :, start:reach] = rotated[:, heads:].transpose(1, 0, 2)
                    values[0, :, start:reach] = joined[:, heads + groups :].transpose(1, 0, 2)
                else:
                    keys[owners, :, positions] = rotated[:, heads:]
                    values[owners, :, positions] = joined[:, heads + groups :]
                queries = rotated[:, :heads]
                if rows is not None:
                    padded[rows] = queries
                    queries = padded
                query = queries.reshape(batch, width, groups, shared, size).transpose(0, 2, 3, 1, 4)
                query = query.reshape(batch, groups, shared * width, size)
                scores = np.matmul(query, keys[:, :, :reach].transpose(0, 1, 3, 2))
                if mask is not None:
                    grouped = scores.reshape(batch, groups, shared, width, reach)
                    grouped += mask
                scores -= scores.max(-1, keepdims=True)
                np.exp(scores, out=scores)
                mixed = np.matmul(scores, values[:, :, :reach])
                mixed /= scores.sum(-1, keepdims=True)
                merged = mixed.reshape(batch, groups, shared, width, size).transpose(0, 3, 1, 2, 4)
                merged = merged.reshape(batch * width, heads * size)
                if rows is not None:
                    merged = merged[rows]
                x = x + merged @ self.attention_out[layer]
                fed = _normed(x, config.rms_norm_eps) @ self.feed_in[layer]
                gate = fed[:, :inner]
                x = x + ((gate / (1.0 + np.exp(-gate))) * fed[:, inner:]) @ self.feed_out[layer]
        return x

    def logits(self, x: Floats) -> Floats:
        """(rows, hidden size) from `forward` to (rows, vocabulary)."""
        logits: Floats = _normed(x, self.config.rms_norm_eps) @ self.head
        return logits


def load(folder: Path, *, positions: int) -> Llama:
    """Reads a model folder; see `weights`."""
    return Llama(read_config(folder), read_weights(folder), positions=positions)


def _tree_mask(tree_attention: TreeAttention, starts: Integers, reach: int) -> Floats:
    """Every node sees the text before the tree, and of the tree what `visible` says."""
    nodes = tree_attention.visible.shape[1]
    within = np.arange(reach) - (starts[:, None] - tree_attention.offset)
    seen = tree_attention.visible[:, np.clip(within, 0, nodes - 1)].transpose(1, 0, 2)
    sees = (within < 0)[:, None] | (seen & (within < nodes)[:, None])
    mask: Floats = np.where(sees, np.float32(0), _MASKED)
    return mask[:, None, None]


def _transposed(matrix: Floats) -> Floats:
    return np.ascontiguousarray(matrix.T)


def _normed(x: Floats, epsilon: float) -> Floats:
    scale = 1.0 / np.sqrt(np.einsum("td,td->t", x, x) / np.float32(x.shape[1]) + np.float32(epsilon))
    normed: Floats = x * scale[:, None]
    return normed
