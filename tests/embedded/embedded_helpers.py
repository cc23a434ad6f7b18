"""Models made for tests: random Llamas with grouped queries, untied head, and a byte-level tokenizer of 320 tokens."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nemo_skills_specdec.embedded.engine import Engine, Models
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sampling import SamplingParams
from nemo_skills_specdec.embedded.sequence import Sequence, StopCriteria

CONFIG = {
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
BOS, EOS = 0, 1
GREEDY = SamplingParams(temperature=0.0)


def random_weights(config: dict, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size, hidden, inner = config["head_dim"], config["hidden_size"], config["intermediate_size"]

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * columns**-0.5 * 1.3).astype(np.float32)

    def gain() -> np.ndarray:
        return rng.uniform(0.7, 1.3, hidden).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden) * 4, "model.norm.weight": gain()}
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights |= {
            prefix + "self_attn.q_proj.weight": matrix(heads * size, hidden),
            prefix + "self_attn.k_proj.weight": matrix(groups * size, hidden),
            prefix + "self_attn.v_proj.weight": matrix(groups * size, hidden),
            prefix + "self_attn.o_proj.weight": matrix(hidden, heads * size),
            prefix + "mlp.gate_proj.weight": matrix(inner, hidden),
            prefix + "mlp.up_proj.weight": matrix(inner, hidden),
            prefix + "mlp.down_proj.weight": matrix(hidden, inner),
            prefix + "input_layernorm.weight": gain(),
            prefix + "post_attention_layernorm.weight": gain(),
        }
    return weights


def write_model(folder: Path, config: dict, weights: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")


def write_tokenizer(folder: Path, chat_template: str | None = None) -> None:
    specials = ["<|bos|>", "<|eos|>", "<|pad|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("a", "b"), ("c", "d"), ("Ġ", "t"), ("h", "e"), ("Ġt", "he")]
    words = [*specials, *alphabet, *(a + b for a, b in pairs)]
    words += [f"<unused{number}>" for number in range(320 - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<|bos|>", "eos_token": "<|eos|>"}
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_pair(folder: Path, chat_template: str | None = None, noise: float = 0.3) -> None:
    """A target, and a draft that is the target with noise on its weights: it is often right, and often wrong."""
    weights = random_weights(CONFIG)
    rng = np.random.default_rng(1)
    draft = {
        name: (tensor + noise * tensor.std() * rng.standard_normal(tensor.shape)).astype(np.float32)
        for name, tensor in weights.items()
    }
    write_model(folder / "target", CONFIG, weights)
    write_model(folder / "draft", CONFIG, draft)
    write_tokenizer(folder, chat_template)


def engine(models: Models, **options: object) -> Engine:
    return Engine(models, EmbeddedOptions(**options))


def run(engine: Engine) -> None:
    """Steps until nothing is left."""
    for _ in range(100_000):
        if not engine.busy:
            return
        engine.step()
    raise AssertionError("the engine does not come to an end")


def generate(
    engine: Engine, prompts: list[list[int]], max_tokens: int, shape: SamplingParams = GREEDY, **ending: object
) -> list[Sequence]:
    """Runs all prompts together; sample i has seed i."""
    sequences = [
        engine.submit(f"request-{i}", prompt, shape, StopCriteria(max_tokens, **ending), seed=i)
        for i, prompt in enumerate(prompts)
    ]
    run(engine)
    return sequences


def texts(sequences: list[Sequence]) -> list[list[int]]:
    return [sequence.tokens[sequence.prompt_length :] for sequence in sequences]
