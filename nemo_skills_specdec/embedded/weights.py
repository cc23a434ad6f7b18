"""Model folders: `config.json` and the int8 (or float) weights, dequantised once to float32.

Quantised form: a matrix is I8 with a companion `<name>.scale` (F16, one factor a row), weight = int8 * scale[:, None];
vectors stay F16. Plain F16/F32 matrices are read as they are.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nemo_skills_specdec.errors import JSON_ERRORS, DataError

Floats = NDArray[np.float32]


class LlamaConfig(msgspec.Struct, frozen=True):
    """Shape of a Llama in Hugging Face's words; only what the engine uses."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    model_type: str = "llama"
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    rms_norm_eps: float = 1e-6
    rope_theta: float | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values; fewer than query heads under grouped-query attention."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rope_base(self) -> float:
        """Base of the rotary frequencies, from either place where it may stand."""
        if self.rope_theta is not None:
            return self.rope_theta
        return float((self.rope_parameters or {}).get("rope_theta", 10000.0))

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Tokens that end a text; empty if the model has none."""
        if self.eos_token_id is None:
            return frozenset()
        return frozenset([self.eos_token_id] if isinstance(self.eos_token_id, int) else self.eos_token_id)


def read_config(folder: Path) -> LlamaConfig:
    """Reads `config.json`.

    Raises:
        DataError: it is missing, incomplete, or describes a model that this engine does not compute.
    """
    path = folder / "config.json"
    try:
        config = msgspec.json.decode(path.read_bytes(), type=LlamaConfig)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give a folder with target/ and draft/") from error
    except JSON_ERRORS as error:
        raise DataError(f"{path} is not the configuration of a Llama: {error}") from error
    scaled = config.rope_scaling or (config.rope_parameters or {}).get("rope_type", "default") != "default"
    for problem, present in (
        (f"model_type {config.model_type}", config.model_type != "llama"),
        ("scaled rotary embeddings", bool(scaled)),
        ("biases", config.attention_bias or config.mlp_bias),
        ("query heads that key heads do not divide", config.num_attention_heads % config.key_value_heads != 0),
    ):
        if present:
            raise DataError(f"{path}: the embedded engine does not compute {problem}; use a plain Llama")
    return config


def read_weights(folder: Path) -> dict[str, Floats]:
    """All tensors of `model.safetensors` as float32, under their Hugging Face names.

    Raises:
        DataError: the file is missing or not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / "model.safetensors"
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read the weights in {path}: {error}") from error
    weights: dict[str, Floats] = {}
    for name, tensor in stored.items():
        if name.endswith(".scale"):
            continue
        weights[name] = tensor.astype(np.float32)
        if tensor.dtype == np.int8:
            weights[name] *= stored[f"{name}.scale"].astype(np.float32)[:, None]
    return weights
